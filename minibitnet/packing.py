"""Ternary codes <-> bytes: two dense layouts, each written down here to the bit. This docstring is the format.

Codes are -1, 0, +1 in a matrix (n, m), outputs by inputs; binary codes (-1, +1) are a subset and pack the same way.
Scales are not part of a packed matrix: value = code * scale, and the scale is stored beside it.

**2 bits a weight** (``pack_ternary``), the layout of Hugging Face's BitNet files. A code is stored as code + 1:

    bits   00   01   10   11
    code   -1    0   +1   never: rejected

Four weights share a byte, and they are not neighbours: with R = ceil(n / 4), packed is uint8 (R, m), and

    bit      7   6   5   4   3   2   1   0
    row     r+3R    r+2R     r+R       r            of the same column, in byte [r, column]

so each pair of bits, taken over all bytes, is one contiguous block of R rows. Rows from n to 4R - 1, where 4 does not
divide n, are padding: bits 00, others are rejected. Golden bytes, n = 8, m = 2, R = 2:

    [[161, 24],    161 = 10 10 00 01   24 = 00 01 10 00    bits of rows 6 4 2 0, columns 0 and 1
     [144, 10]]    144 = 10 01 00 00   10 = 00 00 10 10    bits of rows 7 5 3 1
    <->  rows 0..7:  0 -1 | -1 +1 | -1 +1 | -1 +1 | +1 0 | 0 -1 | +1 -1 | +1 -1

**1.6 bits a weight** (``pack_base3``), denser: 3^5 = 243 <= 256, so five neighbours of a row are one byte in base 3, the
first weight in the lowest digit, packed uint8 (n, ceil(m / 5)):

    byte = d0 + 3 d1 + 9 d2 + 27 d3 + 81 d4,   d = code + 1

Where 5 does not divide m the missing digits of a row's last byte are 0, cut off on reading. Bytes 243..255 stand for
nothing: rejected. Golden bytes, n = 2, m = 6:

    -1 -1 -1 -1 -1 | -1   <->    0 | 0
    +1  0 -1  0 +1 | +1   <->  194 | 2      194 = 2 + 3*1 + 9*0 + 27*1 + 81*2
"""
from typing import NamedTuple

import numpy as np

POWERS = 3 ** np.arange(5, dtype=np.uint8)                               # 1 3 9 27 81


# ---- 2 bits a weight

def pack_ternary(codes):                         # (n, m) of -1, 0, +1 -> uint8 (ceil(n/4), m)
    """Codes -> bytes of four weights each, in the layout of Hugging Face."""
    n, m = _check_codes(codes)
    R = -(-n // 4)
    stored = np.zeros((4 * R, m), np.uint8)
    stored[:n] = codes + 1
    return stored[:R] | stored[R:2 * R] << 2 | stored[2 * R:3 * R] << 4 | stored[3 * R:] << 6


def unpack_ternary(packed, n):                   # uint8 (ceil(n/4), m), n -> int8 (n, m)
    """The inverse of ``pack_ternary``; ValueError for what ``check_packed`` refuses."""
    return np.concatenate(list(unpack_blocks(packed, n)))


def unpack_blocks(packed, n):                    # -> four int8 (R, m), or of fewer rows where the padding is
    """The same, a block of R rows at a time."""
    check_packed(packed, n)
    for i in range(4):
        yield (packed[:max(0, n - i * len(packed))] >> 2 * i & 3).view(np.int8) - np.int8(1)


def check_packed(packed, n, binary=False):
    """ValueError for bits 11, of a binary matrix for 01 too, and for padding that is not 00, naming the place; and for a size that is not n's."""
    _check_packed(packed, 0, n, weights=4)
    R = len(packed)
    for row in range(n, 4 * R):
        padding = packed[row % R] >> 2 * (row // R) & 3
        if padding.any():
            _refuse(packed, row, padding.nonzero()[0][0], "00, as in all padding")
    bad = packed & 0b01010101                    # the low bit of every pair: 01 and 11
    if not binary:
        bad &= packed >> 1                       # 11 alone
    if bad.any():
        r, column = np.argwhere(bad)[0]
        pair = int(bad[r, column]).bit_length() // 2                     # the highest of the byte
        _refuse(packed, r + pair * R, column, "00 or 10 (-1, +1), as in all binary matrices" if binary else "00, 01 or 10 (-1, 0, +1)")


def _refuse(packed, row, column, expected):
    pair, r = divmod(row, len(packed))
    byte = packed[r, column]
    raise ValueError(f"byte [{r}, {column}] = {byte} holds bits {byte >> 2 * pair & 3:02b} for row {row}: expected {expected}; "
                     "the matrix is damaged or packed in another layout")


# ---- 1.6 bits a weight

def pack_base3(codes):                           # (n, m) of -1, 0, +1 -> uint8 (n, ceil(m/5))
    """Codes -> bytes of five weights each."""
    n, m = _check_codes(codes)
    B = -(-m // 5)
    digits = np.zeros((n, 5 * B), np.uint8)
    digits[:, :m] = codes + 1
    return digits.reshape(n, B, 5) @ POWERS


def unpack_base3(packed, m):                     # uint8 (n, ceil(m/5)), m -> int8 (n, m)
    """The inverse of ``pack_base3``; ValueError for bytes above 242 and for a size that is not m's."""
    _check_packed(packed, 1, m, weights=5)
    if (packed > 242).any():
        row, byte = np.argwhere(packed > 242)[0]
        raise ValueError(f"byte [{row}, {byte}] = {packed[row, byte]}: expected at most 242, five digits of base 3; the matrix is damaged or "
                         "packed in another layout")
    n, B = packed.shape
    digits = (packed[..., None] // POWERS % 3).reshape(n, 5 * B)
    return digits[:, :m].view(np.int8) - np.int8(1)


# ---- what is refused

def _check_codes(codes):
    if codes.ndim != 2:
        raise ValueError(f"codes of shape {codes.shape}: expected a matrix, outputs by inputs")
    bad = (codes != -1) & (codes != 0) & (codes != 1)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"code [{row}, {column}] = {codes[row, column]:g}: expected -1, 0 or 1 (quantize the weights first)")
    return codes.shape


def _check_packed(packed, axis, size, weights):
    expected = -(-size // weights)
    if packed.ndim != 2 or packed.dtype != np.uint8 or packed.shape[axis] != expected:
        raise ValueError(f"packed weights are {packed.dtype} {packed.shape}: expected uint8 with {expected} {('rows', 'columns')[axis]}, {weights} "
                         f"weights a byte for the {size} {('rows', 'columns')[axis]} of the matrix")


# ---- 16-bit floats

# NumPy has no bfloat16, the upper half of a float32. An array of it has this dtype, which computes with nothing by accident.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])
BLOCK = 2**16        # numbers that all_finite looks at at a time, 192 KB


def rounded(x, dtype):                           # float32 -> the same values in dtype, rounded to the nearest, halves to even
    """float32, or what is in dtype already, to float32, float16 or BFLOAT16; ValueError for a value that dtype cannot hold."""
    if x.dtype == dtype:
        y = x
    elif dtype == BFLOAT16:
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
        y = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(BFLOAT16)
    else:
        with np.errstate(over="ignore"):
            y = x.astype(dtype)
    if not all_finite(y):
        raise ValueError(f"{np.abs(widen(x)).max():g} is too large for {'bfloat16' if dtype == BFLOAT16 else dtype}: expected smaller values; "
                         f"float32 holds it")
    return y


def widen(x):                                    # -> float32
    """float32, float16 or BFLOAT16 to float32, exactly."""
    if x.dtype == BFLOAT16:
        bits = x.view(np.uint16).astype(np.uint32)
        bits <<= 16                              # in place: two temporaries of a large block take a third longer
        return bits.view(np.float32)
    return x.astype(np.float32, copy=False)


def all_finite(x):
    """np.isfinite(x).all() for these dtypes: of a finite bfloat16 the eight exponent bits are not all set. Block by block, or looking at a
    large embedding would take half its bytes again and more."""
    numbers = x.reshape(-1)
    for i in range(0, numbers.size, BLOCK):
        block = numbers[i:i + BLOCK]
        finite = (block.view(np.uint16) & 0x7F80) != 0x7F80 if x.dtype == BFLOAT16 else np.isfinite(block)
        if not finite.all():
            return False
    return True


# ---- rows of 16-bit whole numbers

ROWS = 2**18         # weights that are widened at a time, to 2 MB of float64


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
    """(V, C) of any float -> ScaledRows: each row with as many bits as int16 holds, up to ``most``. in_place: codes take the memory of a matrix of 16
    bits, which is lost; two of that of a large model do not fit everywhere."""
    codes, bits = matrix.view(np.int16) if in_place else np.empty(matrix.shape, np.int16), np.empty(len(matrix), np.int8)
    for rows in row_blocks(matrix):
        w = widen(matrix[rows])
        bits[rows] = np.minimum(15 - np.frexp(np.abs(w).max(1))[1], most)
        codes[rows] = np.minimum(np.rint(np.ldexp(w.astype(np.float64), bits[rows, None])), 2**15 - 1)
    return ScaledRows(codes, bits)


def row_blocks(matrix, weights=None):
    """The rows of a matrix, as slices of about so many weights each, or of ROWS."""
    rows = max(1, (weights or ROWS) // matrix.shape[1])
    return [slice(i, i + rows) for i in range(0, len(matrix), rows)]
