"""Numeric check of a vjp, by random projection.

For an op f, an input x and random directions u (shaped like x) and v (shaped like the output), the derivative of
<v, f(x)> along u can be had in two ways:

    numeric    (<v, f(x + eps u)> - <v, f(x - eps u)>) / (2 eps)
    analytic   <vjp(v), u>

One pair of numbers checks every entry of the gradient at once, for a wrong entry moves the second and not the first.
"""
import numpy as np

from ..quant import Quantized


def vjp_error(fn, *inputs, rng, eps=1e-6, **options):
    """Largest relative error of fn's gradients over its floating-point inputs.

    fn: an op (``minibitnet.nn.ops``). inputs: its arrays in float64, Quantized pairs (differentiated by their value,
    codes * scale, the scale held) or constants (integers), which are skipped. Returns |numeric - analytic| divided by
    the larger of |numeric| and the norm of the gradient: that scale keeps a small projection from reading as an error,
    and a gradient that is zero or far too large cannot pass.
    """
    out, vjp = fn.__wrapped__(*inputs, **options)
    v = rng.standard_normal(np.shape(out))
    worst = 0.0
    for i, gradient in enumerate(vjp(v)):
        if gradient is None:
            continue
        u = rng.standard_normal(np.shape(gradient))

        def projected(step):
            moved = list(inputs)
            moved[i] = _moved(inputs[i], step * u)
            return np.vdot(v, fn.forward(*moved, **options))

        numeric = (projected(eps) - projected(-eps)) / (2 * eps)
        analytic = np.vdot(gradient, u)
        scale = max(abs(numeric), np.linalg.norm(gradient))
        worst = max(worst, abs(numeric - analytic) / scale if scale else 0.0)
    return worst


def _moved(x, step):
    if isinstance(x, Quantized):
        return Quantized(x.codes + step / x.scale, x.scale)
    return x + step
