"""Sixteen bits a number: the two float formats of model files, and rows of whole numbers for exact products.

Matrices that are not packed (embedding, head, gains) may be stored in 16 bits. float16 is NumPy's own. NumPy
has no bfloat16, the upper half of a float32:

    bit        15     14 ... 7     6 ... 0
               sign   exponent     fraction         1.0 is 0x3F80, infinity 0x7F80
"""
from typing import NamedTuple

import numpy as np

BFLOAT16 = np.dtype([("bfloat16", "<u2")])       # a dtype that computes with nothing by accident
BLOCK = 2**16        # numbers that all_finite looks at at a time, 192 KB
ROWS = 2**18         # weights that are widened at a time, to 2 MB of float64


# ---- floats

def rounded(x, dtype):                           # float32 -> dtype
    """float32, float16 or BFLOAT16 to one of them: to the nearest, halves to even. ValueError for a value
    that dtype cannot hold."""
    x = x if x.dtype == dtype else widen(x)
    if x.dtype == dtype:
        y = x
    elif dtype == BFLOAT16:
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
        y = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(BFLOAT16)
    else:
        with np.errstate(over="ignore"):
            y = x.astype(dtype)
    if not all_finite(y):
        name = "bfloat16" if dtype == BFLOAT16 else dtype
        raise ValueError(f"{np.abs(widen(x)).max():g} is too large for {name}: expected smaller values; "
                         f"float32 holds it")
    return y


def widen(x):                                    # -> float32
    """float32, float16 or BFLOAT16 to float32, exactly."""
    if x.dtype == BFLOAT16:
        bits = x.view(np.uint16).astype(np.uint32)
        bits <<= 16                              # in place: two large temporaries take a third longer
        return bits.view(np.float32)
    return x.astype(np.float32, copy=False)


def all_finite(x):
    """np.isfinite(x).all() for these dtypes: of a finite bfloat16 the eight exponent bits are not all set.
    Block by block, or looking at a large embedding would take half its bytes again and more."""
    numbers = x.reshape(-1)
    for i in range(0, numbers.size, BLOCK):
        block = numbers[i:i + BLOCK]
        finite = (block.view(np.uint16) & 0x7F80) != 0x7F80 if x.dtype == BFLOAT16 else np.isfinite(block)
        if not finite.all():
            return False
    return True


# ---- rows of whole numbers

class ScaledRows(NamedTuple):
    """A matrix of 16 bits a number for exact products: row v is codes[v] 2^-bits[v]."""
    codes: np.ndarray        # int16 (V, C)
    bits: np.ndarray         # int8 (V,)

    @property
    def nbytes(self):
        return self.codes.nbytes + self.bits.nbytes

    def row(self, v):                            # (...) int -> float32 (..., C)
        return np.ldexp(self.codes[v].astype(np.float32), -self.bits[v][..., None].astype(np.intc))


def scaled_rows(matrix, most=62, in_place=False):
    """(V, C) of any float -> ScaledRows: each row with as many bits as int16 holds, up to ``most``. in_place:
    codes take the memory of a matrix of 16 bits, which is lost; two of that of a large model do not fit
    everywhere."""
    codes = matrix.view(np.int16) if in_place else np.empty(matrix.shape, np.int16)
    bits = np.empty(len(matrix), np.int8)
    for rows in row_blocks(matrix):
        w = widen(matrix[rows])
        bits[rows] = np.minimum(15 - np.frexp(np.abs(w).max(1))[1], most)
        codes[rows] = np.minimum(np.rint(np.ldexp(w.astype(np.float64), bits[rows, None])), 2**15 - 1)
    return ScaledRows(codes, bits)


def row_blocks(matrix, weights=None):
    """The rows of a matrix, as slices of about so many weights each, or of ROWS."""
    rows = max(1, (weights or ROWS) // matrix.shape[1])
    return [slice(i, i + rows) for i in range(0, len(matrix), rows)]


def column_blocks(matrix):
    """The columns of a matrix, as slices of a quarter of it each, or of ROWS numbers: what is made of one
    block after the other, several arrays at a time, takes little memory beside the matrix."""
    return row_blocks(matrix.T, max(ROWS, -(-matrix.shape[1] // 4) * len(matrix)))
