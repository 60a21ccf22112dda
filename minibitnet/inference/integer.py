"""The model of ``nn/model.py`` without one float between token id and chosen token.

``fixed_point.py`` comes first: the arithmetic. ``integer_convert.py`` makes the numbers that run here, and
has the proof that they fit. What the three say, this docstring and those of the functions it names, is meant
to be enough for a port to C or Verilog: 64 bits hold everything, and nothing saturates.
tests/inference/test_integer.py has two tiny models with their golden logits.

**By hand.** A row (1 0 -1 1) of a BitLinear, of scale s_w = 1/2, reads the token (3, -1, 0.5, 2), with f = 20
bits after the point, no gain and eps = 0:

    x                   3145728 -1048576 524288 2097152         22 bits: nothing to narrow, and y = x
    S                   15668040695808                          sum of squares, 14.25 2^40
    gamma               3145728                                 max|y|
    x~                  127 -42 21 85                           127 y / gamma = 127, -42.3, 21.2, 84.7
    M_x 2^E_x           853323473 2^-30                         gamma / sqrt(S) = 0.79472
    W~ x~               127 - 21 + 85 = 191                     additions alone
    M_w 2^E_w           1082196484 2^-17                        s_w / 127 sqrt(4) 2^20, made at conversion
    M_x M_w >> 31       430021277                               one multiplier for the token
    W(x~)               shift(191 430021277, -31 + 17 + 30) = 1253266      1.19521 in units of 2^-20

The float BitLinear has 1.19521 as well (without quantizing 1.19208): codes of x / rms are codes of x.

**Letters.** B sequences, T tokens, L positions of keys; t, s: positions of a query and of a key. C = d_model,
F = d_ffn; H query heads of D = C / H features, K heads of keys and values, each for G = H / K query heads; m:
features that a norm or a product sums over; S: their sum of squares; f = ``model.bits``, the bits after the
point of all activations; gamma: the largest |value| of a token or head; W~, x~, k~, v~: codes; P = w / Z:
softmax weights; M 2^E: a mantissa and its exponent, of a token (_x), of a BitLinear (_w), of W_out, the
head (_out); j: the places that ``narrow`` took away. ``a >> k`` and ``a // b`` are floors, of negative a too.

**One token, step by step**, token i at position t; 2 to 10 for each block. W(x~) is ``bit_linear``.

     1. x = X[i] << f - bits[i]                                             X: the embedding
     2. x~ = quantized(normed(x));  q = W_q(x~),  k = W_k(x~),  v = W_v(x~),  in H, K and K heads
     3. q = rotated(q),  k = rotated(k)
     4. k~, gamma_k = absmax_codes(k),  v~, gamma_v = absmax_codes(v), for every head. Both to the cache.
     5. For every head h of q:  q', j = narrow(q, 14). It reads head h // G of k~, v~, at all s <= t:
     6. z_s = shift((k~_s . q') gamma_k, 2 f + 7 - 16 - j);  w_s = exp2_minus(max z - z_s);  Z = sum w_s
     7. u_s = shift(w_s gamma_v, 12);  n = number of bits of Z, 25 to 38
        o = divide((sum u_s v~_s) << 38 - n, Z >> n - 25)
     8. x = x + W_o(quantized(normed(o)))                                   o: H D features, head by head
     9. x~ = quantized(normed(x));  gate = W_gate(x~),  up = W_up(x~);  act = silu(gate) or relu2(gate)
    10. act', j = narrow(act, 31);  x = x + W_down(quantized(normed(act' up, j)))
    11. y, S = normed(x);  y', j = narrow(y, 14);  M, E = ratio(2^j, S)    always RMSNorm
    12. logit of i = shift((W_out[i] . y') (M M_out >> 43), bits[i] - 43 - E_out - E clipped to 0..62)
    13. The next token: ``sampling.sample_integer``, or the largest logit, of equal ones the smallest id.

**What cancels.** Absmax codes do not change when x is multiplied by a positive number: codes are taken
of y = x gain, and 1/rms goes into the output's scale. (In 1/rms = sqrt(m / S) sqrt(m) is a constant, in the
BitLinear's mantissa.) Nor need the shift that narrows a token be undone before a norm: only eps knows it.

**A cache changes no bit.** Each number above belongs to one token (or one token and head), except the sums
over keys, and those are exact in any order; a key that a query may not see has the weight 0, exactly. So
decoding token by token, in pieces, or all at once, alone or in a batch gives the same integers.
"""
from typing import NamedTuple

import numpy as np

from ..float16 import row_blocks
from ..nn import ops
from ..quant import QB
from ..shapes import new_positions
from .fixed_point import EXP2_BITS, FRACTION_BITS, MANTISSA_BITS, MOST_SHIFT
from .fixed_point import bit_length, divide, exp2_minus, narrow, ratio, shift
from .integer_convert import KEY_SHIFT, LOG2E_BITS, LOG2E_FIXED, NARROW_BITS, ROTARY_BITS, VALUE_BITS
from .integer_convert import convert, unit
from .kernels import matmul

# How large every number gets. A type is the smallest that holds it; NumPy computes in int64 where that is
# less to write. (``integer_convert.IntegerWeights`` has the types of what conversion makes.)
#
#   number                        type   one unit is                 range     rounding
#   residual stream x             int32  2^-f                        < 2^28    exact sums
#   inside a norm: x, narrowed    int32  2^-f 2^k, k by token        <= 2^23   halves up
#     LayerNorm: m x - sum(x)     int64  2^-f 2^k / m                < 2^39    exact, then as x
#     sum of squares S, with eps  int64                              < 2^62    exact; eps cut off
#     y = x gain                  int64                              <= 2^46   exact
#   activation codes x~           int8   gamma / 127, by token       <= 127    to even
#     M_x of gamma / sqrt(S)      int32  2^E_x, by token             < 2^31    cut off
#   W~ x~                         int32                              <= 127 m  exact
#     times M_x M_w >> 31         int64                              < 2^53    the multiplier: 29 to 31 bits
#   q k v gate up, W_o, W_down    int32  2^-f                        < 2^28    halves up; q, k rotated too
#   q', the query narrowed        int16  2^-f 2^j, by head and token <= 2^14   halves up, a second time
#   k~, v~: the cache             int8   gamma / 127, the same       <= 127    to even
#     gamma_k, gamma_v            int32  2^-f                        < 2^28    exact
#   k~ . q'                       int32                              < 2^30    exact (D <= 512)
#     times gamma_k               int64  2^-(2f + 7 - j)             < 2^58    exact
#   score z, base 2               int64  2^-16                       < 2^57    halves up
#   softmax weight w, before 1/Z  int32  2^-24                       <= 2^24   ``exp2_minus``
#   u = w gamma_v                 int64  2^-(f+12)                   <= 2^40   halves up
#   sum u v~, and its Z = sum w   int64                              < Z 2^23  exact (context <= 8192)
#   attention's output o          int64  2^-(f+1) / 127              < 2^37    to even, Z cut off to 25 bits
#   |gate| LOG2E_FIXED            int64  2^-(f+30)                   < 2^59    exact, then halves up
#   sigmoid                       int32  2^-24                       <= 2^24   cut off: a floor division
#   act: SwiGLU, ReLU^2           int64  2^-(f+24), 2^-2f            < 2^56    exact
#     act', narrowed              int64  the same times 2^j          <= 2^31   halves up
#   act' up                       int64  the same times 2^-f         < 2^59    exact
#   y', W_out's input             int16  2^j, by token               <= 2^14   halves up
#   W_out y'                      int64                              < 2^42    exact
#     times M M_out >> 43         int64                              < 2^61    the multiplier: 17 to 19 bits
#   logits                        int32  2^-logit_bits               < 2^28    halves up

WEIGHT_SHIFT = 12            # of w gamma_v < 2^52: sums of 127 times it over 2^13 positions stay below 2^60
Z_LEAST, Z_MOST = 25, 38     # bits of Z: of one weight, 2^24, and of 2^13. sum u v~ < Z 2^23 is shifted as if
                             # Z had the most, to below 2^61, as ``divide`` takes, and Z to its leading 25
HIDDEN = -1 << 61            # a score below any other: its weight is 0, and max z - HIDDEN < 2^62
ACT_BITS = 31                # of act', so that act' up < 2^31 2^28
OUT_SHIFT = 43               # M M_out >> 43 is below 2^19, and |sums| <= 2^15 2^14 C <= 2^42: below 2^61


class Activation(NamedTuple):
    """x~ with its scale M_x 2^E_x, by token; what is the same for all tokens is the BitLinear's."""
    codes: np.ndarray        # int8 (m, B, T)
    mantissa: np.ndarray     # int64 (B, T), below 2^31
    exponent: np.ndarray     # int64 (B, T)


def normed(norm, x, e=0):                        # (m, B, T) in units of 2^e, e (B, T) -> (m, B, T), (B, T)
    """y and S such that  n gain = y sqrt(m / S):  the norm but for 1/rms, which changes no absmax code of y.

        LayerNorm first     x, k = narrow(x, 23);  x = m x - sum(x);  e = e + k
        both                x, k = narrow(x, 23), but k is at least eps_exponent - e;  y = x gain, or x
                            S = max(1, sum(x^2) + (eps >> min(62, 2 (k + e - eps_exponent))))
    """
    if norm.centred:                             # m x - sum(x) is m times x - mean(x), and whole
        x, k = narrow(x, VALUE_BITS)
        x, e = len(x) * x - x.sum(0), e + k
    x, k = narrow(x, VALUE_BITS, least=np.maximum(norm.eps_exponent - e, 0))
    S = (x * x).sum(0) + (np.int64(norm.eps) >> np.minimum(2 * (k + e - norm.eps_exponent), MOST_SHIFT))
    y = x if norm.gain is None else x * norm.gain.astype(np.int64)[:, None, None]
    return y, np.maximum(S, 1)


def absmax_codes(x, axis=0):                     # |x| < 2^54
    """x -> int8 codes and gamma:  x~ = divide(127 x, gamma),  gamma = max(1, max|x|) along axis.

    [bitnet] eqs. 4-5. (1 unit, where ``quant.absmax_int8`` has 1e-5.) value = code * gamma / 127.
    """
    gamma = np.maximum(np.abs(x).max(axis, keepdims=True), 1)
    return divide(QB * x, gamma).astype(np.int8), gamma.squeeze(axis)


def quantized(y, S):                             # as ``normed`` gives them -> Activation
    """x~, gamma = absmax_codes(y);  M_x, E_x = ratio(gamma, S).

    The scale of x~ is gamma sqrt(m / S) / 127, of which sqrt(m) / 127 is in the BitLinear's M_w.
    """
    codes, gamma = absmax_codes(y)
    return Activation(codes, *ratio(gamma, S))


def bit_linear(w, x):                            # IntegerBitLinear (n, m), Activation (m, B, T) -> (n, B, T)
    """(W~ x~) s_w s_x in units of 2^-f:  shift((W~ x~) (M_x M_w >> 31), -31 - E_w - E_x clipped to 0..62).

    One multiplier for each token, of 29 to 31 bits, and one shift.
    """
    sums = matmul(x.codes, w.planes, integer=True)
    multiplier = (x.mantissa * w.mantissa) >> MANTISSA_BITS
    return shift(sums * multiplier, np.clip(-MANTISSA_BITS - w.exponent - x.exponent, 0, MOST_SHIFT))


def rotated(x, tables):                          # (H D, B, T), (2, D/2, T) -> (H D, B, T)
    """Features a = d and b = d + D/2 of every head, d < D/2, become  shift(a cos - b sin, 14)  and
    shift(a sin + b cos, 14)  with  cos, sin[d, t].   [rope] eq. 34, as ``ops.rope``."""
    cos, sin = tables.astype(np.int64)[:, :, None]
    a, b = np.moveaxis(x.reshape(-1, 2, *cos.shape[:1], *x.shape[1:]), 1, 0)
    return shift(np.stack([a * cos - b * sin, a * sin + b * cos], axis=1), ROTARY_BITS).reshape(x.shape)


def attention(q, k, gamma_k, v, gamma_v, f):     # (H D, B, T); (K, D, B, L), (K, B, L), twice -> (H D, B, T)
    """o = v P,  P = softmax over keys of k^T q / sqrt(D), in units of 2^-(f+1) / 127: steps 5 to 7.

    q comes multiplied by log2(e) / sqrt(D) 128/127: softmax has base 2, and the 127 of k~ is a shift by 7.
    """
    K, D, B, L = k.shape
    T, out = q.shape[2], np.empty_like(q)
    q, j = narrow(q.reshape(K, -1, D, B, T), NARROW_BITS, axis=2)        # (K, G, D, B, T), (K, G, B, T)
    o = out.reshape(q.shape)
    if T > 1:                                    # a single query reads each once: einsum widens as it goes
        k, v = k.astype(np.int32), v.astype(np.int64)
    gamma_k, gamma_v = (gamma.astype(np.int64).transpose(1, 0, 2)[:, :, None, :, None]       # (B, K, 1, L, 1)
                        for gamma in (gamma_k, gamma_v))
    for block, positions in ops.query_blocks(T, L):
        seen = slice(positions.stop)
        z = np.einsum("kdbs,kgdbt->bkgst", k[..., seen], q[..., block].astype(np.int32))
        z = shift(z * gamma_k[..., seen, :],
                  2 * f + KEY_SHIFT - FRACTION_BITS - j[..., block].transpose(2, 0, 1, 3)[..., None, :])
        hidden = np.arange(positions.stop)[:, None] > np.arange(positions.start, positions.stop)
        z = np.where(hidden, HIDDEN, z)
        w = exp2_minus(z.max(-2, keepdims=True) - z)                     # 0 where hidden
        Z = w.sum(-2).transpose(1, 2, 0, 3)[:, :, None]                  # (K, G, 1, B, t)
        n = bit_length(Z)
        u = shift(w * gamma_v[..., seen, :], WEIGHT_SHIFT)
        uv = np.einsum("kdbs,bkgst->kgdbt", v[..., seen], u)
        o[..., block] = divide(uv << Z_MOST - n, Z >> n - Z_LEAST)     # uv / Z 2^13
    return out


def silu(gate, f):                               # units 2^-f -> units 2^-(f + 24)
    """x s,  made from e = 2^-(|x| log2 e) <= 1 for either sign:  s = 1 / (1 + e),  e / (1 + e) where x < 0.

        e = exp2_minus(shift(|gate| LOG2E_FIXED, 30 + f - 16))
        act = gate (((gate < 0 ? e : 2^24) << 24) // (2^24 + e))
    """
    e = exp2_minus(shift(np.abs(gate) * LOG2E_FIXED, LOG2E_BITS + f - FRACTION_BITS))
    one = 1 << EXP2_BITS
    return gate * ((np.where(gate < 0, e, one) << EXP2_BITS) // (one + e))


def relu2(gate, f):                              # units 2^-f -> units 2^-2f
    """act = max(gate, 0)^2."""
    r = np.maximum(gate, 0)
    return r * r


class Cache:
    """Rotated keys and values of the positions seen so far, for one layer, in 8 bits, with one gamma for each
    head and token. Room for ``context`` positions; ``nbytes`` is what they take."""

    def __init__(self, n_kv_heads, head_dim, batch, context):
        self.k, self.v = np.zeros((2, n_kv_heads, head_dim, batch, context), np.int8)
        self.gamma_k, self.gamma_v = np.zeros((2, n_kv_heads, batch, context), np.int32)
        self.length = 0

    @property
    def nbytes(self):
        return self.k.nbytes + self.v.nbytes + self.gamma_k.nbytes + self.gamma_v.nbytes

    def extend(self, *new):                      # k, gamma_k, v, gamma_v of new positions -> of all positions
        end, all_of = self.length + new[0].shape[-1], (self.k, self.gamma_k, self.v, self.gamma_v)
        for stored, of_new in zip(all_of, new):
            stored[..., self.length:end] = of_new
        self.length = end
        return [stored[..., :end] for stored in all_of]


class IntegerModel:
    """Token ids to logits in integers. Times ``logit_scale`` they are close to the float engine's: where the
    two differ, a code that was close to a half flipped, and all later layers hear of it. How far, says
    ``python -m minibitnet.evaluate --engine integer --compare``.

    c: a configuration, with the sizes as attributes; matrices, arrays: as formats/packed.py reads them. Both
    are handed over and emptied one by one (``convert``), so that the bytes of the file and the resident form
    of the whole model are never in memory together. UserError for a model that the proven ranges do not hold.
    """

    def __init__(self, c, matrices, arrays):
        self.config = c
        (self.bits, self.embedding, self.rotary, self.blocks, self.norm, self.head,
         self.logit_bits, self.logit_mantissa, self.logit_exponent) = convert(c, matrices, arrays)

    def __call__(self, ids, caches=None, last=False):      # (B, T) int -> int32 (V, B, T); last: (V, B, 1)
        x = self.encode(ids, caches)
        return self.score(x[..., -1:] if last else x)

    def new_caches(self, batch=1):
        c = self.config
        return [Cache(c.n_kv_heads, c.head_dim, batch, c.context) for _ in self.blocks]

    @property
    def logit_scale(self):                       # for whoever wants floats in the end
        return unit(self.logit_bits)

    def encode(self, ids, caches=None):          # (B, T) -> residual stream (C, B, T), int64
        X, tables = self.embedding, self.rotary[..., new_positions(ids, caches, self.config)]
        x = X.codes[ids].astype(np.int64) << self.bits - X.bits[ids].astype(np.int64)[..., None]  # 1
        x = x.transpose(2, 0, 1)
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            inputs = quantized(*normed(block.input_layernorm, x))                                 # 2: x~
            x = x + self.attend(block, inputs, tables, cache)                                     # 2 to 8
            inputs = quantized(*normed(block.post_attention_layernorm, x))                        # 9: x~
            x = x + self.feed_forward(block, inputs)                                              # 9 and 10
        return x

    def attend(self, block, x, tables, cache):   # steps 2 to 8, but for the sum
        q, k = rotated(bit_linear(block.q, x), tables), rotated(bit_linear(block.k, x), tables)   # 2, 3
        heads = (self.config.n_kv_heads, -1, *k.shape[1:])
        past = (*absmax_codes(k.reshape(heads), axis=1),                                          # 4
                *absmax_codes(bit_linear(block.v, x).reshape(heads), axis=1))                     # 2, 4
        o = attention(q, *(cache.extend(*past) if cache is not None else past), self.bits)        # 5 to 7
        return bit_linear(block.o, quantized(*normed(block.attn_sub_norm, o)))                    # 8

    def feed_forward(self, block, x):            # steps 9 and 10, but for the sum
        act = {"silu": silu, "relu2": relu2}[self.config.activation]
        gate, j = narrow(act(bit_linear(block.gate, x), self.bits), ACT_BITS)                     # 9, 10
        gated = gate * bit_linear(block.up, x)                                                    # 9, 10
        return bit_linear(block.down, quantized(*normed(block.ffn_sub_norm, gated, j)))           # 10

    def score(self, x):                          # (C, B, T) -> int32 (V, B, T): steps 11 and 12
        """logits = W_out (n gain) in units of 2^-logit_bits:  n gain = y sqrt(C / S), y narrowed by token."""
        y, S = normed(self.norm, x)
        y, j = narrow(y, NARROW_BITS)
        M, E = ratio(np.int64(1) << j, S)
        multiplier = (M * self.logit_mantissa) >> OUT_SHIFT
        logits = np.empty((len(self.head.codes), *y.shape[1:]), np.int32)
        for rows in row_blocks(self.head.codes):
            sums = np.einsum("vc,cbt->vbt", self.head.codes[rows].astype(np.int64), y)
            places = -OUT_SHIFT - self.logit_exponent - E + self.head.bits[rows, None, None].astype(np.int64)
            logits[rows] = shift(sums * multiplier, np.clip(places, 0, MOST_SHIFT)).astype(np.int32)
        return logits
