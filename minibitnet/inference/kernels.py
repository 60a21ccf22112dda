"""Products of 8-bit activations and ternary weights kept in 2 bits:  y = W~ x~  in whole numbers, exactly.

Shapes and letters as in ``quant.py``: W~ (n, m) of -1, 0, +1 (binary is the subset without 0); codes x~ (m,)
or (m, ...), whole numbers in [-127, 127], one token per column, as int8 or as float32; y (n, ...) int32. The
one rescale by s_w s_x that makes activations of y is not done here.

``reference`` is the truth: the definition as three nested loops, and its one line of NumPy. Every other
kernel must return its very integers, and says why no number on the way can overflow.

    kernel           resident form of W~          what it does
    by_blas          bit planes (``BitPlanes``)   unpacks some rows at a time to float32, multiplies with BLAS
    by_blas_in_pairs the same                     the same for codes of 4 bits, two tokens to a number
    by_bit_planes    the same                     and, xor, popcount; a multiplication for each bit of a code
                                                  (shared_bit_planes: on several threads)
    by_lookup        ``TableIndices``             looks up sums of eight weights at a time: additions alone
    matmul           bit planes                   the fastest one of the first three

Both forms take 2 bits a weight, features padded to a multiple of 64 (bit planes; and 4 bytes a row) or 72
(indices in base 3, not the bytes of ``pack_base3``). That is all that is read from memory for a token; no
kernel keeps a second copy.
"""
import functools
import math
from typing import NamedTuple

import numpy as np

from ..exact import to_units
from ..packing import unpack_blocks
from ..quant import QB
from ..threads import Caller, share_out

TILE = 2**19         # weights that by_blas unpacks at a time: 2 MB of float32
WORK_SHARES = 8      # a pool's threads take every eighth tile at a time: to hand out single ones takes longer
BLOCK = 2**16        # words that by_bit_planes handles at a time, 512 KB, for the second-level cache; but
                     # 3 words of a whole row at least, or adding up the counts takes longer than counting
SHARE = 2**16        # words that a thread of several counts at least: fewer are done before another one wakes
BUFFER = 512         # numbers: NumPy copies a broadcast operand to buffers, whose 8,192 by default are slower


def reference(codes, w):                         # (m, N), (n, m) -> int32 (n, N)
    """The definition:  y[i, t] = sum_j w[i, j] codes[j, t]"""
    y = np.zeros((len(w), codes.shape[1]), np.int32)
    for i in range(len(w)):
        for t in range(codes.shape[1]):
            y[i, t] = sum(int(w[i, j]) * int(codes[j, t]) for j in range(len(codes)))
    return y


def reference_numpy(codes, w):                   # (m, N), (n, m) -> int32 (n, N)
    """The same in one line; |y| <= 127 m < 2^31."""
    return w.astype(np.int32) @ codes.astype(np.int32)


# ---- the resident form

class BitPlanes(NamedTuple):
    """A ternary matrix as two bits a weight, in two planes of 64-bit words.

    Word j of row i holds features 64 j .. 64 j + 63. Features from m on are zeros. Rows are the last axis, so
    that one word of *all* rows is contiguous.
    """
    nonzero: np.ndarray      # uint64 (words, n): the weight is not 0
    negative: np.ndarray     # uint64 (words, n): the weight is -1
    negatives: np.ndarray    # int32 (n,): how many weights of the row are -1
    m: int

    @property
    def shape(self):
        return len(self.negatives), self.m

    @property
    def nbytes(self):
        return self.nonzero.nbytes + self.negative.nbytes + self.negatives.nbytes


def bit_planes(w):                               # (n, m) of -1, 0, +1 -> BitPlanes
    """The resident form of a ternary matrix."""
    nonzero, negative = (_words(plane).T.copy() for plane in (w != 0, w < 0))
    return BitPlanes(nonzero, negative, (w < 0).sum(1, dtype=np.int32), w.shape[1])


def repack(packed, n):                           # uint8 (ceil(n/4), m) of a packed file -> BitPlanes
    """A matrix of a packed file in its resident form; never more than a quarter of it is unpacked."""
    return stack([bit_planes(block) for block in unpack_blocks(packed, n)])


def stack(matrices):                             # BitPlanes (n_1, m), (n_2, m), ... -> BitPlanes (n, m)
    """One matrix of the rows of several. For those that see the same input (q k v; gate up): one product
    instead of several small ones."""
    planes = [np.concatenate(parts, axis=-1) for parts in zip(*(w[:3] for w in matrices))]
    return BitPlanes(*planes, matrices[0].m)


def unpack(w, rows=slice(None)):                 # BitPlanes (n, m) -> int8 (n, m), or only some rows
    """The weights as numbers."""
    nonzero, negative = w.nonzero[:, rows], w.negative[:, rows]
    positive, negative = (np.unpackbits(plane.T.copy().view(np.uint8).ravel(), bitorder="little")
                          for plane in (nonzero ^ negative, negative))
    positive -= negative                                                 # 0 - 1 = 255, which as int8 is -1
    return positive.view(np.int8).reshape(nonzero.shape[1], 64 * len(nonzero))[:, :w.m]


def _words(bits):                                # bool or uint8 (..., m) -> uint64 (..., ceil(m/64))
    m = bits.shape[-1]
    packed = np.zeros((*bits.shape[:-1], -(-m // 64) * 8), np.uint8)     # -(-a // b): a / b rounded up
    packed[..., :-(-m // 8)] = np.packbits(bits, axis=-1, bitorder="little")
    return packed.view(np.uint64)


# ---- unpack some rows, multiply with BLAS

def exact_in_float32(m):
    """Whether sums of m products of a code and a weight stay where float32 holds every whole number."""
    return QB * m < 2**24


def by_blas(codes, w, pool=None):                # (m, N), BitPlanes (n, m) -> int32 (n, N)
    """Unpack a tile of rows to float32 and let BLAS multiply. A pool's threads share the tiles (do not call
    it on a thread of that very pool: it would wait for itself).

    No overflow: float32 holds every whole number up to 2^24, and every partial sum, in whatever order BLAS
    adds, is at most 127 m < 2^24 for m <= 132,104.
    """
    n, m = w.shape
    assert exact_in_float32(m), f"{m} features overflow the exact range of float32"
    x, y = codes.astype(np.float32), np.empty((n, codes.shape[1]), np.int32)
    rows = max(1, TILE // max(1, m))

    def share(k):
        for i in range(k * rows, n, WORK_SHARES * rows):
            y[i:i + rows] = unpack(w, slice(i, i + rows)).astype(np.float32) @ x
    list((pool.map if pool and n > rows else map)(share, range(WORK_SHARES)))
    return y


# ---- two tokens in one number

FIELD = np.float32(2**12)                # codes of 4 bits: x0 + FIELD x1
SPAN = 32                                # features that are not parted: they add up to 256 at most


def by_blas_in_pairs(codes, w, pool=None):       # (m, N) of 4 bits, BitPlanes (n, m) -> int32 (n, N)
    """``by_blas`` for half as many columns: each holds a code of one token and, 2^12 times as large, one of
    another. A product with weights of -1, 0 and 1 is then two sums in one number:

        sum_j w_j (x0_j + 2^12 x1_j)  =  s0 + 2^12 s1,    2^12 s1: that, rounded to 2^12, where |s0| < 2^11

    No overflow: features are taken in parts (``parts_of``) over which no token's codes add up to more than
    2^11 - 1 in magnitude. So |s0| and |s1| are at most 2,047, and every partial sum at most 2,047 (1 + 2^12)
    < 2^23, which float32 holds, as it holds the sums of 8,000 parts. Parts have 224 features at least, of the
    output of a norm 700 or so, for most of its codes are small.
    """
    n, m = w.shape
    N, half = codes.shape[1], -(-codes.shape[1] // 2)
    x, y = codes[:, :half].astype(np.float32), np.empty((n, N), np.int32)
    x[:, :N - half] += FIELD * codes[:, half:].astype(np.float32)
    rows, parts = max(1, TILE // max(1, m)), parts_of(codes)

    def share(k):
        buffers = np.empty((4, min(rows, n), half), np.float32)          # of every tile: a new array is slow
        for i in range(k * rows, n, WORK_SHARES * rows):
            tile = unpack(w, slice(i, i + rows)).astype(np.float32)
            both, upper, s0, s1 = buffers[:, :len(tile)]
            s0[:] = s1[:] = 0
            for part in parts:
                np.matmul(tile[:, part], x[part], out=both)
                s1 += to_units(both, FIELD, out=upper)
                both -= upper
                s0 += both
            s1 *= 1 / FIELD
            y[i:i + rows, :half], y[i:i + rows, half:] = s0, s1[:, :N - half]
    list((pool.map if pool and n > rows else map)(share, range(WORK_SHARES)))
    return y


def parts_of(codes):                             # (m, N) of 4 bits -> slices of the features
    """The features in as few parts as they may be taken, whole SPANs from the first on, for every token's
    magnitudes to add up to FIELD / 2 - 1 at most in each."""
    magnitudes = np.abs(codes)
    assert np.maximum.reduce(magnitudes, None, initial=0) <= 8, "codes of more than 4 bits"
    sums = [magnitudes[i:i + SPAN].sum(0, dtype=np.int32) for i in range(0, len(codes), SPAN)]
    parts, start, so_far = [], 0, 0
    for k, of_span in enumerate(sums):
        so_far = so_far + of_span
        if so_far.max(initial=0) >= FIELD / 2:
            parts.append(slice(start, start := k * SPAN))
            so_far = of_span
    return [*parts, slice(start, len(codes))] if len(codes) else []


# ---- bit planes

def with_small_buffers(kernel):
    """The kernel, run while NumPy's buffers have BUFFER numbers."""
    @functools.wraps(kernel)
    def run(*arguments):
        with np.errstate():                      # on leaving, gives back the buffer size as well
            np.setbufsize(BUFFER)
            return kernel(*arguments)
    return run


@with_small_buffers
def by_bit_planes(codes, w, bits=8):             # (m, N), BitPlanes (n, m) -> int32 (n, N)
    """Count bits, of codes that take so many of them in two's complement. With c_b its places and x_b the
    bits,  x = sum_b c_b x_b,  so

        y = sum_b c_b (|P & X_b| - |N & X_b|)      P, N: where weights are +1, -1;  X_b: where bit b is set
          = sum_b c_b |nonzero & (N ^ X_b)| + |N|

    for nonzero & (N ^ X_b) is (P & X_b) or (N & ~X_b), of |P & X_b| + |N| - |N & X_b| bits, and the c_b sum
    to -1. This takes one xor, one and, one popcount for 64 weights and a bit of the activations. With
    activations of four bits, of places 1 2 4 -8, and four features:

        weights   +1 -1  0 +1          nonzero = 1 1 0 1,  N = 0 1 0 0,  |N| = 1
        x          3 -2  5 -7          0011 1110 0101 1001 in two's complement

        b          X_b       N ^ X_b   & nonzero   count   times c_b
        0 (1)      1 0 1 1   1 1 1 1   1 1 0 1     3        3
        1 (2)      1 1 0 0   1 0 0 0   1 0 0 0     1        2
        2 (4)      0 1 1 0   0 0 1 0   0 0 0 0     0        0
        3 (-8)     0 1 0 1   0 0 0 1   0 0 0 1     1       -8      3 + 2 + 0 - 8 + |N| = -2 = 3 + 2 - 7

    No overflow: a word has at most 64 bits, so 3 words have at most 192 < 2^8, a row of 1,023 words at most
    65,472 < 2^16, and in int32 |sums| <= 256 m < 2^31 for m < 8 million.
    """
    n, words, place = len(w.negatives), len(w.nonzero), 1 << np.arange(bits)
    bytes_of = codes.T.astype(np.int8).view(np.uint8)                    # (N, m)
    X = _words(bytes_of[:, None] & place.astype(np.uint8)[:, None])[..., None]       # (N, bits, words, 1)
    c = np.where(place == place[-1], -place, place).astype(np.int32)
    tokens = max(1, min(len(X), BLOCK // (bits * max(1, n))))
    step = max(3, BLOCK // (bits * max(1, n) * tokens))
    row_type = np.uint16 if words <= 1023 else np.int32                  # the smaller, the faster
    part_type = np.uint8 if step == 3 else row_type
    y = np.empty((len(X), n), np.int32)
    for t in range(0, len(X), tokens):
        counts = np.zeros((1, bits, n), row_type)
        for j in range(0, words, step):
            found = w.negative[j:j + step] ^ X[t:t + tokens, :, j:j + step]          # (tokens, bits, step, n)
            found &= w.nonzero[j:j + step]
            part_counts = np.add.reduce(np.bitwise_count(found), axis=2, dtype=part_type)
            counts = counts + part_counts        # not +=: one token's zeros become all tokens' counts
        y[t:t + tokens] = np.einsum("b,tbi->ti", c, counts)
    y += w.negatives
    return y.T.copy()


def shared_bit_planes(codes, w, bits=8, pool=None):        # (m, N), BitPlanes (n, m) -> int32 (n, N)
    """``by_bit_planes``, the rows of a large matrix shared out to the caller and a pool's threads."""
    pool, n = pool or Caller(), len(w.negatives)
    shares = max(1, min(pool.size, w.nonzero.size // SHARE))
    if shares == 1:
        return by_bit_planes(codes, w, bits)
    y = np.empty((n, codes.shape[1]), np.int32)

    def share(k):
        rows = slice(k * n // shares, (k + 1) * n // shares)
        y[rows] = by_bit_planes(codes, BitPlanes(*(plane[..., rows] for plane in w[:3]), w.m), bits)
    share_out(share, shares, pool)
    return y


# ---- lookup tables

GROUP = 8            # weights at a time, of 3^8 = 6,561 patterns
SIDE_BY_SIDE = 9     # tables of so many numbers in one flat table: 9 * 6,561 <= 2^16
PATTERNS = 3**GROUP


class TableIndices(NamedTuple):
    """A ternary matrix as indices into tables of sums, 16 bits for eight weights:

        index[k, g, i] = 6,561 g + sum_f (w_f + 1) 3^(7 - f),  f < 8        of block k, group g, row i

    so the first weight is the highest digit. Features from m on have weight 0."""
    index: np.ndarray        # uint16 (K, 9, n)
    m: int

    @property
    def nbytes(self):
        return self.index.nbytes


def table_indices(w):                            # (n, m) of -1, 0, +1 -> TableIndices
    """The form that ``by_lookup`` reads."""
    n, m = w.shape
    K = -(-m // (GROUP * SIDE_BY_SIDE))
    digits = np.ones((n, K * SIDE_BY_SIDE * GROUP), np.uint16)
    digits[:, :m] = w.astype(np.int8) + np.int8(1)
    index = digits.reshape(n, K, SIDE_BY_SIDE, GROUP) @ 3 ** np.arange(GROUP, dtype=np.uint16)[::-1]
    index += PATTERNS * np.arange(SIDE_BY_SIDE, dtype=np.uint16)
    return TableIndices(index.transpose(1, 2, 0).copy(), m)


@with_small_buffers
def by_lookup(codes, w):                         # (m, N), TableIndices (n, m) -> int32 (n, N)
    """Look up, for eight features at a time, the sum that a row's eight weights make: one of 6,561, computed
    once for all rows.

    A table of eight features is an outer sum of four tables of two. Nine tables lie side by side, so one
    ``take`` serves 72 features of every row.

    No overflow: a sum in a table is at most 8 * 127 = 1,016, the nine of a block are at most 9,144 < 2^15
    (int16), and |y| <= 127 m < 2^31.
    """
    K, _, n = w.index.shape
    x = np.zeros((codes.shape[1], K * SIDE_BY_SIDE * GROUP), np.int16)
    x[:, :w.m] = codes.T
    ones = np.stack([-x, np.zeros_like(x), x], -1)                       # the sums of one feature
    ones = ones.reshape(len(x), K, SIDE_BY_SIDE, GROUP, 3)
    twos = _outer_sum(ones[..., 0::2, :], ones[..., 1::2, :])            # (N, K, 9, 4, 9)
    y = np.zeros((len(x), n), np.int32)
    for t in range(len(x)):
        first, second, third, fourth = np.moveaxis(twos[t], 2, 0)        # (K, 9, 9)
        sixes = _outer_sum(second, _outer_sum(third, fourth))            # (K, 9, 729)
        for k in range(K):
            table = _outer_sum(first[k], sixes[k]).ravel()
            y[t] += np.add.reduce(table.take(w.index[k]), axis=0, dtype=np.int16)
    return y.T.copy()


def _outer_sum(a, b):                            # (..., A), (..., B) -> (..., A B)
    return (a[..., :, None] + b[..., None, :]).reshape(*a.shape[:-1], a.shape[-1] * b.shape[-1])


# ---- the choice

FEW = {8: 3, 4: 8}       # tokens, by the bits of their codes, up to which bits are counted faster
PAIRED = 32              # tokens from which on pairs are faster than BLAS alone


def matmul(codes, w, bits=8, integer=False, pool=None):
    """W~ x~ by the fastest kernel:  codes (m,) or (m, ...), BitPlanes (n, m) -> int32 (n, ...).  bits: 8, or
    4, which the codes take; integer=True: by a kernel without a float. A pool's threads share the rows.

    Few tokens: bit planes, since unpacking alone takes longer than a token or two; at four tokens of 8 bits
    they are even. More: BLAS, which unpacks once for all of them, and of 4 bits takes them in pairs once
    there are so many that this pays for itself. by_lookup is not among the choices, so that one form is
    resident: it comes close for one token of thousands of rows, and fewer do not pay for the tables.
    (``python -m minibitnet.bench kernels`` has the times.)
    """
    assert len(codes) == w.m, f"activations have {len(codes)} features, the matrix has {w.m}"
    columns = codes.reshape(len(codes), math.prod(codes.shape[1:]))      # not -1: there may be no features
    N = columns.shape[1]
    assert bits == 8 or not codes.size or -8 <= codes.min() and codes.max() <= 7, "codes of more than 4 bits"
    if integer or N <= FEW[bits] or not exact_in_float32(len(codes)):
        y = shared_bit_planes(columns, w, bits, pool)
    elif bits == 4 and N >= PAIRED:
        y = by_blas_in_pairs(columns, w, pool)
    else:
        y = by_blas(columns, w, pool)
    return y.reshape(len(y), *codes.shape[1:])
