"""The model of ``nn/model.py`` without one float between token id and chosen token: whole numbers, shifts and tables.

Floats appear once, in the conversion at the end of this file, and leave integer arrays and Python's integers behind (the
configuration keeps its own, which are not read). This docstring is meant to be enough for a port to C or Verilog: 64 bits hold
everything, and nothing saturates. ``fixed_point.py`` has the arithmetic, tests/inference/test_integer.py two tiny models with
their golden logits.

**Letters.** C = d_model, F = d_ffn; H query heads of D = C / H features, K heads of keys and values; m: features that a norm or a
product sums over; f = ``model.bits``, the bits after the point of all activations; g: the largest |value| of a token or head.

**Operations.**

    a >> k             floor(a / 2^k), of negative a too: an arithmetic shift.  a // b: the floor as well
    shift(a, k)        (a + 2^(k-1)) >> k, or a for k = 0: a / 2^k, halves up
    divide(a, b)       a / b, halves to even
    narrow(x, b)       k = max(0, bits of max|x| - b) for a whole token, x' = shift(x, k) -> x', k.   |x'| may reach 2^b itself
    ratio(a, b)        a / sqrt(b) = M 2^e: a ~ A 2^p, the 31 leading bits, cut off (or a shifted up to 31);  r = floor(sqrt(4^q b)) with
                       4^q b in [2^60, 2^62);  M = (A << 30) // r,  e = p + q - 30
    exp2(d)            2^-d in 24 bits: d = min(d, 32 << 16) is an octave, 8 bits i and 8 bits j;  T[i] = 2^(24 - i/256) to the nearest;
                       shift(T[i] - ((T[i] - T[i+1]) j >> 8), octave)
    norm(x, e)         x is in units of 2^e (e = 0 where none is given)
        LayerNorm      x, k = narrow(x, 23);  x = m x - sum(x);  e = e + k        (RMSNorm begins below)
        both           x', k = narrow(x, 23), but k is at least eps_exponent - e
                       S = max(1, sum(x'^2) + (eps >> min(62, 2 (k + e - eps_exponent))))
                       y = x' gain, or x' where there is no gain -> y, S
    quantize(y, S)     g = max(1, max|y|);  x~ = divide(127 y, g);  m_x, e_x = ratio(g, S) -> x~, m_x, e_x
    W(x~)              shift((W~ x~) (m_x m_w >> 31), -31 - e_w - e_x clipped to 0..62), in units of 2^-f

**One token, step by step**, the token v at position t; 2 to 10 for each block.

     1. x = X << f - bits[v]                X: row v of the embedding
     2. a = quantize(norm(x));  q = W_q(a),  k = W_k(a),  v = W_v(a): H, K, K heads of D features, one head after another
     3. Rotate every head of q and of k. Pair i < D/2 is a, b = features i and i + D/2 of the head:
        shift(a cos - b sin, 14), shift(a sin + b cos, 14)        cos, sin[i, t]
     4. For every head of k and of v:  g = max(1, max|k|),  k~ = divide(127 k, g). Both to the cache.
     5. For every head h of q:  q', j = narrow(q, 14). It reads head h // (H / K) of keys and values, at all positions s <= t:
     6. z_s = shift((k~_s . q') g_s, 2 f + 7 - 16 - j);  w_s = exp2(max z - z_s);  Z = sum w_s
     7. u_s = shift(w_s g_s, 12), now with the value's g;  n = number of bits of Z, 25 to 38
        o = divide((sum u_s v~_s) << 38 - n, Z >> n - 25)
     8. x = x + W_o(quantize(norm(o)))                                                o: H D features, head by head
     9. b = quantize(norm(x));  gate = W_gate(b),  up = W_up(b)
        SwiGLU:  e = exp2(shift(|gate| LOG2E, 30 + f - 16));  act = gate (((gate < 0 ? e : 2^24) << 24) // (2^24 + e))
        ReLU^2:  act = max(gate, 0)^2
    10. act', j = narrow(act, 31);  x = x + W_down(quantize(norm(act' up, j)))
    11. y, S = norm(x);  y', k = narrow(y, 14);  m, e = ratio(2^k, S)                 the last norm is RMSNorm in every arm
    12. logit of v' = shift((row v' of the head . y') (m M >> 43), bits[v'] - 43 - E - e clipped to 0..62)
    13. Greedy: the largest logit, of equal ones the smallest id. Else sort, largest first, equal ones by id, and keep top_k.
        Weights exp2(shift((largest - logit) m_b, min(-e_b, 62))), summed up in this order; keep the first ones, up to the one
        whose sum times 2^16 is at least top_p times the whole. Draw 0 <= r < the sum of these: the first whose sum is above r.

**Constants**, made at conversion, rounded to even. A mantissa has 31 bits.

    f                  min(20, floor(28 - log2(largest activation))): see below
    row v, bits[v]     round(row 2^bits), at most 2^15 - 1;  bits = 15 - p where 2^(p-1) <= max|row| < 2^p,
                       and at most f (untied head: 62)
    gain, its unit     round(gain 2^a), unit 2^-a;  a = 23 - p likewise, from max|gain|.  No gain: unit 1
    eps, eps_exponent  norm_eps m / unit(x)^2 (LayerNorm: m^3) = eps 4^eps_exponent, with the smallest eps_exponent >= 0 for which
                       eps <= 2^60;  unit(x): 2^-f; of o 2^-(f+1) / 127; of act' up 2^-(2f+24) (SwiGLU) or 2^-3f (ReLU^2)
    m_w 2^e_w          s_w / 127 unit(gain) sqrt(m) 2^f; for q also times log2(e) / sqrt(D), for a softmax of base 2, and 128 / 127,
                       which makes the 127 of k~ a shift by 7
    cos, sin           of t theta^(-2i/D), as float32, times 2^14
    LOG2E              round(2^30 log2(e))
    logit_bits         min(16, floor(28 - log2(largest logit))), and M 2^E = unit(last gain) sqrt(C) 2^logit_bits
    m_b 2^e_b          beta = min(2^30, 2^(16 - logit_bits) log2(e) / temperature);  top_p: round(2^16 top_p)

**Ranges.** A type is the smallest that holds the number; NumPy computes in int64 where that is less to write.

    number                         type            one unit is                 range          rounding
    embedding, head (V, C)         int16           2^-bits[v], by row          < 2^15         to even, at conversion
    residual stream                int32           2^-f                        < 2^28         exact sums
    inside a norm: x'              int32           2^-f 2^k, k by token        <= 2^23        halves up
      LayerNorm: C x' - sum(x')    int64           2^-f 2^k / C                < 2^39         exact, then as x'
      sum of squares S, with eps   int64                                       < 2^62         exact; eps cut off
      gain                         int32           2^-a, a by norm             <= 2^23        to even, at conversion
      y = x' gain                  int64                                       <= 2^46        exact
    activation codes x~            int8            g / 127, by token           <= 127         to even
      their scale g / sqrt(S)      int32           2^e, by token               < 2^31         cut off
    weight codes W~                2 bits          s_w, by matrix              <= 1           (no rounding here)
      their scale                  int32           2^e, by matrix              < 2^31         to even, at conversion
    W~ x~                          int32                                       <= 127 m       exact
      times m_x m_w >> 31          int64                                       < 2^53         the multiplier cut off to 29 to 31 bits
    q k v gate up, o and down      int32           2^-f                        < 2^28         halves up
    cos, sin (D/2, context)        int16           2^-14                       <= 2^14        to even, at conversion
    q and k, rotated               int32           2^-f                        < 2^28         halves up
    query, narrowed                int16           2^-f 2^j, by head and token <= 2^14        halves up, a second time
    key, value: the cache          int8            g / 127, the same           <= 127         to even
      their scale g                int32           2^-f                        < 2^28         exact
    k~^T q                         int32                                       < 2^30         exact (D <= 512)
    k~^T q g                       int64           2^-(2f + 7 - j)             < 2^58         exact
    score z, base 2                int64           2^-16                       < 2^57         halves up
    exp2's table                   int32           2^-24                       <= 2^24        to the nearest, 2^(24 - i/256)
    softmax weight w, before 1/Z   int32           2^-24                       <= 2^24        ``exp2``
    u = w g of the value           int64           2^-(f+12)                   <= 2^40        halves up
    sum u v~, and its Z = sum w    int64                                       < Z 2^23       exact (context <= 8192)
    attention's output             int64           2^-(f+1) / 127              < 2^37         to even, of Z cut off to 25 bits
    |gate| LOG2E                   int64           2^-(f+30)                   < 2^59         exact, then halves up
    sigmoid                        int32           2^-24                       <= 2^24        cut off: a floor division
    act(gate): SwiGLU, ReLU^2      int64           2^-(f+24), 2^-2f            < 2^56         exact
      narrowed                     int64           the same times 2^j          <= 2^31        halves up
    act(gate) up                   int64           the same times 2^-f         < 2^59         exact
    the head's input y'            int16           2^k, by token               <= 2^14        halves up
    head times y'                  int64                                       < 2^42         exact
      times m M >> 43              int64                                       < 2^61         the multiplier cut off to 17 to 19 bits
    logits                         int32           2^-logit_bits               < 2^28         halves up
    sampling weights               int32           2^-24                       <= 2^24        as the softmax weights
      their sums, times 2^16       int64                                       <= 2^60        exact (V <= 2^20)

**No overflow.** A normed token has |n|_2 <= sqrt(m), whatever the token, so each output of a BitLinear has a largest possible
value that only its weights and gains decide, rounding included (``largest_output``); so have their sum, the residual stream, and
the logits. Conversion takes f, at most 20, such that all activations stay below 2^28, rotated queries and keys too, and logit_bits
likewise; the other ranges follow from the sizes that ``check_limits`` admits. A model that would need f < 12 is refused.

**What cancels.** Absmax codes do not change when x is multiplied by a positive number: codes are taken of y = x gain, and 1/rms
goes into the output's scale. (In 1/rms = sqrt(m / S) sqrt(m) is a constant, in the BitLinear's mantissa.) For the same reason
k, the shift that narrows a token to so many bits, need not be undone in front of a norm: only eps must know it.

**A cache changes no bit.** Each number above belongs to one token (or one token and head), except the sums over keys, and those
are exact in any order; a key that a query may not see has the weight 0, exactly. So decoding token by token, in pieces, or
all at once, alone or in a batch gives the same integers.

**What it costs.** ``python -m minibitnet.evaluate --model runs/tiny --engine integer --compare`` sets it beside the float engine; README has what
it says of the tiny run. Where the two differ, an activation code that was close to a half flipped, and all later layers hear of it.
"""
import math
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..exact import LN2, total
from ..float16 import all_finite, row_blocks, scaled_rows, widen
from ..nn import ops
from ..packing import unpack_ternary
from ..quant import QB
from .fixed_point import EXP2_BITS, FRACTION_BITS, bit_length, divide, exp2, mantissa, narrow, ratio, shift
from .kernels import BitPlanes, matmul, repack

RANGE_BITS = 28      # every activation is proven to stay below 2^28 ...
MOST_BITS = 20       # ... with at most so many of them after the point,
LEAST_BITS = 12      # and at least so many
VALUE_BITS = 23      # of values inside a norm, and of gains
QUERY_BITS = 14      # of queries, and of the head's inputs
ROTARY_BITS = 14     # of cos and sin
WEIGHT_SHIFT = 12    # what weight times value scale gives up, so that sums over the context fit
LOG2E = round(2**30 / LN2)                       # log2(e), 30 bits after the point


class Norm(NamedTuple):
    gain: np.ndarray | None  # int32 (C,), None: all ones
    centred: bool            # LayerNorm: without the mean
    eps: int                 # C eps in the square of 2^eps_exponent units of the input
    eps_exponent: int


class BitLinear(NamedTuple):
    planes: BitPlanes        # (n, m): -1, 0, +1, two bits each
    mantissa: int            # from sums of codes, and the token's scale, to activations
    exponent: int


class Activation(NamedTuple):
    """x~ with its scale mantissa 2^exponent for every token, but for what is the same for all tokens: that is the BitLinear's."""
    codes: np.ndarray        # int8 (m, B, T)
    mantissa: np.ndarray     # int64 (B, T), below 2^31
    exponent: np.ndarray     # int64 (B, T)


class Block(NamedTuple):
    input_layernorm: Norm
    q: BitLinear
    k: BitLinear
    v: BitLinear
    attn_sub_norm: Norm
    o: BitLinear
    post_attention_layernorm: Norm
    gate: BitLinear
    up: BitLinear
    ffn_sub_norm: Norm
    down: BitLinear


# ---- between token id and logits: whole numbers

def normed(norm, x, exponent=0):                 # integers (C, B, T), the token's exponent (B, T) -> (C, B, T), (B, T)
    """y and S such that  n gain = y sqrt(C / S):  the norm but for the factor 1/rms, which changes no absmax code of y."""
    if norm.centred:                             # C x - sum(x) is C times x - mean(x), and whole
        x, k = narrow(x, VALUE_BITS)
        x, exponent = len(x) * x - x.sum(0), exponent + k
    x, k = narrow(x, VALUE_BITS, least=np.maximum(norm.eps_exponent - exponent, 0))
    S = (x * x).sum(0) + (np.int64(norm.eps) >> np.minimum(2 * (k + exponent - norm.eps_exponent), 62))
    return x if norm.gain is None else x * norm.gain.astype(np.int64)[:, None, None], np.maximum(S, 1)


def absmax_codes(x, axis=0):                     # |x| < 2^54
    """x -> int8 codes and gamma:  x~ = round(127 x / gamma),  gamma = max|x| along axis.   [bitnet] eqs. 4-5

    gamma is at least 1 unit, where ``quant.absmax_int8`` has at least 1e-5; value = code * gamma / 127.
    """
    gamma = np.maximum(np.abs(x).max(axis, keepdims=True), 1)
    return divide(QB * x, gamma).astype(np.int8), gamma.squeeze(axis)


def quantized(y, S):                             # as ``normed`` gives them -> Activation
    """x~ = round(127 y / gamma),  gamma = max|y|;  its scale is gamma sqrt(m / S) / 127, of which sqrt(m) / 127 is the BitLinear's."""
    codes, gamma = absmax_codes(y)
    return Activation(codes, *ratio(gamma, S))


def bit_linear(w, x):                            # BitLinear (n, m), Activation (m, B, T) -> int64 (n, B, T)
    """y = (W~ x~) s_w s_x in units of 2^-bits: one multiplier for each token, of 29 to 31 bits, and one shift."""
    sums = matmul(x.codes, w.planes, integer=True)
    multiplier = (x.mantissa * w.mantissa) >> 31
    return shift(sums * multiplier, np.clip(-31 - w.exponent - x.exponent, 0, 62))     # beyond 62 all becomes 0


def rotated(x, tables):                          # (H D, B, T), (2, D/2, T) -> (H D, B, T)
    """[rope] eq. 34, as ``ops.rope``."""
    cos, sin = tables.astype(np.int64)[:, :, None]
    a, b = np.moveaxis(x.reshape(-1, 2, *cos.shape[:1], *x.shape[1:]), 1, 0)
    return shift(np.stack([a * cos - b * sin, a * sin + b * cos], axis=1), ROTARY_BITS).reshape(x.shape)


def attention(q, k, k_scale, v, v_scale, bits):  # (H D, B, T); int8 (K, D, B, S), int32 (K, B, S), twice -> (H D, B, T)
    """o = v P,  P = softmax over keys of k^T q / sqrt(D), in units of 2^-(bits+1) / 127. q comes multiplied by log2(e) / sqrt(D) 128/127:
    the exponential is then 2^(k^T q), and the 127 of k's scale a shift."""
    n_kv_heads, D, B, S = k.shape
    T, out = q.shape[2], np.empty_like(q)
    q, exponent = narrow(q.reshape(n_kv_heads, -1, D, B, T), QUERY_BITS, axis=2)
    o = out.reshape(q.shape)
    if T > 1:                                    # a single query reads each number once: einsum widens as it goes, and copies no cache
        k, v = k.astype(np.int32), v.astype(np.int64)
    k_scale, v_scale = (scale.astype(np.int64).transpose(1, 0, 2)[:, :, None, :, None] for scale in (k_scale, v_scale))   # (B, K, 1, S, 1)
    for t in range(0, T, ops.QUERY_BLOCK):
        queries, seen = slice(t, t + ops.QUERY_BLOCK), min(t + ops.QUERY_BLOCK, T) + S - T
        s = np.einsum("kdbs,kgdbt->bkgst", k[..., :seen], q[..., queries].astype(np.int32)) * k_scale[..., :seen, :]
        s = shift(s, 2 * bits + 7 - FRACTION_BITS - exponent[..., queries].transpose(2, 0, 1, 3)[..., None, :])
        hidden = np.arange(seen)[:, None] > np.arange(t, t + s.shape[-1]) + S - T
        s = np.where(hidden, -1 << 61, s)
        w = exp2(s.max(-2, keepdims=True) - s)                           # 0 where hidden
        total = w.sum(-2).transpose(1, 2, 0, 3)[:, :, None]              # (K, G, 1, B, t)
        length = bit_length(total)                                       # 25 to 38; the quotient below is a / total 2^13 in 62 bits
        u = shift(w * v_scale[..., :seen, :], WEIGHT_SHIFT)
        a = np.einsum("kdbs,bkgst->kgdbt", v[..., :seen], u)
        o[..., queries] = divide(a << 38 - length, total >> length - 25)
    return out


def silu(gate, bits):                            # units 2^-bits -> units 2^-(bits + 24)
    """x s,  s = 1 / (1 + 2^-(x log2 e)):  the exponential of -|x|, whatever the sign of x, so that it is at most 1."""
    e = exp2(shift(np.abs(gate) * LOG2E, 30 + bits - FRACTION_BITS))
    one = 1 << EXP2_BITS
    return gate * ((np.where(gate < 0, e, one) << EXP2_BITS) // (one + e))


def relu2(gate, bits):                           # units 2^-bits -> units 2^-(2 bits)
    """relu(x)^2."""
    r = np.maximum(gate, 0)
    return r * r


class Cache:
    """Rotated keys and values of the positions seen so far, for one layer, in 8 bits: value = code * scale / 127 2^-bits, one
    scale for each head and token. Room for ``context`` positions; ``nbytes`` is what they take."""

    def __init__(self, n_kv_heads, head_dim, batch, context):
        self.k, self.v = np.zeros((2, n_kv_heads, head_dim, batch, context), np.int8)
        self.k_scale, self.v_scale = np.zeros((2, n_kv_heads, batch, context), np.int32)
        self.length = 0

    @property
    def nbytes(self):
        return self.k.nbytes + self.v.nbytes + self.k_scale.nbytes + self.v_scale.nbytes

    def extend(self, *new):                      # k, k_scale, v, v_scale of new positions -> of all positions
        end, all_of = self.length + new[0].shape[-1], (self.k, self.k_scale, self.v, self.v_scale)
        for stored, part in zip(all_of, new):
            stored[..., self.length:end] = part
        self.length = end
        return [stored[..., :end] for stored in all_of]


class IntegerModel:
    """Token ids to logits in whole numbers: ``model(ids) * model.logit_scale`` approximates the float engine's logits.

    c: a configuration, with the sizes as attributes; matrices: {name: PackedMatrix} of the BitLinears, arrays: {name: array} of
    embedding, gains and head, as formats/packed.py reads them. Its matrices are taken out of both one by one, so that the bytes of the
    file and the resident form of the whole model are never in memory together. UserError for a model that the proven ranges do not hold.
    """

    def __init__(self, c, matrices, arrays):
        self.config = c
        convert(self, c, matrices, arrays)

    def __call__(self, ids, caches=None, last=False):      # (B, T) int -> logits int32 (V, B, T), or of the last token alone (V, B, 1)
        x = self.encode(ids, caches)
        return self.score(x[..., -1:] if last else x)

    def new_caches(self, batch=1):
        c = self.config
        return [Cache(c.n_kv_heads, c.head_dim, batch, c.context) for _ in self.blocks]

    @property
    def logit_scale(self):
        return 2.0**-self.logit_bits

    def encode(self, ids, caches=None):          # (B, T) -> residual stream (C, B, T), int64
        c, start = self.config, caches[0].length if caches else 0
        end = start + ids.shape[1]
        if end > c.context:
            raise ValueError(f"{end} tokens: expected at most the context of {c.context}")
        table, tables = self.embedding, self.rotary[..., start:end]
        x = (table.codes[ids].astype(np.int64) << self.bits - table.bits[ids].astype(np.int64)[..., None]).transpose(2, 0, 1)
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x = x + self.attend(block, quantized(*normed(block.input_layernorm, x)), tables, cache)
            x = x + self.feed_forward(block, quantized(*normed(block.post_attention_layernorm, x)))
        return x

    def attend(self, block, x, tables, cache):
        q, k = rotated(bit_linear(block.q, x), tables), rotated(bit_linear(block.k, x), tables)
        heads = (self.config.n_kv_heads, -1, *k.shape[1:])
        past = *absmax_codes(k.reshape(heads), axis=1), *absmax_codes(bit_linear(block.v, x).reshape(heads), axis=1)
        a = attention(q, *(cache.extend(*past) if cache is not None else past), self.bits)
        return bit_linear(block.o, quantized(*normed(block.attn_sub_norm, a)))

    def feed_forward(self, block, x):
        act = {"silu": silu, "relu2": relu2}[self.config.activation]
        gated, exponent = narrow(act(bit_linear(block.gate, x), self.bits), 31)
        return bit_linear(block.down, quantized(*normed(block.ffn_sub_norm, gated * bit_linear(block.up, x), exponent)))

    def score(self, x):                          # (C, B, T) -> int32 (V, B, T)
        """logits = W n in units of 2^-logit_bits:  n gain = y sqrt(C / S), y in 15 bits a token."""
        y, S = normed(self.norm, x)
        y, k = narrow(y, QUERY_BITS)
        m, e = ratio(np.int64(1) << k, S)
        multiplier = (m * self.logit_mantissa) >> 43                     # 17 to 19 bits: |sums| < 2^15 2^14 C <= 2^42
        places = -43 - self.logit_exponent - e + self.head.bits.astype(np.int64)[:, None, None]
        logits = np.empty(places.shape, np.int32)
        for rows in row_blocks(self.head.codes):
            sums = np.einsum("vc,cbt->vbt", self.head.codes[rows].astype(np.int64), y)
            logits[rows] = shift(sums * multiplier, np.clip(places[rows], 0, 62)).astype(np.int32)
        return logits


# ---- conversion: the only floats

def convert(model, c, matrices, arrays):
    """Fill in an IntegerModel."""
    check_limits(c)
    check_finite(matrices, arrays)
    arrays |= {name: widen(gain) for name, gain in arrays.items() if gain.ndim == 1}
    model.bits = activation_bits(c, matrices, arrays)
    model.embedding = scaled_rows(arrays.pop("embed_tokens.weight"), model.bits)
    model.head = model.embedding if c.tied else scaled_rows(arrays.pop("lm_head.weight"))
    model.rotary = np.rint(np.ldexp(ops.rotary_tables(c.head_dim, c.context, c.rope_theta), ROTARY_BITS)).astype(np.int16)
    model.blocks = [integer_block(f"layers.{i}.", c, matrices, arrays, model.bits) for i in range(c.n_layers)]
    model.norm, unit = integer_norm(arrays["norm.weight"], False, c.d_model, c.norm_eps, 2.0**-model.bits)
    head = (np.ldexp(model.head.codes[rows].astype(np.float64), -model.head.bits[rows, None]) for rows in row_blocks(model.head.codes))
    steps = 2**(QUERY_BITS - 1)                  # a narrowed token's largest is at least 2^13
    bound = max(largest_output(w, 1.0, unit * model.norm.gain, steps) for w in head)
    model.logit_bits = min(16, RANGE_BITS - ceil_log2(max(bound, 1)))
    model.logit_mantissa, model.logit_exponent = mantissa(unit * math.sqrt(c.d_model) * 2.0**model.logit_bits)


def check_limits(c):
    """UserError for what the module's table does not cover."""
    if c.linear == "float":
        raise UserError("linear = 'float': expected a model with ternary or binary weights; a full-precision one has no integer form here")
    for name, limit in {"vocab_size": 2**20, "d_model": 2**13, "d_ffn": 2**15, "context": 2**13, "head_dim": 2**9}.items():
        if getattr(c, name) > limit:
            raise UserError(f"{name} = {getattr(c, name):,}: the integer engine's sums are proven to fit up to {limit:,}")


def check_finite(matrices, arrays):
    """UserError for an infinite or undefined number, which no bound bounds."""
    for name, values in (arrays | {name: matrix.scale for name, matrix in matrices.items()}).items():
        if not all_finite(values):
            raise UserError(f"{name} holds values that are not finite: expected numbers; did the training diverge?")


def activation_bits(c, matrices, arrays):
    """The bits after the point of all activations: as many as keep their largest possible values below 2^28."""
    embedding, largest = arrays["embed_tokens.weight"], 1.0
    residual = max(float(np.abs(widen(embedding[rows])).max()) for rows in row_blocks(embedding))
    for name, (packed, n, scale) in matrices.items():
        w = unpack_ternary(packed, n)
        bound = max(largest_output(w[rows], float(scale), input_gain(name, arrays)) for rows in row_blocks(w))
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            residual += bound
        else:                                    # a rotation adds up to sqrt 2
            largest = max(largest, math.sqrt(2) * bound * (max(1, query_factor(c)) if name.endswith("q_proj.weight") else 1))
    largest = max(largest, residual)
    bits = min(MOST_BITS, RANGE_BITS - ceil_log2(largest))
    if bits < LEAST_BITS:
        raise UserError(f"activations may reach {largest:.3g}: the integer engine holds up to "
                        f"{2.0**(RANGE_BITS - LEAST_BITS):,.0f}; are gains or scales off?")
    return bits


def ceil_log2(x):
    """The smallest n with x <= 2^n, of a positive float (0: 0)."""
    fraction, n = math.frexp(x)
    return n - (fraction == 0.5)


def query_factor(c):
    """What queries are multiplied by: log2(e) / sqrt(D), so that softmax is of base 2, and 128/127, which makes the 127 of k's scale
    a shift. Above 1 in heads of two."""
    return 128 / QB / LN2 / math.sqrt(c.head_dim)


NORM_OF = {"self_attn.q_proj": "input_layernorm", "self_attn.k_proj": "input_layernorm", "self_attn.v_proj": "input_layernorm",
           "self_attn.o_proj": "self_attn.attn_sub_norm", "mlp.gate_proj": "post_attention_layernorm",
           "mlp.up_proj": "post_attention_layernorm", "mlp.down_proj": "mlp.ffn_sub_norm"}


def input_gain(name, arrays):
    """"layers.0.mlp.down_proj.weight" -> the gain of the norm in front of it, or None."""
    _, i, matrix = name.removesuffix(".weight").split(".", 2)
    return arrays.get(f"layers.{i}.{NORM_OF[matrix]}.weight")


def largest_output(w, scale, gain, steps=QB):
    """No |y_i| of y = s_w W~ (n gain) is larger: a normed token has |n| <= sqrt(m), so |W~ (n gain)|_i <= |w_i gain| sqrt(m) by Cauchy and
    Schwarz. n gain is rounded to a step of at most max|n gain| / steps, which adds half a step times each |weight|. (0.001 is for the
    other roundings, of parts in 2^16 and smaller.)"""
    gain = np.ones(w.shape[1]) if gain is None else np.abs(gain.astype(np.float64))
    w = np.abs(w).astype(np.float64)
    rows = np.sqrt(total(np.square(w * gain), 1)[:, 0]) + total(w, 1)[:, 0] * gain.max() / (2 * steps)
    return 1.001 * scale * math.sqrt(w.shape[1]) * float(rows.max())


def integer_norm(gain, centred, size, eps, unit):
    """-> Norm of values in this unit, and the unit of its gain."""
    if gain is not None:
        places = VALUE_BITS - math.frexp(np.abs(gain).max())[1]
        gain = np.rint(np.ldexp(gain.astype(np.float64), places)).astype(np.int32)
    eps = size * eps / unit**2 * (size**2 if centred else 1)
    exponent = max(0, (ceil_log2(eps) - 59) // 2)
    return Norm(gain, centred, round(eps / 4.0**exponent), exponent), 1.0 if gain is None else 2.0**-places


def integer_block(prefix, c, matrices, arrays, bits):
    """-> Block, out of ``matrices``."""
    one = 2.0**-bits
    activation = 2.0**-EXP2_BITS if c.activation == "silu" else one
    inputs = {"input_layernorm": (c.d_model, one), "self_attn.attn_sub_norm": (c.d_model, one / 2 / QB),         # their sizes and units
              "post_attention_layernorm": (c.d_model, one), "mlp.ffn_sub_norm": (c.d_ffn, one**2 * activation)}
    norms = {name: integer_norm(arrays.get(f"{prefix}{name}.weight"), c.linear == "binary", size, c.norm_eps, unit)
             for name, (size, unit) in inputs.items()}
    fields = {name.split(".")[-1]: norm for name, (norm, _) in norms.items()}
    for name, norm in NORM_OF.items():
        packed, n, scale = matrices.pop(f"{prefix}{name}.weight")
        factor = float(scale) / QB * norms[norm][1] * math.sqrt(packed.shape[1]) * (query_factor(c) if name == "self_attn.q_proj" else 1)
        fields[name.split(".")[1].removesuffix("_proj")] = BitLinear(repack(packed, n), *mantissa(factor * 2.0**bits))
    return Block(**fields)
