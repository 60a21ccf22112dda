"""One change at a time: what each part of the recipe is worth.   [bitnet] Table 4, and our own questions

A change replaces one row or one function of the library for one run and puts it back (``replaced``); nothing
in ``nn/`` has an option that only an ablation uses. Options of training have no code but their words,
``OPTIONS``: they are in the plan. Every changed model must still be causal, or its loss counts for nothing
(``training_run.outcome_of`` tests it).

[bmt] arXiv 2302.04907, of which only the abstract was at hand: layer normalization of each layer's output.
"""
import itertools
import math
from contextlib import contextmanager

import numpy as np

from ..exact import mean, operand, total
from ..nn import layers, ops, ste, training
from ..nn.autograd import Tensor, op
from ..nn.layers import BinaryLinear, BitLinear
from ..quant import EPS, QB, Quantized, absmax_int8, absmean_ternary, dequantize, round_clip
from ..variants import VARIANTS
from .replacing import Change, all_of, replaced

DECAYS = 0.99, 0.999                   # of averages of the weights


# ---- the block

def without_sub_norms(run):
    """No norm before o and down: their inputs are quantized as they come."""
    return replaced(VARIANTS, run.arm, VARIANTS[run.arm]._replace(sub_norm=None))


class Normed(BinaryLinear):
    """LayerNorm, without a gain, of what comes out."""

    def __call__(self, x):
        return ops.layer_norm(super().__call__(x), eps=1e-6)


def normed_outputs(run):
    """In the place of the sub-norms a LayerNorm of every projection's output.   [bmt]"""
    return all_of(without_sub_norms(run), replaced(layers.PROJECTIONS, run.arm, Normed))


# ---- the weights' quantizer: W -> (codes, scale)

def quantizer(of_weights):
    """Another quantizer of ternary weights."""
    def change(run):
        return replaced(BitLinear, "quantize_weight", staticmethod(ste.straight_through(of_weights)))
    return change


def unscaled(w):
    """Codes of absmean, a scale of 1."""
    return Quantized(absmean_ternary(w).codes, np.ones((1, 1), w.dtype))


def fixed_scale(w):
    """Codes of absmean; the scale is m^(-1/2), with which weights begin."""
    return Quantized(absmean_ternary(w).codes, np.full((1, 1), 1 / math.sqrt(w.shape[1]), w.dtype))


def median_ternary(w):
    """The median of |W| for its mean, in threshold and scale.   [reloaded]"""
    gamma = np.maximum(np.median(np.abs(w), keepdims=True), EPS).astype(w.dtype)
    return Quantized(round_clip(w / gamma, -1, 1), gamma)


def zero_one(w):
    """Codes 0 and 1."""
    gamma = np.maximum(mean(np.abs(w)), EPS)
    return Quantized(round_clip(w / gamma, 0, 1), gamma)


# ---- in between floats and codes

@op
def blended_activation(x, *, share):             # (m, B, T) -> (m, B, T)
    """x + share (xq - x), straight through."""
    return x + np.float32(share) * (dequantize(*absmax_int8(x)) - x), lambda g: (g,)


class Blended(BitLinear):
    """y = w x with w = W + a (Wq - W), x alike: floats at a = 0, the BitLinear at a = 1 for both."""
    of_weights = of_activations = 1.0

    def prepare_input(self, x):
        if self.of_weights == self.of_activations == 1:
            return super().prepare_input(x)
        if isinstance(x.data, np.ndarray):       # o and down bring floats, q, k and v share what is ready
            x = ops.ready(blended_activation(x, share=self.of_activations))
        return x

    def __call__(self, x):
        if self.of_weights == self.of_activations == 1:
            return super().__call__(x)
        return ops.linear(self.prepare_input(x), self.weight)

    def quantized(self, training=False, eight_bits=False):
        if self.of_weights == self.of_activations == 1:
            return super().quantized(training, eight_bits)
        quantized, w = super(BitLinear, self).quantized(training), self.weight.data
        quantized.weight = Tensor(operand(
            w + np.float32(self.of_weights) * (dequantize(*absmean_ternary(w)) - w), -1))
        return quantized


def blended(of_weights, of_activations):
    """The same shares throughout, in evaluation too."""
    def change(run):
        kind = type("Fixed", (Blended,), {"of_weights": of_weights, "of_activations": of_activations})
        return replaced(layers.PROJECTIONS, run.arm, kind)
    return change


def scheduled(share, at_switch=lambda optimizer: None):
    """share(progress from 0 to 1) of weights and activations; the finished model is a BitLinear's."""
    def change(run):
        kind = type("Scheduled", (Blended,), {})

        def step(model, quantized, optimizer, *arguments, **options):
            kind.of_weights = kind.of_activations = share(optimizer.t / run.steps)
            if optimizer.t and share((optimizer.t - 1) / run.steps) != kind.of_weights == 1:
                at_switch(optimizer)
            quantized = model.quantized(training=True)                   # made with the last step's share
            try:
                return usual(model, quantized, optimizer, *arguments, **options)
            finally:
                kind.of_weights = kind.of_activations = 1.0
        usual = training.step
        return all_of(replaced(layers.PROJECTIONS, run.arm, kind), replaced(training, "step", step))
    return change


def forget(optimizer):
    """Begin AdamW's averages anew."""
    for moment in (*optimizer.m.values(), *optimizer.v.values()):
        moment[:] = 0


# ---- activations with a learned scale

@op
def elastic_activation(x, alpha):                # (m, B, T), (1,) -> codes, scale (1, 1, 1)
    """x~ = clip(rint(x / alpha), -127, 127), alpha learned. Straight through inside, 0 outside, and for alpha
    that of Learned Step Size Quantization: arXiv 1902.08153 eq. 3, its gradient scale §2.2."""
    ratio = x / alpha[0]
    codes = round_clip(ratio, -QB, QB)

    def vjp(g):
        inside = np.abs(ratio) <= QB
        of_alpha = g * np.where(inside, codes - ratio, codes)
        return g * inside, total(of_alpha.reshape(-1)) / np.float32(math.sqrt(QB * x.size))
    return Quantized(codes, alpha.reshape(1, 1, 1)), vjp


class Elastic(BinaryLinear):
    """A learned scale for each input that is quantized: of q (k and v share it), o, gate (up shares it),
    down."""
    HAVE = itertools.cycle((True, False, False, True, True, False, True))    # q k v o, gate up down

    def __init__(self, m, n, rng):
        super().__init__(m, n, rng)
        if next(self.HAVE):
            self.alpha = Tensor(np.zeros(1, np.float32))                 # 0: the first batch decides

    def prepare_input(self, x):
        if isinstance(x.data, Quantized):
            return x
        if not self.alpha.data[0]:
            self.alpha.data[0] = np.maximum(2 * mean(np.abs(x.data)).item() / math.sqrt(QB), EPS)
        return elastic_activation(x, self.alpha)


def elastic(run):
    """Without sub-norms, as in the papers' comparison; alpha moves a tenth of a step."""
    def step(model, quantized, optimizer, *arguments, **options):
        alphas = {name: p.data for name, p in optimizer.parameters.items() if name.endswith(".alpha")}
        outcome = usual_gradients(model, quantized, optimizer, *arguments, **options)
        for name, alpha in alphas.items():
            alpha[:] = np.maximum(alpha, EPS)
        return outcome

    def usual_gradients(model, quantized, optimizer, *arguments, **options):
        def slow(grads, lr, weight_decay):
            before = {name: p.data.copy() for name, p in optimizer.parameters.items()
                      if name.endswith(".alpha")}
            made(grads, lr, weight_decay)
            for name, alpha in before.items():
                now = optimizer.parameters[name].data
                now[:] = alpha + np.float32(0.1) * (now - alpha)
        made = optimizer.step
        optimizer.step = slow
        try:
            return usual(model, quantized, optimizer, *arguments, **options)
        finally:
            del optimizer.step
    usual = training.step
    return all_of(without_sub_norms(run), replaced(layers.PROJECTIONS, run.arm, Elastic),
                  replaced(training, "step", step))


# ---- the loop

def decay_kept(run):
    """Weight decay to the end."""
    usual = training.schedule
    return replaced(training, "schedule", lambda c, step: (usual(c, step)[0], c.weight_decay))


class Averages:
    """Exponential averages of the weights, beside a training that does not know of them."""

    def __init__(self):
        self.of = {}

    def after(self, parameters):
        """Take in the weights after a step."""
        for decay in DECAYS:
            average = self.of.setdefault(decay, {name: p.data.copy() for name, p in parameters.items()})
            for name, p in parameters.items():
                average[name] *= np.float32(decay)
                average[name] += np.float32(1 - decay) * p.data


@contextmanager
def averaged(run):
    """Gives the Averages."""
    averages, usual = Averages(), training.step

    def step(model, *arguments, **options):
        outcome = usual(model, *arguments, **options)
        averages.after(model.parameters())
        return outcome
    with replaced(training, "step", step):
        yield averages


OPTIONS = {"second_lr": "one stage: a straight line to 0", "schedule": "a cosine, weight decay kept",
           "weight_decay": "no weight decay"}
CHANGES = {
    "": Change("nothing is changed"),
    "preln": Change("no norm before o and down", without_sub_norms),
    "bmt": Change("a LayerNorm of every projection's output, in the place of the sub-norms", normed_outputs),
    "elastic": Change("no sub-norms, and a learned scale for the activations", elastic),
    "no_rescale": Change("the scale of the weights is 1", quantizer(unscaled)),
    "fixed_scale": Change("the scale of the weights stays m^(-1/2)", quantizer(fixed_scale)),
    "median": Change("the median of abs W for its mean", quantizer(median_ternary)),
    "zero_one": Change("codes 0 and 1", quantizer(zero_one)),
    "decay_kept": Change("weight decay to the end", decay_kept),
    "warm_up": Change("quantized little by little over the first half",
                      scheduled(lambda progress: min(1.0, 2 * progress))),
    "floats_fifth": Change("floats for the first fifth", scheduled(lambda progress: float(progress >= 0.2))),
    "floats_half": Change("floats for the first half", scheduled(lambda progress: float(progress >= 0.5))),
    "floats_anew": Change("floats for the first fifth, then AdamW's averages anew",
                          scheduled(lambda progress: float(progress >= 0.2), forget)),
    "weights_only": Change("ternary weights, activations in floats", blended(1.0, 0.0)),
    "activations_only": Change("8-bit activations, weights in floats", blended(0.0, 1.0)),
    "ema": Change("nothing, but averages of the weights are scored as well", averaged, remembers=True),
}
