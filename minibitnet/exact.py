"""Arithmetic whose bits depend on nothing but its inputs: one seed gives the same bytes on every processor.

**The rule.** Every number is either exact, or rounded by one IEEE 754 operation that is written in the
source. No result depends on an order of summation that a library chooses. Three things break it in ordinary
NumPy code: a product, whose sums BLAS orders by the processor, the shapes and the threads; a sum, which NumPy
orders by the strides; and exp, log and the like, which every library rounds in its own way. Here is one of
each that does not. ``+ - * / sqrt rint max`` are IEEE's own everywhere.

**Products.** The float type with p bits (float32: 24, float64: 53) holds every whole number up to 2^p, and so
every multiple of a power of two, a *unit*, up to 2^p units. Put each row a_i on a *grid*, whole multiples of
a unit u_i, and each column b_j on one of v_j, both so coarse that

    |a_i| |b_j| <= 2^p u_i v_j                     |.| is the L2 norm

Take any of the terms of (a b)_ij = sum_k a_ik b_kj, any subset of them. Their sum is a whole multiple of u_i
v_j, and by Cauchy and Schwarz it is at most |a_i| |b_j|, that is 2^p units: the type holds it. Whatever order
adds the terms up, on the way it meets only such sums. So no addition ever rounds, and every order, blocking,
number of threads and every fused multiply-add gives the same bits.

To put x on a grid takes two additions: ``(x + c) - c`` with c = 1.5 2^(p-1) units, because one unit is the
spacing of the floats near c. What this rounds away is the whole cost. Codes of quantized operands are whole
numbers already, and all bits are the other operand's. There are two grades: *gradients* in float32, where
each of two floats keeps a norm of 2^12 units, about 8 bits an element, which they bear (attention's and the
head's take float64 too: most of their numbers are tiny beside the largest); and products of floats in the
*forward pass* in float64, a norm of 2^26 units each, as faithful as float32 itself. In float64, which only
the gradient checker uses, nothing is put on a grid.

**Sums** go in one order, ``total``'s. **Functions** and **random numbers**, in ``exact_functions.py``, are
made of the same operations, and are had from here too.
"""
import math
from typing import NamedTuple

import numpy as np

from .exact_functions import LN2, Random, cos_sin, exp, exp_float, log, power, sigmoid      # noqa: F401

LIMIT = {np.dtype(np.float32): 2.0**24, np.dtype(np.float64): 2.0**53}    # up to here whole numbers are exact
COARSE, FINE = 2.0**12, 2.0**26              # norms, in units, of gradients and of forward operands
SAFE = 2.0**-100, 2.0**100                   # squared norms that float32 squares can be trusted with
SHORT = 128                                  # terms, see ``fine``
SHARES, WEIGHTS = 2.0**23, 2.0**29           # units of attention's values (24 bits) and weights' sum
WEIGHT_UNIT = 2.0**-32                       # of softmax weights


# ---- sums

def total(x, axis=0):                        # (..., n, ...) -> (..., 1, ...)
    """Sum along an axis, kept with length 1, by halves: the second half is added to the first (of an odd
    number the last one to the first one) until one is left."""
    x, n, across = x.swapaxes(0, axis), x.shape[axis], axis != 0
    if n == 0:
        return np.zeros((1, *x.shape[1:]), x.dtype).swapaxes(0, axis)
    while n > 1:
        if across and n <= 16:               # short rows are slow to add; side by side they are long
            x, across = np.ascontiguousarray(x), False
        half = n // 2
        added = x[:half] + x[half:2 * half]
        if n % 2:
            added[0] += x[-1]
        x, n = added, half
    return x.swapaxes(0, axis)


def mean(x):                                 # any shape -> (1, ..., 1)
    """The mean of all numbers, in the order of their indices whatever the strides."""
    return (total(x.reshape(-1)) / x.dtype.type(x.size)).reshape((1,) * x.ndim)


def sum_of_squares(x):                       # any shape -> float
    """The sum of all squares, in float64, where no float32 has a square that is too small or too large."""
    x = x.reshape(-1)
    blocks = (x[i:i + 2**18].astype(np.float64) for i in range(0, x.size, 2**18))
    return math.fsum(float(total(np.square(block))[0]) for block in blocks)


def sum_runs(x, starts):                     # (C, N), (R,) int -> (C, R)
    """Sums of consecutive columns, run r from column starts[r] on: exact, like a product with 0s and 1s."""
    N = x.shape[1]
    grid = on_one_grid(x, LIMIT[np.dtype(np.float64)] / math.sqrt(N), N, np.float64)
    return np.add.reduceat(grid.values, starts, axis=1).astype(x.dtype)


# ---- products

class Grid(NamedTuple):
    """One operand of a product. values: slices (rows of the left one, columns of the right one), each of
    whole multiples of a unit of its own, and of an L2 norm of at most ``norm`` units; 0 stands for float64
    that is on no grid. extreme: some slice is so small or so large that products might leave float32's range
    of exponents."""
    values: np.ndarray
    norm: float
    extreme: bool = False

    @property
    def T(self):
        return self._replace(values=self.values.swapaxes(-1, -2))

    def columns(self, some):
        return self._replace(values=self.values[..., some])


def whole(codes, largest, axis):
    """Whole numbers up to ``largest`` are on the grid of 1; of K along an axis the norm is largest
    sqrt(K)."""
    return Grid(codes, largest * math.sqrt(codes.shape[axis]))


def on_grid(x, axis, norm):                  # float array -> Grid of its type
    """x rounded, slice by slice along axis, to multiples of the smallest power of two for which the slice's
    norm is at most ``norm`` units.

    Rounding moves each of K numbers by half a unit at most, and so the norm by sqrt(K) / 2 units: room for
    that is left. (At more than 2^(p-2) units x + c would leave the floats whose spacing is one unit.) A slice
    of zeros stays one; products of one with NaN, infinity or a norm above 10^35 are not finite.

    A sum in any order may find the unit where its order cannot decide it: two sums of K squares differ by a
    share of K eps at most, and if the norm, so much smaller or larger, still has one power of two above it,
    that is the one. Else ``total`` decides.
    """
    norm = min(norm, LIMIT[x.dtype] / 4)
    room = norm - 0.5 * math.sqrt(x.shape[axis])
    assert room > 0, f"{x.shape[axis]} terms are more than {LIMIT[x.dtype]:.0f} units can be shared out to"
    if axis == -1:                           # six times as fast, in an order of the library's own: see above
        squares, slack = np.vecdot(x, x)[..., None], (x.shape[-1] + 8) * float(np.finfo(x.dtype).eps)
    else:
        squares, slack = total(np.square(x), axis), 0.0
    extreme = False
    if x.dtype == np.float32 and squares.size and not (np.minimum.reduce(squares, None) >= SAFE[0]
                                                       and np.maximum.reduce(squares, None) <= SAFE[1]):
        squares, slack = total(np.square(x, dtype=np.float64), axis), 0.0      # 1e-23 squared is 0 in float32
        extreme = not ((squares >= SAFE[0]) & (squares <= SAFE[1]) | (squares == 0)).all()
    scale = (1 + 2**-16) / room              # 2^-16 is for the rounding of the norm itself
    norms = np.sqrt(squares) * scale
    unit = _power_of_two(norms * (1 + slack) if slack else norms)
    if slack and (norms * (1 - slack) < unit / 2).any():
        unit = _power_of_two(np.sqrt(total(np.square(x), axis)) * scale)
    c = (unit * (0.75 * LIMIT[x.dtype])).astype(x.dtype, copy=False)
    y = x + c
    y -= c
    return Grid(y, norm, extreme)


def on_one_grid(x, norm, terms, dtype=None):     # float array -> Grid, of its type or another
    """x rounded to multiples of one power of two, for sums over up to ``terms`` of its numbers in any
    direction: their norm is at most sqrt(terms) max|x|. Cheaper than a unit for each slice, and one rounding
    for two products; small slices keep fewer bits."""
    dtype = np.dtype(dtype or x.dtype)
    if x.dtype == np.float64:
        return Grid(x, 0.0)
    norm = min(norm, LIMIT[dtype] / 4)
    room = norm / math.sqrt(terms) - 0.5
    assert room > 0, f"{terms} terms are more than {LIMIT[dtype]:.0f} units can be shared out to"
    largest = max(float(np.maximum.reduce(x, None)), -float(np.minimum.reduce(x, None)))
    c = dtype.type(0.75 * LIMIT[dtype] * math.ldexp(1.0, math.frexp(largest / room)[1]))
    if dtype == x.dtype:
        y = x + c
    else:
        y = x.astype(dtype)
        y += c
    y -= c
    return Grid(y, norm, dtype == np.float32 and not (2.0**-60 < largest < 2.0**50 or largest == 0))


def _power_of_two(x):                        # x >= 0 -> the smallest power of two that is not below; 0 -> 0
    bits, exponent = (np.int32, 0x7F800000) if x.dtype == np.float32 else (np.int64, 0x7FF << 52)
    return (x.view(bits) + bits((exponent & -exponent) - 1) & bits(exponent)).view(x.dtype)


def product(a, b):                           # Grids (..., n, K), (..., K, N) -> (..., n, N)
    """a b, the same bits in every order of summation."""
    dtype, K = a.values.dtype, a.values.shape[-1]
    assert a.norm * b.norm <= LIMIT[dtype], f"{K} features overflow the exact range of {dtype}"
    if a.extreme or b.extreme:               # 2^-149, float32's last unit, times another is a float64
        return _matmul(a.values.astype(np.float64), b.values.astype(np.float64)).astype(dtype)
    return _matmul(a.values, b.values)


def _matmul(a, b):
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # arm64 warns for nothing
        return a @ b


def rest_of(codes, g, axis=None):            # a whole Grid, float array -> Grid
    """What is multiplied by codes has the rest of the bits. axis: a unit for each slice along it; None: one
    unit, summed over axis 0, which for the few bits of weights' codes is as good."""
    if g.dtype == np.float64:
        return Grid(g, 0.0)
    room = LIMIT[g.dtype] / codes.norm
    return on_one_grid(g, room, len(g)) if axis is None else on_grid(g, axis, room)


class Operand(NamedTuple):
    """A float operand of several products, ready for all of them. values: as they were; fine: for the forward
    pass, coarse: transposed, for the gradient of the other operand."""
    values: np.ndarray
    fine: Grid
    coarse: Grid


def operand(x, axis):                        # float (n, ...) -> Operand; axis: what the forward pass sums
    """x, or the tokens of x side by side, made ready for both of its products."""
    columns = x.reshape(len(x), -1)
    return Operand(x, fine(columns, axis), coarse(columns, -1 - axis).T)


def coarse(x, axis):                         # float32 -> Grid
    """An operand of a gradient: 12 bits for the norm of each slice along axis. (float64 stays as it is.)"""
    return Grid(x, 0.0) if x.dtype == np.float64 else on_grid(x, axis, COARSE)


def fine_gradient(x):                        # float32 -> Grid in float64
    """An operand of a gradient for sums over any of its axes, in float64: 22 bits below its largest number,
    where 512 are added up."""
    return on_one_grid(x, FINE, max(x.shape), np.float64)


def fine(x, axis):                           # float32 -> Grid in float64
    """An operand of the forward pass: 26 bits for the norm of each slice along axis. The values are still
    float32 numbers, for what is rounded to a unit is less than 2^24 of them. (float64, the gradient
    checker's, stays as it is.) Of up to 128 numbers, K, the norm is taken to be sqrt(K) times the largest,
    which costs less and a few of the bits."""
    if x.dtype == np.float64:
        return Grid(x, 0.0)
    root = math.sqrt(x.shape[axis])
    if x.shape[axis] > SHORT:
        return on_grid(x.astype(np.float64), axis, FINE)
    bound = np.abs(x).max(axis, keepdims=True).astype(np.float64)
    bound *= root / (FINE - 0.5 * root)
    c = _power_of_two(bound)
    c *= 1.5 * 2.0**52
    y = x.astype(np.float64)
    y += c
    y -= c
    return Grid(y, FINE)


def fine_product(a, b):                      # (..., n, K), (..., K, N) float32 or fine -> (..., n, N) float32
    """a b in float64 on fine grids, then rounded once. A column of it depends on no other column of b."""
    a, b = (x if isinstance(x, Grid) else fine(x, axis) for x, axis in ((a, -1), (b, -2)))
    return product(a, b).astype(np.float32 if a.norm and b.norm else np.float64, copy=False)


# ---- a softmax's sums over keys

class Values(NamedTuple):
    """The values of attention, ready to be added up: value = share power. ``power``: for each key a power of
    two that none of its values exceeds; ``largest``: of the powers up to this key, the largest."""
    shares: np.ndarray       # (..., D, S)
    power: np.ndarray | None     # (..., 1, S), None in float64, where nothing is rounded
    largest: np.ndarray | None


def shared_out(v, rounded=False):            # float32 (..., D, S) -> Values
    """v = shares power, with shares rounded to multiples of 2^-23 if they are not already (``rounded``)."""
    if v.dtype == np.float64:
        return Values(v, None, None)
    largest = np.maximum(np.abs(v).max(-2, keepdims=True), np.float32(2.0**-126))
    powers = _power_of_two(largest.astype(np.float64))
    shares = v.astype(np.float64)
    shares *= 1 / powers
    if not rounded:
        shares += 1.5 * 2.0**52 / SHARES
        shares -= 1.5 * 2.0**52 / SHARES
    return Values(shares, powers, np.maximum.accumulate(powers, -1))


def weighted_gradient(g, e):                 # (..., D, t), (..., s, t) -> (..., D, s)
    """g e^T, where e comes from ``weighted_sums``, at most 2^32 units: g gets what float64 has left for sums
    over t queries, a norm of 2^18 units where there are 64."""
    norm = math.sqrt(e.shape[-1]) / WEIGHT_UNIT if e.dtype == np.float32 else 0.0
    weights = Grid(e.astype(np.float64), norm)
    left = LIMIT[np.dtype(np.float64)] / (norm or 1)
    return fine_product(on_one_grid(g, left, e.shape[-1], np.float64), weights.T)


def weighted_sums(v, e, queries):            # Values, (..., s, t) -> (..., D, t), (..., 1, t), (..., s, t)
    """sum_s v_s e_s and Z = sum_s e_s, e in [0, 1], over the first s keys, for t queries of which the last
    sees key ``queries.stop - 1`` at most, both exact: how many other keys there are, all of weight 0, or in
    which order they come, changes no bit. Also e as it was added up.

    1. Weights are rounded to multiples of 2^-32; up to 2^21 of them have an exact sum in float64, Z.
    2. Each key's power of two U_s >= |v_s| moves from the values into the weights:
       sum_s (v_s / U_s) (e_s U_s).
    3. Now a value is at most 1, in units of 2^-23, and the weights' sum at most Z U, with U the largest U_s
       that the query may see. They are rounded to the unit at which Z U is 2^29 units: every partial sum is a
       whole number of units, at most 2^52 but for the rounding. (Of many keys each has a small share of Z:
       the weights need the bits more than the values.)
    """
    if v.power is None:
        return v.shares[..., :e.shape[-2]] @ e, total(e, -2), e
    w = e.astype(np.float64)
    w += 1.5 * 2.0**52 * WEIGHT_UNIT
    w -= 1.5 * 2.0**52 * WEIGHT_UNIT
    e, Z = w.astype(np.float32), w.sum(-2, keepdims=True)
    w *= v.power[..., :e.shape[-2]].swapaxes(-1, -2)
    c = (1.5 * 2.0**52 / WEIGHTS) * v.largest[..., queries] * _power_of_two(Z)
    w += c
    w -= c
    return _matmul(v.shares[..., :e.shape[-2]], w), Z, e
