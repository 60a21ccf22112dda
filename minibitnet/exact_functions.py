"""Functions and random numbers from IEEE operations alone: the same bits on every processor.

The argument is reduced by whole multiples of log 2 or pi/2, and a short series does the rest. Random numbers
come from the raw words of PCG64, which NumPy promises to keep; it does not promise to keep any distribution,
and its normal numbers call the system's log.
"""
import math
from typing import NamedTuple

import numpy as np

LN2, LOG2E = 0.6931471805599453, 1.4426950408889634
AT_ONCE = 2**14      # numbers that a long chain of passes handles at a time, to stay in the cache


# ---- functions

def power(x, n):
    """x^n of a float and a whole number n >= 0, by repeated squaring."""
    y = 1.0
    for bit in f"{n:b}":
        y = y * y * (x if bit == "1" else 1.0)
    return y


class _Exp(NamedTuple):
    low: float            # y is clipped to these two: 2^low is 0
    high: float           # 2^high is infinite
    magic: float          # added to a number, it rounds it to a whole n and leaves n + bias in the last bits
    bits: type
    shift: int            # to where a float has its exponent
    series: tuple         # of R


# The series of R, by powers of f: that of
#     r coth(r/2) = 2 + r^2/6 - r^4/360 + ...        sum_k 2 B_2k / (2k)! r^2k, Bernoulli's numbers
# for r = f log 2, over log 2.
_COTH = [a * power(LN2, 2 * k) * LOG2E for k, a in enumerate((
    2, 1 / 6, -1 / 360, 1 / 15120, -1 / 604800, 1 / 23950080, -691 / 653837184000))]
_EXP = {np.dtype(np.float32): _Exp(-127.0, 128.0, 1.5 * 2**23 + 127, np.int32, 23, _COTH[:3]),
        np.dtype(np.float64): _Exp(-1023.0, 1024.0, 1.5 * 2**52 + 1023, np.int64, 52, _COTH)}


def exp(x):                                  # float array -> the same type
    """e^x = 2^y, y = x log2 e, whose rounding is the only one of importance: the result is that of an x that
    differs by less than a last bit."""
    return _exp2(x * x.dtype.type(LOG2E))


def sigmoid(x):                              # float array -> the same type
    """1 / (1 + e^-x)"""
    s = _exp2(x * x.dtype.type(-LOG2E))
    s += x.dtype.type(1)
    return np.divide(x.dtype.type(1), s, out=s)


def _exp2(y):                                # y is used up
    """2^y = 2^n (R + f) / (R - f),  f = y - n,  R = f coth(f log(2) / 2).  n: y rounded, halves to odd.

    |f| <= 1/2, so three terms of R are enough for float32 and seven for float64. 0 from y = -126.5 down
    (float64: -1022.5), infinite above 127.5 (1023.5)."""
    c, constant = _EXP[y.dtype], y.dtype.type
    np.clip(y, constant(c.low), constant(c.high), out=y)
    n = y + constant(c.magic)
    two_to_n = (n.view(c.bits) << c.bits(c.shift)).view(y.dtype)
    n -= constant(c.magic)
    y -= n
    t = np.multiply(y, y, out=n)
    R = t * constant(c.series[-1])
    for a in c.series[-2:0:-1]:
        R += constant(a)
        R *= t
    R += constant(c.series[0])
    np.add(R, y, out=t)
    R -= y
    np.divide(t, R, out=y)
    y *= two_to_n
    return y


def log(x):                                  # array or number -> the same float type; of whole ones float64
    """Natural logarithm, computed in float64. log 0 is -infinity, of negative numbers NaN.

        log x = n log 2 + log m        x = m 2^n,  m in [sqrt(1/2), sqrt(2))
        log m = 2 artanh(s)            s = (m - 1) / (m + 1),  |s| <= 0.172
    """
    x64 = np.asarray(x, np.float64)
    m, n = np.frexp(np.where((x64 > 0) & (x64 < np.inf), x64, 1))
    small = m < 0.7071067811865476
    m, n = np.where(small, 2 * m, m), n - small
    s = (m - 1) / (m + 1)
    t, series = s * s, 0.0
    for k in range(21, 0, -2):               # 1 + t/3 + t^2/5 + ...
        series = series * t + 1 / k
    y = n * LN2 + 2 * s * series
    y = np.where(x64 == 0, -np.inf, np.where(x64 == np.inf, np.inf, np.where(x64 > 0, y, np.nan)))
    if not isinstance(x, np.ndarray | np.generic):
        return float(y)
    return y.astype(x.dtype if x.dtype.kind == "f" else np.float64)[()]


def exp_float(x):
    """exp of a Python float."""
    return float(exp(np.float64([x]))[0])


def perplexity(nats):
    """e^nats, of at most 700 nats: JSON has no infinity."""
    return exp_float(min(nats, 700))


_PI_HALVES = 1.5707963109016418, 1.5893254712295857e-08, 6.123233995736766e-17     # pi/2: 25, 24, 53 bits


def cos_sin(x):                              # float64 array, |x| < 2^25 -> cos, sin
    """x = n pi/2 + r with |r| <= pi/4: Taylor's series of r, exchanged and signed by n mod 4."""
    n = np.rint(x * (2 / math.pi))
    r = ((x - n * _PI_HALVES[0]) - n * _PI_HALVES[1]) - n * _PI_HALVES[2]
    t, c, s = r * r, 0.0, 0.0
    for k in range(20, 0, -2):               # 1 - t/2 (1 - t/12 (...)): factors t / ((k - 1) k)
        c = (1 - c) * t / ((k - 1) * k)
        s = (1 - s) * t / (k * (k + 1))
    c, s, turn = 1 - c, r - r * s, n.astype(np.int64) & 3
    swap, flip_c, flip_s = turn & 1 == 1, (turn + 1) & 2 == 2, turn & 2 == 2
    c, s = np.where(swap, s, c), np.where(swap, c, s)
    return np.where(flip_c, -c, c), np.where(flip_s, -s, s)


# ---- random numbers

class Random:
    """A few of ``numpy.random.Generator``'s draws, from the raw words of PCG64.

    seed: a whole number, or several."""

    def __init__(self, seed):
        self.words = np.random.PCG64(seed)

    def random(self, size=None):
        """Uniform in [0, 1): 53 bits of a word each."""
        u = np.atleast_1d(self.words.random_raw(size) >> 11) * 2.0**-53
        return float(u[0]) if size is None else u

    def integers(self, n, size=None):
        """Uniform whole numbers in [0, n), n <= 2^63: a word mod n, where words of the last, incomplete
        n-tuple are thrown away."""
        drawn, count = np.empty(0, np.uint64), 1 if size is None else size
        while len(drawn) < count:
            words = self.words.random_raw(count - len(drawn))
            drawn = np.concatenate([drawn, words[words < 2**64 - 2**64 % n] if 2**64 % n else words])
        drawn = (drawn % np.uint64(n)).astype(np.int64)
        return int(drawn[0]) if size is None else drawn

    def permutation(self, n):
        """The order in which n words come when they are sorted."""
        return np.argsort(self.words.random_raw(n), kind="stable")

    def standard_normal(self, shape):
        """N(0, 1), float64, in pairs:  sqrt(-2 log u) (cos 2 pi v, sin 2 pi v)  of uniform u in (0, 1], v.
        (Box and Muller 1958)"""
        size = math.prod(shape)
        z = np.empty(size + size % 2)
        for i in range(0, len(z), AT_ONCE):
            u, v = self.random(min(AT_ONCE, len(z) - i)).reshape(2, -1)
            pair = cos_sin(2 * math.pi * v)
            z[i:i + AT_ONCE] = np.concatenate(pair) * np.tile(np.sqrt(-2 * log(1 - u)), 2)
        return z[:size].reshape(shape)
