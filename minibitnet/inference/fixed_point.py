"""Arithmetic in whole numbers: int64 arrays in, int64 arrays out, and no float on the way.

A fixed-point number is an integer X that stands for

    X 2^-f              with f, its bits after the point, known from the context
    mantissa 2^e        a positive factor: a mantissa in [2^30, 2^31) and an exponent

which is what a float is, with the exponent in a variable of its own. (Only a ``ratio``'s mantissa may have
one bit less.) Floats are in two places: ``mantissa`` makes a pair from one, when a model is converted, and
EXP2_TABLE is made once, at import. Everything else here runs between token id and chosen token.

``>>`` is an arithmetic shift, also of negative numbers: it floors, and so does ``//``. On these two stand
``shift``, which rounds halves up, and ``divide``, which rounds halves to even (as ``np.rint`` does). Nothing
saturates: each function says how large its arguments may be, and whoever calls it proves that they are no
larger.
"""
import math

import numpy as np

from ..exact import LN2, exp

POWERS_OF_2 = np.left_shift(1, np.arange(63, dtype=np.int64))           # 1, 2, 4 .. 2^62
MANTISSA_BITS = 31                                          # a product of two mantissas stays below 2^62
MOST_SHIFT = 62                                             # of an int64: more would leave 0 as well
EXP2_BITS = 24                                              # of exp2_minus's result: 2^-0 is 2^24
FRACTION_BITS = 16                                          # of its argument
EXP2_TABLE = np.rint(np.ldexp(exp(np.arange(257) * (-LN2 / 256)), EXP2_BITS)).astype(np.int64)


def mantissa(value):
    """A positive float -> (m, e):  value ≈ m 2^e,  2^30 <= m < 2^31. For conversion."""
    fraction, e = math.frexp(value)                         # fraction in [1/2, 1)
    most = 2**MANTISSA_BITS
    return min(round(fraction * most), most - 1), e - MANTISSA_BITS


def bit_length(x):                                          # 0 <= x < 2^63
    """The number of bits of each x, as int.bit_length: 0 -> 0, 1 -> 1, 7 -> 3, 8 -> 4; int64."""
    return np.searchsorted(POWERS_OF_2, x, side="right").astype(np.int64)    # some have int32 here


def shift(x, k):                                            # |x| < 2^62, 0 <= k <= 62
    """x / 2^k, halves up."""
    return (x + ((1 << k) >> 1)) >> k


def divide(a, b):                                           # |a| < 2^61, 0 < b < 2^61
    """a / b, halves to even."""
    quotient, rest = np.divmod(2 * a + b, 2 * b)            # of floor(a / b + 1/2)
    return quotient - ((rest == 0) & quotient & 1)          # no rest: it was a half, which went up


def narrow(x, bits, axis=0, least=0):                       # |x| < 2^62
    """x -> shift(x, k), k.  k, one for all values along axis, is the smallest k >= least for which every
    |x| >> k has at most ``bits`` bits; rounding may make it 2^bits."""
    k = np.maximum(bit_length(np.abs(x).max(axis, keepdims=True)) - bits, least)
    return shift(x, k), k.squeeze(axis)


def leading_bits(x):                                        # 0 < x < 2^63
    """x -> m, e with  x ≈ m 2^e:  its 31 leading bits, cut off below (of fewer bits: shifted up to 31)."""
    e = bit_length(x) - MANTISSA_BITS
    return x >> np.maximum(e, 0) << np.maximum(-e, 0), e


def square_root(x):                                         # 0 < x < 2^62
    """The root of x -> mantissa and exponent, cut off below: x is scaled by 4^e into [2^60, 2^62) first.

    Newton's r <- (r + x / r) / 2 from r = 2^31, which is above the root: its relative error goes 1, 1/4,
    1/40, 3e-4, 5e-8, 1e-15. Taken in floors it never falls below floor(root), and after five steps it is
    there or one above.
    """
    e = (62 - bit_length(x)) >> 1
    x = x << 2 * e
    r = np.full_like(x, 1 << 31)
    for _ in range(5):
        r = (r + x // r) >> 1
    return r - (r * r > x), -e


def ratio(x, y):                                            # 0 < x < 2^63, 0 < y < 2^62
    """x / sqrt(y) -> m, e with  x / sqrt(y) ≈ m 2^e,  2^29 <= m < 2^31:

        x ≈ a 2^ea  (``leading_bits``),  sqrt(y) ≈ b 2^eb  (``square_root``)
        m = (a << 30) // b,  e = ea - eb - 30
    """
    (a, ea), (b, eb) = leading_bits(x), square_root(y)
    return (a << MANTISSA_BITS - 1) // b, ea - eb - (MANTISSA_BITS - 1)


def exp2_minus(d):                                          # d >= 0, with 16 bits after the point
    """2^-d with 24 bits: a table of 256 steps to the octave, a straight line between two of them, a shift.

        d = min(d, 32 << 16) is an octave, then 8 bits i and 8 bits j;  T[i] = 2^(24 - i/256) to the nearest;
        shift(T[i] - ((T[i] - T[i+1]) j >> 8), octave)

    At most 17 units of 2^-24 above the true value. At d = 25 it is half a unit, which goes up to 1; beyond it
    is 0.
    """
    d = np.minimum(d, 32 << FRACTION_BITS)
    octave, i, j = d >> 16, d >> 8 & 255, d & 255
    left = EXP2_TABLE[i]
    return shift(left - ((left - EXP2_TABLE[i + 1]) * j >> 8), octave)
