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

Take any of the terms, any subset of them, of

    (a b)_ij = sum_k a_ik b_kj

Their sum is a whole multiple of the unit u_i v_j, and by Cauchy and Schwarz it is at most |a_i| |b_j|, that
is 2^p units: the type holds it. Whatever order adds the terms up, on the way it meets only such sums. So no
addition ever rounds, and every order, blocking, number of threads and every fused multiply-add gives the same
bits.

To put x on a grid takes two additions (``to_units``). What they round away is the whole cost. Codes of
quantized operands are whole numbers already, and all bits are the other operand's. There are two grades:
*gradients* in float32, where each of two floats keeps a norm of 2^12 units, 8 bits an element in rows of 256,
which they bear; and products of floats in the *forward pass* in float64, a norm of 2^26 units each, as
faithful as float32 itself. (Gradients most of whose numbers are tiny beside the largest, the head's for
example, take float64 too.) In float64, which only the gradient checker uses, nothing is put on a grid.

**Sums** go in one order, ``total``'s. **Functions** and **random numbers**, in ``exact_functions.py``, are
made of the same operations, and are had from here too.
"""
import math
from typing import NamedTuple

import numpy as np

from .exact_functions import LN2, Random, cos_sin, exp, exp_float, log, power, sigmoid      # noqa: F401

LIMIT = {np.dtype(np.float32): 2.0**24, np.dtype(np.float64): 2.0**53}    # up to here whole numbers are exact
ROUND = {np.dtype(np.float32): 1.5 * 2.0**23, np.dtype(np.float64): 1.5 * 2.0**52}        # see ``to_units``
COARSE, FINE = 2.0**12, 2.0**26              # norms, in units, of gradients and of forward operands
SAFE = 2.0**-100, 2.0**100                   # squared norms that float32 squares can be trusted with
SAFE_LARGEST = 2.0**-60, 2.0**50             # and largest numbers: their units, at least 2^-82, times another
                                             # grid's, at least 2^-62, stay above float32's last one, 2^-149
SHORT = 128                                  # terms, see ``fine``


# ---- sums

def total(x, axis=0):                        # (..., n, ...) -> (..., 1, ...)
    """Sum along an axis, kept with length 1, by halves: the second half is added to the first (of an odd
    number the last one to the first one) until one is left."""
    x, n, across = x.swapaxes(0, axis), x.shape[axis], axis != 0
    if n == 0:
        return np.zeros((1, *x.shape[1:]), x.dtype).swapaxes(0, axis)
    while n > 1:
        if across and n <= 16:
            # the rows are short, slow to add: in a copy with axis 0 outermost each addition is one long row
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
    """Sums of consecutive columns, run r from column starts[r] on, whose order decides nothing: x is put on a
    grid in float64, and the sums, exact there, are rounded to x's type. The norm is 2^53 / sqrt(N) units, for
    the other operand is N ones, whose norm is sqrt(N)."""
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
    """Whole numbers up to ``largest`` are on the grid of 1; the norm of K is at most largest sqrt(K)."""
    return Grid(codes, largest * math.sqrt(codes.shape[axis]))


def on_grid(x, axis, norm):                  # float array -> Grid of its type
    """x rounded, slice by slice along axis, to multiples of the smallest power of two for which the slice's
    norm is at most ``norm`` units.

    Rounding moves each of K numbers by half a unit at most, and so the norm by sqrt(K) / 2 units: room for
    that is left. (At more than 2^(p-2) units x + c would leave the floats whose spacing is one unit.) A slice
    of zeros stays one; products of one with NaN, infinity or, for COARSE, a norm above 10^35 are not finite.

    A sum in any order may find the unit where its order cannot decide it. Two sums of K squares differ by a
    share of K eps at most; 8 eps more cover the root, the factor and this comparison itself. If the norm, so
    much smaller or larger, still has one power of two above it, that is the one. Else ``total`` decides.
    """
    norm = min(norm, LIMIT[x.dtype] / 4)
    room = norm - 0.5 * math.sqrt(x.shape[axis])
    assert room > 0, (f"{x.shape[axis]} terms leave no room in a norm of {norm:.0f} units: "
                      "cut the batch into smaller shards")
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
    unit = power_of_two(norms * (1 + slack) if slack else norms)
    if slack and (norms * (1 - slack) < unit / 2).any():
        unit = power_of_two(np.sqrt(total(np.square(x), axis)) * scale)
    return Grid(to_units(x, unit), norm, extreme)


def on_one_grid(x, norm, terms, dtype=None):     # float array -> Grid, of its type or another
    """x rounded to multiples of one power of two, for sums over up to ``terms`` of its numbers in any
    direction: their norm is at most sqrt(terms) max|x|. Cheaper than a unit for each slice, and one rounding
    for two products; small slices keep fewer bits."""
    dtype = np.dtype(dtype or x.dtype)
    if x.dtype == np.float64:
        return Grid(x, 0.0)
    norm = min(norm, LIMIT[dtype] / 4)
    room = norm / math.sqrt(terms) - 0.5
    assert room > 0, (f"{terms} terms leave no room in a norm of {norm:.0f} units: "
                      "cut the batch into smaller shards")
    largest = max(float(np.maximum.reduce(x, None)), -float(np.minimum.reduce(x, None)))
    unit = math.ldexp(1.0, math.frexp(largest / room)[1])
    y = x.astype(dtype, copy=False)
    y = to_units(y, unit, out=None if y is x else y)             # x itself stays as it is
    safe = dtype != np.float32 or SAFE_LARGEST[0] < largest < SAFE_LARGEST[1] or largest == 0
    return Grid(y, norm, not safe)


def to_units(x, unit, out=None):             # unit: a power of two, or one for each slice
    """x rounded to multiples of its unit, in place with out=x:  (x + c) - c  with c = 1.5 2^(p-1) units,
    because one unit is the spacing of the floats near c."""
    c = np.multiply(unit, ROUND[x.dtype]).astype(x.dtype, copy=False)
    y = np.add(x, c, out=out)
    y -= c
    return y


def power_of_two(x):                         # float array >= 0 -> like x
    """The smallest power of two that is not below x, by its exponent's bits; of 0 it is 0."""
    bits, exponent = (np.int32, 0x7F800000) if x.dtype == np.float32 else (np.int64, 0x7FF << 52)
    return (x.view(bits) + bits((exponent & -exponent) - 1) & bits(exponent)).view(x.dtype)


def product(a, b):                           # Grids (..., n, K), (..., K, N) -> (..., n, N)
    """a b, the same bits in every order of summation."""
    dtype, K = a.values.dtype, a.values.shape[-1]
    assert a.norm * b.norm <= LIMIT[dtype], f"{K} features overflow the exact range of {dtype}"
    if a.extreme or b.extreme:               # even 2^-149 2^-149 is a float64
        return quiet_product(a.values.astype(np.float64), b.values.astype(np.float64)).astype(dtype)
    return quiet_product(a.values, b.values)


def quiet_product(a, b):                     # (..., n, K), (..., K, N) -> (..., n, N)
    """a @ b without NumPy's warnings, which mean nothing on some processors."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # arm64 warns for nothing
        return a @ b


def rest_of(codes, g, axis=None):            # a whole Grid, float array -> Grid
    """The other operand of codes: its norm may have the 2^p / codes.norm units that theirs leaves. axis: each
    slice along it has its own unit; None: one unit for all, for sums over axis 0: enough beside weights'
    codes, whose norm is small."""
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
    """An operand of a gradient for sums over any of its axes, in float64: about 21 bits below its largest
    number, where 512 are added up."""
    return on_one_grid(x, FINE, max(x.shape), np.float64)


def fine(x, axis):                           # float32 -> Grid in float64
    """An operand of the forward pass: 26 bits for the norm of each slice along axis. The values are still
    float32 numbers: one of 2^24 units or more was a multiple of the unit already, a smaller one becomes a
    whole number of them, at most 2^24. (float64, the gradient checker's, stays as it is.) Of up to 128
    numbers, K, the norm is taken to be sqrt(K) times the largest, which costs less and a few of the bits."""
    if x.dtype == np.float64:
        return Grid(x, 0.0)
    root = math.sqrt(x.shape[axis])
    if x.shape[axis] > SHORT:
        return on_grid(x.astype(np.float64), axis, FINE)
    bound = np.abs(x).max(axis, keepdims=True).astype(np.float64)
    bound *= root / (FINE - 0.5 * root)
    y = x.astype(np.float64)
    return Grid(to_units(y, power_of_two(bound), out=y), FINE)


def fine_product(a, b):                      # (..., n, K), (..., K, N) float32 or fine -> (..., n, N) float32
    """a b in float64 on fine grids, then rounded once. A column of it depends on no other column of b."""
    a, b = (x if isinstance(x, Grid) else fine(x, axis) for x, axis in ((a, -1), (b, -2)))
    return product(a, b).astype(np.float32 if a.norm and b.norm else np.float64, copy=False)
