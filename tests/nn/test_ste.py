"""The straight-through ops: quant's forward, an identity backward, and finite differences that must reject
them."""
import numpy as np
import pytest

from minibitnet import quant
from minibitnet.nn import ops, ste
from minibitnet.nn.autograd import Tensor, backward, op, record
from minibitnet.nn.gradcheck import vjp_error

OPS = {ste.ternary_weight: quant.absmean_ternary, ste.binary_weight: quant.sign_binary,
       ste.int8_activation: quant.absmax_int8, ste.int4_activation: quant.absmean_int4,
       ste.sparse_int8_activation: quant.sparse_int8}


def value_of(straight_through):
    """The op as a function from values to values, so that the checker can move its input and see its
    output."""
    @op
    def fn(x):
        out, vjp = straight_through.__wrapped__(x)
        return quant.dequantize(*out), vjp
    return fn


@pytest.mark.parametrize("straight_through", OPS, ids=lambda f: f.__name__)
def test_finite_differences_reject_the_straight_through_gradient(straight_through, rng):
    """The derivative of rounding is not 1: the checker that passes every op of ops.py must fail this one."""
    assert vjp_error(value_of(straight_through), rng.standard_normal((6, 7)), rng=rng) > 0.1


@pytest.mark.parametrize("straight_through", OPS, ids=lambda f: f.__name__)
def test_forward_is_the_quantizer_and_backward_the_identity(straight_through, rng):
    x, g = rng.standard_normal((2, 6, 7))
    out, vjp = straight_through.__wrapped__(x)
    expected = OPS[straight_through](x)
    assert np.array_equal(out.codes, expected.codes) and np.array_equal(out.scale, expected.scale)
    assert vjp(g)[0] is g


def test_every_op_is_in_the_table():
    assert {f for f in vars(ste).values() if hasattr(f, "forward")} == set(OPS)


@pytest.mark.parametrize("straight_through", [ste.ternary_weight, ste.binary_weight])
def test_the_gradient_of_a_whole_bit_linear_is_the_documented_rule(straight_through, rng):
    """dx = W^T g and dW = g x^T, with the *quantized* W and x, handed to the values before quantization."""
    x, w = Tensor(rng.standard_normal((5, 2, 3))), Tensor(rng.standard_normal((4, 5)))
    g = rng.standard_normal((4, 2, 3))
    with record() as tape:
        y = ops.quantized_linear(ste.int8_activation(x), straight_through(w))
        loss = inner(y, g)
    grads = backward(tape, loss)
    x_hat = quant.dequantize(*quant.absmax_int8(x.data))
    w_hat = quant.dequantize(*OPS[straight_through](w.data))
    assert np.allclose(grads[x.key], np.einsum("nm,nbt->mbt", w_hat, g), rtol=1e-12, atol=1e-12)
    assert np.allclose(grads[w.key], np.einsum("nbt,mbt->nm", g, x_hat), rtol=1e-12, atol=1e-12)


@op
def inner(x, y):                                  # sum of x y: a scalar to differentiate
    return (x * y).sum(), lambda g: (g * y, g * x)
