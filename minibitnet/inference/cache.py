"""Key-value caches of one layer: the keys and values of the tokens seen so far, so that a token is computed once.

A cache has room for ``context`` tokens; ``length`` of them are taken. ``extend`` appends new ones and gives all.
"""
import numpy as np

from ..quant import absmax_int8, dequantize


class KVCache:
    """Rotated keys and values as they are, in float32: 8 bytes for each feature of a key and its value."""

    def __init__(self, c, batch=1):
        self.k, self.v = np.empty((2, c.n_kv_heads * c.head_dim, batch, c.context), np.float32)
        self.length = 0

    def extend(self, k, v):                      # (K D, B, T) of new tokens -> the same of all S tokens
        end = self.length + k.shape[2]
        self.k[..., self.length:end], self.v[..., self.length:end] = k, v
        self.length = end
        return self.k[..., :end], self.v[..., :end]


class Int8KVCache:
    """The same as int8 codes with one float32 scale for each head and token: 2 + 8 / D bytes in place of 8."""

    def __init__(self, c, batch=1):
        self.shape = c.n_kv_heads, c.head_dim, batch, c.context
        self.codes = np.empty((2, *self.shape), np.int8)                                   # keys, values
        self.scales = np.empty((2, c.n_kv_heads, 1, batch, c.context), np.float32)
        self.length = 0

    def extend(self, k, v):
        end = self.length + k.shape[2]
        for i, new in enumerate((k, v)):
            codes, scale = absmax_int8(new.reshape(*self.shape[:3], -1).swapaxes(0, 1))    # (D, K, B, T): per head and token
            self.codes[i, ..., self.length:end] = codes.swapaxes(0, 1)
            self.scales[i, ..., self.length:end] = scale.swapaxes(0, 1)
        self.length = end
        values = dequantize(self.codes[..., :end], self.scales[..., :end])
        return values.reshape(2, -1, *values.shape[3:])
