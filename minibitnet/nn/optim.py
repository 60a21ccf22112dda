"""AdamW, clipping by the global norm, and the two schedules of the training recipe."""
import math

import numpy as np

from ..exact import cos_sin, power, sum_of_squares
from .ranks import ALONE

BLOCK = 2**16     # elements that AdamW updates at a time, so that its dozen passes run inside the cache


class AdamW:
    """m, v <- moving averages of g and g^2;  W <- W - lr (m^ / (sqrt(v^) + eps) + weight_decay W).

    arXiv 1711.05101, algorithm 2, with m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t); the decay is
    multiplied by lr, as in PyTorch. Only matrices decay: the gains of norms are scales, for which zero means
    off.

    parameters: {name: Tensor}, updated in place.
    """

    def __init__(self, parameters, beta1=0.9, beta2=0.95, eps=1e-8):
        self.parameters, self.beta1, self.beta2, self.eps = parameters, beta1, beta2, eps
        self.m = {name: np.zeros_like(p.data) for name, p in parameters.items()}
        self.v = {name: np.zeros_like(p.data) for name, p in parameters.items()}
        self.t = 0

    def step(self, grads, lr, weight_decay):
        """One update of the parameters that have one of grads {name: array like the parameter}."""
        self.t += 1
        bias1, bias2 = 1 - power(self.beta1, self.t), 1 - power(self.beta2, self.t)
        for name in grads:
            p = self.parameters[name]
            decay = lr * weight_decay if p.data.ndim > 1 else 0.0
            flat = [a.reshape(-1) for a in (p.data, grads[name], self.m[name], self.v[name])]
            for start in range(0, p.data.size, BLOCK):
                w, g, m, v = (a[start:start + BLOCK] for a in flat)
                m *= self.beta1
                m += (1 - self.beta1) * g
                v *= self.beta2
                v += (1 - self.beta2) * np.square(g)
                update = m / (np.sqrt(v / bias2) + self.eps)
                update *= lr / bias1
                if decay:
                    w *= 1 - decay
                w -= update


def clip_global_norm(grads, limit, ranks=ALONE):
    """Scale all gradients so that their norm is at most limit, in place (0: never) -> the norm before. Of
    several ranks each may have its own."""
    squares = ranks.gathered({name: sum_of_squares(g) for name, g in grads.items()})
    norm = math.sqrt(math.fsum(squares.values()))
    if limit and norm > limit:
        for g in grads.values():
            g *= np.float32(limit / norm)
    return norm


def two_stage(step, steps, warmup, peak, second_peak):
    """Learning rate of [faq]: linear warm-up, then linear decay towards zero at the last step, on a lower
    line from half time on: peak (1 - step/steps), then second_peak (1 - step/steps)."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return (peak if step < steps // 2 else second_peak) * (1 - step / steps)


def cosine(step, steps, warmup, peak, final=0.1):
    """Linear warm-up, then half a cosine from peak down to final * peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (final + (1 - final) * 0.5 * (1 + float(cos_sin(np.float64(math.pi * progress))[0])))
