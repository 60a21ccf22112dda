"""Numeric check of a vjp, by random projection.

For an op f, an input x and random directions u (shaped like x) and v (shaped like the output), the derivative
of <v, f(x)> along u can be had in two ways:

    numeric    (<v, f(x + h u)> - <v, f(x - h u)>) / (2 h)
    analytic   <vjp(v), u>

One pair of numbers checks every entry of the gradient at once, for a wrong entry moves the second, not the
first.
"""
import numpy as np

from ..errors import UserError
from ..exact import Operand, Random
from ..quant import Quantized, dequantize


def vjp_error(fn, *inputs, rng=None, h=1e-6, **options) -> float:
    """Largest relative error of fn's gradients over its floating-point inputs: below 1e-6 where they are
    derived, about 1 where they are chosen (straight-through).

    fn: an op, of ``minibitnet.nn.ops``, or of ``minibitnet.straight_through``, or one's own
    (``minibitnet.nn.autograd.op``). inputs: its arrays, taken in float64, Quantized pairs (differentiated by
    their value, codes * scale, the scale held) or integers, the only ones whose gradient may be None. rng: of
    the directions. AssertionError for a gradient that is None elsewhere or not of its input's shape.

    Returns |numeric - analytic| divided by the largest of |numeric|, the norm of the gradient (so that a
    projection that happens to be small is no error, while a gradient that is zero or far too large is one)
    and a thousandth of the norm of the output (where f does not depend on x, rounding leaves a numeric
    derivative of about 1e-10 of it).
    """
    if not hasattr(fn, "forward"):
        raise UserError(f"{fn!r}: expected an op, with its gradient: minibitnet.straight_through makes one "
                        "of a quantizer, minibitnet.nn.autograd.op of a function that returns (out, vjp)")
    rng = rng or Random(0)
    inputs = [x.astype(np.float64) if getattr(x, "dtype", None) == np.float32 else x for x in inputs]
    out, vjp = fn.__wrapped__(*inputs, **options)
    out = _values(out)
    v = rng.standard_normal(np.shape(out))
    errors = []
    for i, gradient in enumerate(vjp(v)):
        of_codes = inputs[i].codes if isinstance(inputs[i], Quantized) else inputs[i]
        if gradient is None:
            assert of_codes.dtype.kind in "iu", f"input {i} is {of_codes.dtype} and has no gradient"
            continue
        assert gradient.shape == of_codes.shape, (f"input {i} has shape {of_codes.shape}, "
                                                  f"its gradient {gradient.shape}")
        u = rng.standard_normal(np.shape(gradient))

        def projected(distance):
            moved = list(inputs)
            moved[i] = _moved(inputs[i], distance * u)
            return np.vdot(v, _values(fn.forward(*moved, **options)))

        numeric = (projected(h) - projected(-h)) / (2 * h)
        analytic = np.vdot(gradient, u)
        size = max(abs(numeric), np.linalg.norm(gradient), 1e-3 * np.linalg.norm(out))
        errors.append(abs(numeric - analytic) / size)
    return float(np.max(errors))                  # np.max, because Python's max would lose a NaN


def _values(out):
    if isinstance(out, Quantized):
        return dequantize(*out)
    return out.values if isinstance(out, Operand) else out


def _moved(x, step):
    if isinstance(x, Quantized):
        return Quantized(x.codes + step / x.scale, x.scale)
    return x + step
