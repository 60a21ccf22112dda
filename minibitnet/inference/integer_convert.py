"""A packed model made whole: floats come in, integers alone go out, each with a proof that it fits.

``convert`` gives ``IntegerWeights``, all that ``integer.py`` runs on (that docstring has the letters and the
steps). A port reads these numbers from a file, or makes them as follows.

**Constants**, rounded to even. A mantissa M has 31 bits (``fixed_point.mantissa``).

    f                  min(20, floor(28 - log2(largest activation))): see below
    row i, bits[i]     round(row 2^bits), at most 2^15 - 1;  bits = 15 - p where 2^(p-1) <= max|row| < 2^p,
                       and at most f (untied head: 62)
    gain, its unit     round(gain 2^a), unit 2^-a;  a = 23 - p likewise, from max|gain|.  No gain: unit 1
    eps, eps_exponent  norm_eps m / unit(x)^2 (LayerNorm: m^3 for m) = eps 4^eps_exponent, with the smallest
                       eps_exponent >= 0 for which eps <= 2^60.  unit(x), of what the norm reads: 2^-f;
                       of o 2^-(f+1) / 127; of act' up 2^-(2f+24) (SwiGLU) or 2^-3f (ReLU^2)
    M_w 2^E_w          s_w / 127 unit(gain) sqrt(m) 2^f; for q also times log2(e) / sqrt(D), for a softmax of
                       base 2, and 128 / 127, which makes the 127 of k~ a shift by 7
    cos, sin           [d, t]: of t theta^(-2d/D), d < D/2, as float32, times 2^14
    LOG2E_FIXED        round(2^30 log2(e))
    logit_bits         min(16, floor(28 - log2(largest logit)))
    M_out 2^E_out      unit(last gain) sqrt(C) 2^logit_bits

**No overflow.** A normed token has |n|_2 <= sqrt(m), whatever the token, so each output of a BitLinear has a
largest possible value that only its weights and gains decide, rounding included (``largest_output``); so have
their sum, the residual stream, and the logits. f, at most 20, is taken such that all activations stay below
2^28, rotated queries and keys too, and logit_bits likewise; the other ranges of ``integer.py`` follow from
the sizes that ``check_limits`` admits. A model that would need f < 12 is refused.
"""
import math
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..exact import LN2, total
from ..float16 import ScaledRows, all_finite, row_blocks, scaled_rows, widen
from ..nn import ops
from ..packing import unpack_ternary
from ..quant import QB
from ..variants import EIGHT_BITS, LAYER
from .fixed_point import EXP2_BITS, mantissa
from .kernels import BitPlanes, repack

RANGE_BITS = 28      # every activation is proven to stay below 2^28 ...
MOST_BITS = 20       # ... with at most so many of them after the point,
LEAST_BITS = 12      # and at least so many
MOST_LOGIT_BITS = 16
VALUE_BITS = 23      # of values inside a norm, and of gains
NARROW_BITS = 14     # of queries and of the head's input
ROTARY_BITS = 14     # of cos and sin
KEY_SHIFT = 7        # k = k~ gamma / 127: queries come multiplied by 128 / 127, which leaves / 2^7
LOG2E_BITS = 30
LOG2E_FIXED = round(2**LOG2E_BITS / LN2)                   # log2(e)
LIMITS = {"vocab_size": 2**20, "d_model": 2**13, "d_attention": 2**13, "d_ffn": 2**15, "context": 2**13,
          "head_dim": 2**9}


# ---- what the engine runs on

class Norm(NamedTuple):
    gain: np.ndarray | None  # int32 (m,), at most 2^23, its unit in the next BitLinear's M_w; None: all ones
    centred: bool            # LayerNorm: without the mean
    eps: int                 # norm_eps m (LayerNorm: m^3), at most 2^60, in units of x^2: the square of
    eps_exponent: int        # 2^eps_exponent units of x


class IntegerBitLinear(NamedTuple):
    planes: BitPlanes        # (n, m): W~, codes -1, 0, +1 in two bits each
    mantissa: int            # M_w 2^E_w: from sums of codes, and the token's scale, to activations; 31 bits
    exponent: int


class IntegerBlock(NamedTuple):
    input_layernorm: Norm
    q: IntegerBitLinear      # (H D, C)
    k: IntegerBitLinear      # (K D, C)
    v: IntegerBitLinear      # (K D, C)
    attn_sub_norm: Norm
    o: IntegerBitLinear      # (C, H D)
    post_attention_layernorm: Norm
    gate: IntegerBitLinear   # (F, C)
    up: IntegerBitLinear     # (F, C)
    ffn_sub_norm: Norm
    down: IntegerBitLinear   # (C, F)


class IntegerWeights(NamedTuple):
    bits: int                # f: activations are in units of 2^-f
    embedding: ScaledRows    # int16 (V, C), int8 (V,): row i in units of 2^-bits[i], bits[i] <= f
    rotary: np.ndarray       # int16 (2, D/2, context): cos and sin of position t, in units of 2^-14
    blocks: list             # of IntegerBlock
    norm: Norm               # the last one, RMSNorm in every variant
    head: ScaledRows         # W_out, int16 (V, C), int8 (V,); the embedding itself where it is tied
    logit_bits: int          # logits are in units of 2^-logit_bits
    logit_mantissa: int      # M_out 2^E_out: from sums of W_out, and the token's scale, to logits
    logit_exponent: int


# ---- the conversion

def convert(c, matrices, arrays):
    """Matrices and arrays of ``formats/packed.py`` -> IntegerWeights; UserError for what does not fit.

    matrices {name: PackedMatrix} and arrays {name: float array} are handed over: a matrix is taken out of
    them when its turn comes, so that it can be forgotten as soon as its integers are there. What is left are
    the gains.
    """
    check_limits(c)
    check_finite(matrices, arrays)
    f = activation_bits(c, matrices, arrays)
    embedding = scaled_rows(arrays.pop("embed_tokens.weight"), f)
    head = embedding if c.tied else scaled_rows(arrays.pop("lm_head.weight"))
    tables = ops.rotary_tables(c.head_dim, c.context, c.rope_theta)
    rotary = np.rint(np.ldexp(tables, ROTARY_BITS)).astype(np.int16)
    blocks = [integer_block(f"layers.{i}.", c, matrices, arrays, f) for i in range(c.n_layers)]
    norm, gain_unit = integer_norm(gain_of("norm", arrays), False, c.d_model, c.norm_eps, unit(f))
    logit_bits = min(MOST_LOGIT_BITS, RANGE_BITS - ceil_log2(largest_logit(head, gain_unit * norm.gain)))
    return IntegerWeights(f, embedding, rotary, blocks, norm, head, logit_bits,
                          *mantissa(gain_unit * math.sqrt(c.d_model) * 2.0**logit_bits))


def integer_block(prefix, c, matrices, arrays, f):
    """-> IntegerBlock, out of ``matrices``."""
    act_unit, v = unit(EXP2_BITS if c.activation == "silu" else f) * unit(f), c.variant
    inputs = {"input_layernorm": (v.norm, c.d_model, unit(f)),            # m, unit(x) of each
              "self_attn.attn_sub_norm": (v.sub_norm, c.d_attention, unit(f) / 2 / QB),
              "post_attention_layernorm": (v.norm, c.d_model, unit(f)),
              "mlp.ffn_sub_norm": (v.sub_norm, c.d_ffn, act_unit * unit(f))}
    norms = {name: integer_norm(gain_of(prefix + name, arrays), kind == LAYER, m, c.norm_eps, unit_of_x)
             for name, (kind, m, unit_of_x) in inputs.items()}
    fields = {name.split(".")[-1]: norm for name, (norm, _) in norms.items()}
    for name, norm in NORM_OF.items():
        packed, n, scale = matrices.pop(f"{prefix}{name}.weight")
        factor = float(scale) / QB * norms[norm][1] * math.sqrt(packed.shape[1])
        factor *= query_factor(c) if name == "self_attn.q_proj" else 1
        field = name.split(".")[1].removesuffix("_proj")
        fields[field] = IntegerBitLinear(repack(packed, n), *mantissa(factor * 2.0**f))
    return IntegerBlock(**fields)


def integer_norm(gain, centred, m, norm_eps, unit_of_x):   # float32 (m,) or None
    """-> Norm of values in this unit, and the unit of its gain."""
    gain_unit = 1.0
    if gain is not None:
        places = VALUE_BITS - math.frexp(np.abs(gain).max())[1]
        gain, gain_unit = np.rint(np.ldexp(gain.astype(np.float64), places)).astype(np.int32), 2.0**-places
    in_units = m * norm_eps / unit_of_x**2 * (m**2 if centred else 1)
    exponent = max(0, (ceil_log2(in_units) - 59) // 2)
    return Norm(gain, centred, round(in_units / 4.0**exponent), exponent), gain_unit


NORM_OF = {"self_attn.q_proj": "input_layernorm", "self_attn.k_proj": "input_layernorm",
           "self_attn.v_proj": "input_layernorm", "self_attn.o_proj": "self_attn.attn_sub_norm",
           "mlp.gate_proj": "post_attention_layernorm", "mlp.up_proj": "post_attention_layernorm",
           "mlp.down_proj": "mlp.ffn_sub_norm"}


def gain_of(norm, arrays):
    """"layers.0.input_layernorm" -> its gain, float32 (m,), or None."""
    gain = arrays.get(f"{norm}.weight")
    return None if gain is None else widen(gain)


def query_factor(c):
    """What queries are multiplied by: log2(e) / sqrt(D), so that softmax is of base 2, and 128/127, which
    makes the 127 of k's scale a shift. Above 1 in heads of two."""
    return 2**KEY_SHIFT / QB / LN2 / math.sqrt(c.head_dim)


def unit(bits):
    """What 1 is worth in a number with so many bits after the point."""
    return 2.0**-bits


def ceil_log2(x):
    """The smallest n with x <= 2^n, of a positive float (0: 0)."""
    fraction, n = math.frexp(x)
    return n - (fraction == 0.5)


# ---- how large a number can get

def activation_bits(c, matrices, arrays):
    """f: as many bits after the point as keep the largest possible activations below 2^28."""
    embedding, largest = arrays["embed_tokens.weight"], 0.0
    residual = max(float(np.abs(widen(embedding[rows])).max()) for rows in row_blocks(embedding))
    for name, (packed, n, scale) in matrices.items():
        w, gain = unpack_ternary(packed, n), input_gain(name, arrays)
        bound = max(largest_output(w[rows], float(scale), gain) for rows in row_blocks(w))
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            residual += bound
        else:                    # a rotation adds up to sqrt 2, of q and k; v, gate and up get it as well
            factor = max(1, query_factor(c)) if name.endswith("q_proj.weight") else 1
            largest = max(largest, math.sqrt(2) * bound * factor)
    largest = max(largest, residual)
    f = min(MOST_BITS, RANGE_BITS - ceil_log2(largest))
    if f < LEAST_BITS:
        raise UserError(f"activations may reach {largest:.3g}: the integer engine holds up to "
                        f"{2.0**(RANGE_BITS - LEAST_BITS):,.0f}; are gains or scales off?")
    return f


def input_gain(name, arrays):
    """"layers.0.mlp.down_proj.weight" -> the gain of the norm in front of it, or None."""
    _, i, matrix = name.removesuffix(".weight").split(".", 2)
    return gain_of(f"layers.{i}.{NORM_OF[matrix]}", arrays)


def largest_logit(head, gain):
    """No logit is larger. The head's rows are its weights, and its input has 14 bits: the largest of a
    narrowed token is at least 2^13."""
    rows = ((head.codes[rows], head.bits[rows, None]) for rows in row_blocks(head.codes))
    return max(largest_output(np.ldexp(codes.astype(np.float64), -bits), 1.0, gain, 2**(NARROW_BITS - 1))
               for codes, bits in rows)


def largest_output(w, scale, gain, steps=QB):
    """No |y_i| of y = s_w W~ (n gain) is larger.

    A normed token has |n| <= sqrt(m), so |W~ (n gain)|_i <= |w_i gain| sqrt(m) by Cauchy and Schwarz. n gain
    is rounded to a step of at most max|n gain| / steps, which adds half a step times each |weight|. (0.001 is
    for the other roundings, of parts in 2^16 and smaller.)
    """
    gain = np.ones(w.shape[1]) if gain is None else np.abs(gain.astype(np.float64))
    w = np.abs(w).astype(np.float64)
    rows = np.sqrt(total(np.square(w * gain), 1)[:, 0]) + total(w, 1)[:, 0] * gain.max() / (2 * steps)
    return 1.001 * scale * math.sqrt(w.shape[1]) * float(rows.max())


# ---- what is refused

def check_limits(c):
    """UserError for sizes that the proof does not cover."""
    if not c.variant.has_codes:
        raise UserError("linear = 'float': expected a model with ternary or binary weights; "
                        "a full-precision one has no integer form here")
    if set(c.variant.reads) != {EIGHT_BITS}:
        raise UserError(f"linear = {c.linear!r}: expected activations of 8 bits, by each token's maximum; "
                        "others run in the packed engine")
    if c.variant.sub_norm is None:
        raise UserError(f"linear = {c.linear!r}: expected norms before o and down, which keep the integer "
                        "engine's numbers in range; without them a model runs in the packed engine")
    for name, limit in LIMITS.items():
        if getattr(c, name) > limit:
            raise UserError(f"{name} = {getattr(c, name):,}: "
                            f"the integer engine's sums are proven to fit up to {limit:,}")


def check_finite(matrices, arrays):
    """UserError for an infinite or undefined number, which no bound bounds."""
    for name, values in (arrays | {name: matrix.scale for name, matrix in matrices.items()}).items():
        if not all_finite(values):
            raise UserError(f"{name} holds values that are not finite: expected numbers; "
                            "did the training diverge?")
