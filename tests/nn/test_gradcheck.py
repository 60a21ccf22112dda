"""The checker is checked: it must reject wrong gradients."""
import numpy as np
import pytest

from minibitnet.nn import ops
from minibitnet.nn.autograd import op
from minibitnet.nn.gradcheck import vjp_error


def with_gradient(change):
    """swiglu with its gradients altered by change(dgate, dup)."""
    @op
    def altered(gate, up):
        out, vjp = ops.swiglu.__wrapped__(gate, up)
        return out, lambda g: change(*vjp(g))
    return altered


PLANTED = {
    "a sign": lambda a, b: (-a, b),
    "500 times too large": lambda a, b: (500 * a, b),
    "zero": lambda a, b: (0 * a, b),
    "a factor of 1.001": lambda a, b: (a, 1.001 * b),
    "swapped inputs": lambda a, b: (b, a),
    "one entry of 30": lambda a, b: (a, np.where(np.arange(30).reshape(b.shape) == 7, 0, b)),
    "transposed": lambda a, b: (a.transpose(2, 1, 0).reshape(a.shape), b),
    "not a number": lambda a, b: (a * np.nan, b),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_errors_are_rejected(planted, rng):
    gate, up = rng.standard_normal((2, 5, 2, 3))
    assert not vjp_error(with_gradient(PLANTED[planted]), gate, up, rng=rng) < 1e-4


@pytest.mark.parametrize("planted, message", [(lambda a, b: (a, None),
                                               "input 1 is float64 and has no gradient"),
                                              (lambda a, b: (a.sum(0), b), "input 0 has shape")])
def test_a_missing_gradient_and_one_of_another_shape_are_rejected(planted, message, rng):
    """Both would give a plausible projection: None is skipped, and a sum broadcasts."""
    gate, up = rng.standard_normal((2, 5, 2, 3))
    with pytest.raises(AssertionError, match=message):
        vjp_error(with_gradient(planted), gate, up, rng=rng)


def test_the_right_gradient_passes(rng):
    gate, up = rng.standard_normal((2, 5, 2, 3))
    assert vjp_error(with_gradient(lambda a, b: (a, b)), gate, up, rng=rng) < 1e-6


PLANTED_IN_OPS = {
    "rms_norm without its mean term": (
        lambda x, gain: (ops.rms_norm.forward(x, gain, eps=0.1),
                         lambda g: (g * gain[:, None, None] / np.sqrt((x * x).mean(0) + 0.1),
                                    (g * ops.rms_norm.forward(x, np.ones(6), eps=0.1)).sum((1, 2)))),
        [(6, 2, 3), (6,)]),
    "linear with W in place of its transpose": (
        lambda x, w: (np.tensordot(w, x, 1),
                      lambda g: (np.tensordot(w, g, 1), np.tensordot(g, x, ((1, 2), (1, 2))))),
        [(4, 2, 3), (4, 4)]),
    "a residual that forgets one branch": (lambda x, y: (x + y, lambda g: (g, 0 * g)),
                                           [(3, 1, 2), (3, 1, 2)]),
}


@pytest.mark.parametrize("planted", PLANTED_IN_OPS)
def test_planted_errors_in_other_formulas_are_rejected(planted, rng):
    formula, shapes = PLANTED_IN_OPS[planted]
    assert not vjp_error(op(lambda *x: formula(*x)), *(rng.standard_normal(s) for s in shapes),
                         rng=rng) < 1e-4
