"""Ternary codes <-> bytes: two dense layouts. This docstring is the format, to the bit.

Codes are -1, 0, +1 in a matrix (n, m), outputs by inputs; binary codes (-1, +1) are a subset and pack the
same way. Scales are not part of a packed matrix: value = code * scale, and the scale is stored beside it.

**2 bits a weight** (``pack_ternary``), the layout of Hugging Face's BitNet files. A code is stored as
code + 1:

    bits   00   01   10   11
    code   -1    0   +1   never: rejected

Four weights share a byte, and they are not neighbours: with R = ceil(n / 4), packed is uint8 (R, m), and

    bit      7   6   5   4   3   2   1   0
    row     r+3R    r+2R     r+R       r            of the same column, in byte [r, column]

so each pair of bits, taken over all bytes, is one contiguous block of R rows. Rows from n to 4R - 1, where 4
does not divide n, are padding: bits 00, others are rejected. Golden bytes, n = 8, m = 2, R = 2:

    [[161, 24],    161 = 10 10 00 01   24 = 00 01 10 00    bits of rows 6 4 2 0, columns 0 and 1
     [144, 10]]    144 = 10 01 00 00   10 = 00 00 10 10    bits of rows 7 5 3 1
    <->  rows 0..7:  0 -1 | -1 +1 | -1 +1 | -1 +1 | +1 0 | 0 -1 | +1 -1 | +1 -1

**1.6 bits a weight** (``pack_base3``), denser: 3^5 = 243 <= 256, so five neighbours of a row are one byte in
base 3, the first weight in the lowest digit, packed uint8 (n, ceil(m / 5)):

    byte = d0 + 3 d1 + 9 d2 + 27 d3 + 81 d4,   d = code + 1

Where 5 does not divide m the missing digits of a row's last byte are 0, cut off on reading. Bytes 243..255
stand for nothing: rejected. Golden bytes, n = 2, m = 6:

    -1 -1 -1 -1 -1 | -1   <->    0 | 0
    +1  0 -1  0 +1 | +1   <->  194 | 2      194 = 2 + 3*1 + 9*0 + 27*1 + 81*2
"""
import numpy as np

POWERS_OF_3 = 3 ** np.arange(5, dtype=np.uint8)                          # 1 3 9 27 81


# ---- 2 bits a weight

def pack_ternary(codes):                         # (n, m) of -1, 0, +1 -> uint8 (ceil(n/4), m)
    """Codes -> bytes of four weights each, in the layout of Hugging Face."""
    n, m = _check_codes(codes)
    R = -(-n // 4)                               # ceil(n / 4): floor division of -n rounds n up
    stored = np.zeros((4 * R, m), np.uint8)
    stored[:n] = codes + 1
    return stored[:R] | stored[R:2 * R] << 2 | stored[2 * R:3 * R] << 4 | stored[3 * R:] << 6


def unpack_ternary(packed, n):                   # uint8 (ceil(n/4), m), n -> int8 (n, m)
    """The inverse of ``pack_ternary``; ValueError for what ``check_packed`` refuses."""
    return np.concatenate(list(unpack_blocks(packed, n)))


def unpack_blocks(packed, n):                    # -> four int8 (R, m), or of fewer rows where the padding is
    """The same, a block of R rows at a time. (``check_packed`` runs when the first block is asked for.)"""
    check_packed(packed, n)
    for i in range(4):
        yield (packed[:max(0, n - i * len(packed))] >> 2 * i & 3).view(np.int8) - np.int8(1)


def check_packed(packed, n, binary=False):
    """ValueError for bits 11, of a binary matrix for 01 too, and for padding that is not 00, naming the
    place; and for a size that is not n's."""
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
        allowed = "00 or 10 (-1, +1), as in all binary matrices" if binary else "00, 01 or 10 (-1, 0, +1)"
        _refuse(packed, r + pair * R, column, allowed)


def _refuse(packed, row, column, expected):
    pair, r = divmod(row, len(packed))
    byte = packed[r, column]
    raise ValueError(f"byte [{r}, {column}] = {byte} holds bits {byte >> 2 * pair & 3:02b} for row {row}: "
                     f"expected {expected}; the matrix is damaged or packed in another layout")


# ---- 1.6 bits a weight

def pack_base3(codes):                           # (n, m) of -1, 0, +1 -> uint8 (n, ceil(m/5))
    """Codes -> bytes of five weights each."""
    n, m = _check_codes(codes)
    B = -(-m // 5)
    digits = np.zeros((n, 5 * B), np.uint8)
    digits[:, :m] = codes + 1
    return digits.reshape(n, B, 5) @ POWERS_OF_3                         # at most 242: uint8 holds it


def unpack_base3(packed, m):                     # uint8 (n, ceil(m/5)), m -> int8 (n, m)
    """The inverse of ``pack_base3``; ValueError for bytes above 242 and for a size that is not m's."""
    _check_packed(packed, 1, m, weights=5)
    if (packed > 242).any():
        row, byte = np.argwhere(packed > 242)[0]
        raise ValueError(f"byte [{row}, {byte}] = {packed[row, byte]}: expected at most 242, five digits of "
                         "base 3; the matrix is damaged or packed in another layout")
    n, B = packed.shape
    digits = (packed[..., None] // POWERS_OF_3 % 3).reshape(n, 5 * B)
    return digits[:, :m].view(np.int8) - np.int8(1)


# ---- what is refused

def _check_codes(codes):
    if codes.ndim != 2:
        raise ValueError(f"codes of shape {codes.shape}: expected a matrix, outputs by inputs")
    bad = (codes != -1) & (codes != 0) & (codes != 1)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"code [{row}, {column}] = {codes[row, column]:g}: expected -1, 0 or 1 "
                         "(quantize the weights first)")
    return codes.shape


def _check_packed(packed, axis, size, weights):
    expected = -(-size // weights)
    if packed.ndim != 2 or packed.dtype != np.uint8 or packed.shape[axis] != expected:
        lines = ("rows", "columns")[axis]
        raise ValueError(f"packed weights are {packed.dtype} {packed.shape}: expected uint8 with "
                         f"{expected} {lines}, {weights} weights a byte for the {size} {lines} of the matrix")
