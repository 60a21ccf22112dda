"""Each operation against Python's own whole numbers, which have no largest, and against
the real function it stands for."""
import math
from fractions import Fraction

import numpy as np

from minibitnet.inference import fixed_point
from minibitnet.inference.fixed_point import (bit_length, divide, exp2_minus, leading_bits, mantissa, narrow,
                                              ratio, shift, square_root)


def integers(*values):
    return np.array(values, np.int64)


def spread(rng, bits, n=3000):
    """Whole numbers of every length up to bits: each length as likely as any
    other; the largest is among them."""
    return np.append(rng.integers(2 ** (bits - 1), 2**bits, n) >> rng.integers(0, bits, n), 2**bits - 1)


def test_bit_length_is_pythons(rng):
    x = np.append(spread(rng, 62), [0, 1, 7, 8, 2**62])
    assert bit_length(x).tolist() == [int(v).bit_length() for v in x]


def test_shift_by_pencil():
    """5/2 = 2.5 -> 3, -5/2 = -2.5 -> -2 (halves up), 5/4 -> 1, 7/4 -> 2, and by 0 nothing happens."""
    assert shift(integers(5, -5, 5, 7, 7), integers(1, 1, 2, 2, 0)).tolist() == [3, -2, 1, 2, 7]
    assert shift(integers(2**62 - 1), 62).tolist() == [1]


def test_divide_by_pencil():
    """5/2 = 2.5 and -5/2 = -2.5 go to the even 2 and -2, 7/2 = 3.5 to 4; 8/3 = 2.67 to 3."""
    assert divide(integers(5, -5, 7, -7, 8), integers(2, 2, 2, 2, 3)).tolist() == [2, -2, 4, -4, 3]


def test_divide_rounds_as_the_exact_quotient_does(rng):
    a, b = spread(rng, 60) * rng.choice([-1, 1], 3001), spread(rng, 40)
    a, b = np.append(a, np.arange(-50, 50)), np.append(b, np.full(100, 4))
    assert divide(a, b).tolist() == [round(Fraction(int(x), int(y))) for x, y in zip(a, b)]


def test_narrow_by_pencil():
    """Token 0 has 100 as its largest: to get below 2^4 it needs k = 3, and 100 -> 12.5 -> 13, -20 -> -2.5 ->
    -2. Token 1 has 15, of 4 bits already; token 2's 31 is 15.5 -> 16 = 2^4 with k = 1."""
    x, k = narrow(integers([100, 15, 31], [-20, 3, 0]), 4)
    assert k.tolist() == [3, 0, 1] and x.tolist() == [[13, 15, 16], [-2, 3, 0]]
    assert narrow(integers([15]), 4, least=2)[0].tolist() == [[4]]


def test_square_root_is_the_floor_of_the_root(rng):
    """Of x scaled by a power of four into [2^60, 2^62). Squares and their neighbours are
    the hard ones for Newton's steps."""
    n = rng.integers(2**30, 2**31, 500)
    x = np.concatenate([spread(rng, 62), n * n, n * n - 1, n * n + 1, [1, 2, 3, 4, 2**60, 2**62 - 1]])
    root, e = square_root(x)
    assert root.tolist() == [math.isqrt(int(v) << -2 * int(k)) for v, k in zip(x, e)]
    assert root.min() >= 2**30 and root.max() < 2**31


def test_ratio_is_x_over_the_root_of_y(rng):
    x, y = spread(rng, 60), spread(rng, 61)
    m, e = ratio(x, y)
    real = x / np.sqrt(y)
    assert np.allclose(np.ldexp(m.astype(float), e), real, rtol=2**-28, atol=0)      # three cuts of 2^-29
    assert m.min() >= 2**29 and m.max() < 2**31


def test_mantissa_and_leading_bits_agree_on_what_a_float_is():
    """10 = 1.25 2^3 = (1.25 2^30) 2^-27"""
    assert mantissa(10.0) == (5 * 2**28, -27) == tuple(int(part) for part in leading_bits(np.int64(10)))
    m, e = mantissa(1 - 2.0**-53)                           # would round up to 2^31
    assert m == 2**31 - 1 and e == -31


def test_the_table_of_exp2_is_the_same_on_every_machine():
    """Entry i is 2^(24 - i/256) to the nearest, in whole numbers: t - 1/2 < 2^(24 - i/256) < t + 1/2, each
    side doubled and to the 256th power."""
    assert len(fixed_point.EXP2_TABLE) == 257
    table = fixed_point.EXP2_TABLE.tolist()
    assert all((2 * t - 1)**256 < 2**(25 * 256 - i) < (2 * t + 1)**256 for i, t in enumerate(table))


def test_exp2_minus_by_pencil():
    """2^0, 2^-1, 2^-24; 2^-25 is half a unit, which goes up, and then nothing.
    2^-1/2 = 0.70711 is a table entry."""
    one = 1 << 16
    d = integers(0, one, 24 * one, 25 * one, 25 * one + 1, 2**61)
    assert exp2_minus(d).tolist() == [2**24, 2**23, 1, 1, 0, 0]
    assert exp2_minus(integers(one >> 1)).tolist() == [round(2**23.5)]


def test_exp2_minus_is_close_and_never_rises():
    """A chord over 1/256 octave lies above the curve by at most (ln 2 / 256)^2 / 8 = 15.4 units
    of 2^-24; two roundings follow."""
    d = np.arange(26 << 16)
    error = exp2_minus(d) - 2.0 ** (24 - d / 2**16)
    assert -1.5 < error.min() and error.max() < 17
    assert (np.diff(exp2_minus(d)) <= 0).all()
