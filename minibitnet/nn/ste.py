"""Straight-through estimators: every gradient in this file is CHOSEN, none is derived.

Rounding and sign are flat almost everywhere: their true derivative is zero, and with it nothing would learn.
The straight-through estimator ([ste] arXiv 1308.3432; [bitnet] §2.2) pretends in the backward pass that the
quantizer was the identity: the gradient of the quantized values is handed, unchanged, to the values before
quantization. The scales count as constants. Finite differences reject each op here (``tests/nn/test_ste.py``
shows it), and accept every op in ``ops.py``.

The whole lie of BitNet's training is `return g,`, in each op below. Each op returns a Tensor that
holds a ``Quantized`` pair; its gradient is an array, dL/d(codes * scale).
"""
from .. import quant
from ..errors import UserError, brief
from .autograd import op


def straight_through(quantize):
    """A quantizer of one's own, ``x -> (codes, scale)``, as an op, with the same lie for a gradient."""
    if not callable(quantize):
        raise UserError(f"{brief(quantize)}: expected a quantizer, a function of the weights")

    def own(w):
        def vjp(g):                              # d(codes * scale)/dw := 1
            return g,
        return quant.Quantized(*quantize(w)), vjp
    return op(own)


@op
def ternary_weight(w):                           # (n, m) -> codes (n, m), scale (1, 1)
    """W~ of BitNet b1.58.  [b158] eqs. 1-3"""
    def vjp(g):                                  # d(codes * scale)/dW := 1
        return g,
    return quant.absmean_ternary(w), vjp


@op
def binary_weight(w):                            # (n, m) -> codes (n, m), scale (1, 1)
    """W~ of BitNet b1.  [bitnet] eqs. 1-3"""
    def vjp(g):                                  # d(codes * scale)/dW := 1
        return g,
    return quant.sign_binary(w), vjp


@op
def int4_activation(x):                          # (m, B, T) -> codes like x, scale (1, B, T)
    """x~ of 4 bits, per token.  [a48] eq. 7, [v2] eq. 6"""
    def vjp(g):                                  # d(codes * scale)/dx := 1, of what is clipped as well
        return g,
    return quant.absmean_int4(x), vjp


@op
def sparse_int8_activation(x):                   # (m, B, T) -> codes like x, scale (1, B, T)
    """x~ of 8 bits, of which the smaller half of each token's is 0.  [a48] eq. 1, §3"""
    def vjp(g):                                  # d(codes * scale)/dx := 1, of what is left out as well
        return g,
    return quant.sparse_int8(x), vjp


@op
def int8_activation(x, *, axis=0):               # (m, B, T) -> codes like x, scale (1, B, T) or (1, 1, 1)
    """x~, per token (axis=0) or per tensor (axis=None).  [bitnet] eqs. 4-5, [b158] §2"""
    def vjp(g):                                  # d(codes * scale)/dx := 1
        return g,
    return quant.absmax_int8(x, axis), vjp
