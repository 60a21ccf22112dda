"""Key-value caches of one layer: keys and values of the tokens seen so far, so that a token is computed once.

A cache takes up to ``context`` tokens; ``length`` of them are there. ``extend`` appends new ones and gives
all, as attention takes them: each key and each value on a grid of its own (``exact.fine``,
``exact_attention.shared_out``), where it was put once, when it came. What is summed up of them is exact, so
how they came, one by one or all at once, changes no bit. Keys are kept after the rotation, as in [a48] §3.1,
so that they are never touched again. A number that float16 does not hold (65,520 and above) is a UserError,
as a value of 16 bits and as the scale of codes alike.

The arrays have room for ROOM tokens at first, then for twice as many: the system makes memory resident by
large pages, and of a long context's whole arrays all would be there from the first token on. ``nbytes`` is
what a full cache takes.

[a48] BitNet a4.8, arXiv 2411.04965: key-value caches of 4 and of 3 bits.
"""
from functools import partial

import numpy as np

from ..errors import UserError
from ..exact import FINE, Grid, fine
from ..exact_attention import shared_out
from ..nn.ops import split_heads
from ..quant import absmax_int8, dequantize


def as_float16(x):                               # float32 or float64 -> float16
    """The same numbers rounded; UserError for one that float16 does not hold."""
    with np.errstate(over="ignore"):             # the line after says it
        y = x.astype(np.float16)
    if (np.isinf(y) & np.isfinite(x)).any():
        raise UserError("a key-value cache keeps float16, which ends at 65,504, "
                        f"and would have to hold {np.abs(x).max():g}: "
                        "expected smaller keys and values; a cache of 32 bits holds them")
    return y


ROOM = 256           # tokens


def roomy(a, taken, end, most):                  # (..., room) -> the same, or a copy with room for end tokens
    """Twice as many at least, but no more than ``most``; the first ``taken`` are kept."""
    if end <= a.shape[-1]:
        return a
    larger = np.empty((*a.shape[:-1], min(most, max(end, 2 * a.shape[-1]))), a.dtype)
    larger[..., :taken] = a[..., :taken]
    return larger


class KVCache:
    """Rotated keys and values in float32, which holds what these grids leave of them, or rounded once more,
    to float16: 8 or 4 bytes for each feature of a key and its value."""

    def __init__(self, c, batch=1, dtype=np.float32):
        self.k, self.v = np.empty((2, batch, c.n_kv_heads, 1, c.head_dim, min(ROOM, c.context)), dtype)
        self.length, self.context = 0, c.context

    @property
    def nbytes(self):
        return (self.k.nbytes + self.v.nbytes) // self.k.shape[-1] * self.context

    def extend(self, k, v):                      # (K D, B, T) -> Grid, Values (B, K, 1, D, L) of all L tokens
        end = self.length + k.shape[2]
        self.k, self.v = (roomy(a, self.length, end, self.context) for a in (self.k, self.v))
        new, self.length = slice(self.length, end), end
        k, v = (split_heads(x, self.k.shape[-2]) for x in (k, v))
        v = shared_out(v)
        for kept, x in ((self.k, fine(k, -2).values), (self.v, v.shares * v.key_power)):
            kept[..., new] = as_float16(x) if kept.dtype == np.float16 else x
        k, v = (kept[..., :self.length] for kept in (self.k, self.v))
        v = shared_out(v.astype(np.float32, copy=False), rounded=True)
        return Grid(k.astype(np.float64), FINE), v


class QuantizedKVCache:
    """The same as codes of 8 or 4 bits with one float16 scale for each head and token: 2 + 4 / D or 1 + 4 / D
    bytes in place of 8.

    Codes of 4 bits lie in [-7, 7], two in a byte: feature i of a head in the low half, feature i + D/2 in the
    high one. A code times its scale has 18 bits, fewer than a grid's 23 or 26, so these numbers lie on one
    from the beginning. Departure: [a48] writes "unsigned integers" and gives no formula; these are signed,
    the absmax of the rest of the model.
    """

    def __init__(self, c, batch=1, bits=8):
        self.shape, self.bits = (c.n_kv_heads, c.head_dim, batch, c.context), bits
        room = min(ROOM, c.context)                                                        # keys, values:
        self.codes = np.empty((2, c.n_kv_heads, c.head_dim * bits // 8, batch, room), np.int8)
        self.scales = np.empty((2, c.n_kv_heads, 1, batch, room), np.float16)
        self.length = 0

    @property
    def nbytes(self):
        return (self.codes.nbytes + self.scales.nbytes) // self.codes.shape[-1] * self.shape[-1]

    def extend(self, k, v):
        end = self.length + k.shape[2]
        self.codes, self.scales = (roomy(a, self.length, end, self.shape[-1])
                                   for a in (self.codes, self.scales))
        for i, new in enumerate((k, v)):
            heads = new.reshape(*self.shape[:3], -1).swapaxes(0, 1)                        # (D, K, B, T)
            codes, scale = absmax_int8(heads, Q_b=2 ** (self.bits - 1) - 1)            # per head and token
            codes = codes.astype(np.int8)
            kept = codes if self.bits == 8 else two_in_a_byte(codes)
            self.codes[i, ..., self.length:end] = kept.swapaxes(0, 1)
            self.scales[i, ..., self.length:end] = as_float16(scale).swapaxes(0, 1)
        self.length = end
        codes, scales = self.codes[..., :end], self.scales[..., :end].astype(np.float32)
        values = dequantize(codes if self.bits == 8 else from_bytes(codes, axis=2), scales)
        k, v = values.transpose(0, 3, 1, 2, 4)[:, :, :, None]
        return Grid(k.astype(np.float64), FINE), shared_out(v, rounded=True)


def two_in_a_byte(codes):                        # int8 (D, ...) in [-8, 7] -> int8 (D/2, ...)
    """Row i in the low half of byte i, row i + D/2 in the high half, both in two's complement."""
    low, high = np.split(codes, 2)
    return low & 15 | high << 4


def from_bytes(packed, axis=0):                  # the inverse, of bytes along an axis
    """A shift to the right of an int8 repeats its sign: the high half is right as it is, the low half after a
    shift to the left."""
    return np.concatenate([packed << 4 >> 4, packed >> 4], axis)


def caches(c, batch=1, bits=32):
    """Of every layer of a model, empty. c: its configuration; bits: a key of KINDS."""
    return [KINDS[bits](c, batch) for _ in range(c.n_layers)]


KINDS = {  # bits: kind
    32: KVCache, 16: partial(KVCache, dtype=np.float16),
    8: QuantizedKVCache, 4: partial(QuantizedKVCache, bits=4),
}
