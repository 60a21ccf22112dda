"""Every sum, grid and product of ``exact.py``: by pencil, against float64 or the definition, and with the
same bits in every order."""
import math

import numpy as np
import pytest

from bits import F32, F64, array, same
from minibitnet import exact
from minibitnet.exact import (COARSE, FINE, SHORT, Grid, coarse, fine, fine_product, mean, on_grid,
                              on_one_grid, product, whole)

# ---- sums

def test_a_total_adds_halves():
    """2^24 1 -2^24 1 and 1, the odd one: halves give 2^24 - 2^24 and 1 + 1, the first gets the odd one, 1,
    and 1 + 2 = 3. From left to right it were 2: 2^24 + 1 is rounded to 2^24, 0 is left, and then come two
    ones."""
    x = array(2**24, 1, -2**24, 1, 1)
    assert exact.total(x).tolist() == [3]
    left = np.float32(0)
    for number in x:
        left += number
    assert left == 2
    assert exact.total(array(7)).tolist() == [7]
    assert exact.total(np.zeros((2, 0, 3)), 1).tolist() == [[[0, 0, 0]]] * 2


def by_halves(numbers):
    """``total``'s order, written with a list of single floats."""
    while len(numbers) > 1:
        half = len(numbers) // 2
        added = [a + b for a, b in zip(numbers[:half], numbers[half:])]
        if len(numbers) % 2:
            added[0] += numbers[-1]
        numbers = added
    return numbers[0]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 17, 31, 40, 100])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_total_has_the_same_bits_in_every_layout_along_every_axis(n, dtype, rng):
    x = rng.standard_normal((3, 4, n)).astype(dtype)
    before = x.copy()
    expected = np.array([[[by_halves(list(row))] for row in rows] for rows in x], dtype)
    wide = np.zeros((3, 8, 3 * n), dtype)
    wide[:, ::2, ::3] = x
    for copy in (x, np.asfortranarray(x), wide[:, ::2, ::3], x[::-1].copy()[::-1],
                 x.swapaxes(0, 2).copy().swapaxes(0, 2)):
        for axis in range(3):
            assert same(np.moveaxis(exact.total(np.moveaxis(copy, 2, axis), axis), axis, 2), expected)
            assert same(np.moveaxis(exact.total(np.ascontiguousarray(np.moveaxis(copy, 2, axis)), axis), axis,
                                    2), expected)
        assert same(mean(copy), mean(x))
    assert same(exact.total(x.T), expected.T) and same(x, before)


def test_a_mean_is_of_all_numbers():
    """1 2 3 4: ten, a quarter of which is 2.5, in the shape (1, 1)."""
    assert mean(array([1, 2], [3, 4])).tolist() == [[2.5]]


def test_a_sum_of_squares_knows_no_small_and_no_large_number():
    """1e-30 squared is 0 in float32, 1e30 squared infinite; 3 and 4 give 25, also as the last two of more
    than a block."""
    for size in (1e-30, 1.0, 1e30):
        assert math.isclose(exact.sum_of_squares(array([3 * size, 4 * size])), 25 * size**2, rel_tol=2**-22)
    x = np.zeros(2**18 + 2, np.float32)
    x[-2:] = 3, 4
    assert exact.sum_of_squares(x) == 25 and exact.sum_of_squares(x[:0]) == 0


def test_sums_of_runs_by_pencil():
    """Runs from columns 0, 2 and 3: 1 + 2, 3, 4 + 5. Of 2^24 1 -2^24 in any order 1 is left: no order rounds
    it away."""
    x = array([1, 2, 3, 4, 5], [0, 0, 1, 0, -1])
    assert exact.sum_runs(x, np.array([0, 2, 3])).tolist() == [[3, 3, 9], [0, 1, -1]]
    for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2]):
        assert exact.sum_runs(array([2**24, 1, -2**24])[:, order], np.array([0])) == 1


def test_sums_of_runs_do_not_depend_on_the_order_in_a_run(rng):
    x = rng.standard_normal((5, 300)).astype(np.float32)
    order = np.r_[rng.permutation(100), 100 + rng.permutation(200)]
    sums = exact.sum_runs(x, np.array([0, 100]))
    assert same(sums, exact.sum_runs(x[:, order], np.array([0, 100])))
    assert np.allclose(sums, np.add.reduceat(x.astype(float), [0, 100], 1), rtol=1e-6, atol=1e-6)


# ---- grids

def assert_on_grid(grid, x, axis, norm, bound):
    """Slices of grid.values are whole multiples k of a power of two u, with |k|_2 <= norm, and at most u / 2
    from x; u is the smallest for which what the norm is taken to be, the largest is ``bound``, leaves room
    for K roundings, sqrt(K) / 2. (k <= 2^26, so that the sums of their squares are exact.)"""
    K = x.shape[axis]
    x, y, bound = (np.moveaxis(np.asarray(a, np.float64), axis, 0) for a in (x, grid.values, bound))
    u = np.ldexp(1.0, np.frexp(bound / (norm - 0.5 * math.sqrt(K)))[1])
    k = y / u
    assert grid.norm == norm and (k == np.rint(k)).all() and ((k * k).sum(0) <= norm**2).all()
    assert (np.abs(y - x) <= u / 2).all()


def l2(x, axis):
    return np.sqrt(np.square(x, dtype=np.float64).sum(axis, keepdims=True))


def largest(x, axis=None):
    return np.abs(x).max(axis, keepdims=True).astype(np.float64)


GRIDS = {   # name: x, axis -> the grid, its norm, and what the L2 norm of x is taken to be
    "coarse": lambda x, axis: (coarse(x, axis), COARSE, l2(x, axis)),
    "float64": lambda x, axis: (on_grid(x.astype(np.float64), axis, FINE), FINE, l2(x, axis)),
    "fine": lambda x, axis: (fine(x, axis), FINE, largest(x, axis) * math.sqrt(x.shape[axis])
                             if x.shape[axis] <= SHORT else l2(x, axis)),
    "one": lambda x, axis: (on_one_grid(x, COARSE, x.shape[axis]), COARSE,
                            largest(x) * math.sqrt(x.shape[axis])),
    "one in float64": lambda x, axis: (on_one_grid(x, FINE, x.shape[axis], np.float64), FINE,
                                       largest(x) * math.sqrt(x.shape[axis])),
}


@pytest.mark.parametrize("size", [1, 1e-12, 1e-23, 1e-40, 1e12, 1e30])
@pytest.mark.parametrize("kind", GRIDS)
def test_numbers_are_put_on_a_grid(kind, size, rng):
    """Of every size that float32 has, subnormal ones too, whose squares it has not; zeros stay zeros."""
    for shape, axis in (((7, 9), 0), ((7, 9), 1), ((3, 128, 5), 1), ((3, 129, 5), 1), ((300, 2), 0),
                        ((1, 1), 1)):
        x = (rng.standard_normal(shape) * size).astype(np.float32)
        with np.errstate(over="ignore"):  # of 1e30 squared, which is looked at again in float64
            grid, norm, bound = GRIDS[kind](x, axis)
        assert_on_grid(grid, x, axis, norm, bound)
        assert not GRIDS[kind](x * 0, axis)[0].values.any()


@pytest.mark.parametrize("kind", ["coarse", "float64", "fine"])
def test_a_slice_has_a_grid_of_its_own(kind, rng):
    """The last column gives alone what it gives beside others that are 1, 2^10, 2^20 ... times as large."""
    x = (rng.standard_normal((200, 4)) * 2.0 ** np.array([0, 10, 20, -30])).astype(np.float32)
    assert same(GRIDS[kind](x, 0)[0].values[:, 3:], GRIDS[kind](x[:, 3:], 0)[0].values)


@pytest.mark.parametrize("planted", [lambda y, u: y + u / 2, lambda y, u: y + u, lambda y, u: 4096 * y])
def test_the_check_of_a_grid_sees_half_a_unit_a_whole_one_and_a_norm_that_is_too_large(planted):
    """3 4 5 with a norm of 4096: 7.07 is at most 4095 units of 2^-9, not of 2^-10, and all three are
    multiples of it already."""
    x = array([3, 4, 5])
    grid = on_grid(x, 1, COARSE)
    assert same(grid.values, x)
    assert_on_grid(grid, x, 1, COARSE, l2(x, 1))
    wrong = grid.values.copy()
    wrong[0, 1] = planted(wrong[0, 1], 2.0**-9)
    with pytest.raises(AssertionError):
        assert_on_grid(grid._replace(values=wrong), x if wrong[0, 1] < 5 else wrong, 1, COARSE, l2(x, 1))


def test_on_grid_by_pencil():
    """Norm 4 of 3.3 0.4: |x| = 3.32, and half of sqrt 2 is the room for rounding, so 3.29 units must hold it:
    the unit is 2. They become 4 and 0."""
    assert on_grid(array([3.3, 0.4]), 1, 4.0).values.tolist() == [[4, 0]]
    assert on_grid(array([3.2, 0.4]), 1, 4.0).values.tolist() == [[3, 0]]       # |x| = 3.22, the unit 1


def test_a_grid_is_no_finer_than_additions_can_make_it(rng):
    """More than 2^22 units are not asked of float32: beyond, x + c would be where the floats are two units
    apart."""
    x = rng.standard_normal((4, 3)).astype(np.float32)
    assert_on_grid(on_grid(x, 1, 2.0**24), x, 1, 2.0**22, l2(x, 1))
    assert_on_grid(on_one_grid(x, 2.0**24, 3), x, 1, 2.0**22, largest(x) * math.sqrt(3))
    assert on_one_grid(x, 2.0**53, 3,
                       np.float64).norm == on_grid(x.astype(np.float64), 1, 2.0**53).norm == 2.0**51


def around_powers_of_two(K, norm, dtype, rng):
    """(200, K): rows whose norms, as ``on_grid`` scales them, are a power of two but for a few last bits:
    there, and only there, an order of summation would decide the unit."""
    x = rng.standard_normal((200, K))
    x *= 2.0**4 * (norm - 0.5 * math.sqrt(K)) / (1 + 2**-16) / np.sqrt(np.square(x).sum(1, keepdims=True))
    return (x * (1 + np.finfo(dtype).eps * rng.integers(-K, K, (200, 1)))).astype(dtype)


@pytest.mark.parametrize("dtype, norm", [(F32, 2.0**12), (F64, 2.0**26)])
@pytest.mark.parametrize("K", [2, 64, 512, 3000])
def test_the_unit_is_that_of_the_total_whatever_a_library_sums_up(K, dtype, norm, rng, monkeypatch):
    """Along the last axis the library finds the unit, and where its order could decide, it must not: in place
    of its sums, the least and the most that any order gives."""
    x = np.concatenate([around_powers_of_two(K, norm, dtype, rng),
                        rng.standard_normal((200, K)).astype(dtype)])
    expected = on_grid(np.ascontiguousarray(x.T), 0, norm).values.T
    assert same(np.ascontiguousarray(expected), on_grid(x, -1, norm).values)
    vecdot, wrong = np.vecdot, set()
    for share in (-K, -K / 2, K / 2, K):
        def shifted(a, b):
            return (vecdot(a, b,
                           dtype=np.longdouble) * (1 + share * float(np.finfo(dtype).eps) / 2)).astype(dtype)
        monkeypatch.setattr(np, "vecdot", shifted)
        assert same(np.ascontiguousarray(expected), on_grid(x, -1, norm).values)
        scale = (1 + 2**-16) / (norm - 0.5 * math.sqrt(K))
        units = [exact.power_of_two(np.sqrt(squares) * scale)
                 for squares in (exact.total(np.square(x), 1)[:, 0], shifted(x, x))]
        wrong.add(bool((units[0] != units[1]).any()))
    assert True in wrong                         # without the check of both ends some units would be others


def test_whole_numbers_are_on_the_grid_of_one():
    """Four codes of at most 127: the norm is at most 127 * 2."""
    codes = array([127, -127, 0, 127])
    assert whole(codes, 127, 1).norm == 254 and whole(codes, 127, 1).values is codes
    assert whole(codes, 127, 1).T.values.shape == (4, 1)


@pytest.mark.parametrize("size", [1e-23, 1e-30, 1e30])
def test_a_slice_whose_squares_float32_does_not_hold_keeps_its_bits(size, rng):
    """Beside ordinary slices. Half a unit is at most a 4,096th of the norm and a little: nothing that matters
    is rounded away."""
    x = rng.standard_normal((3, 50)).astype(np.float32)
    x[1] *= np.float32(size)
    with np.errstate(over="ignore"):
        y = on_grid(x, 1, COARSE).values
    assert (np.abs(y - x).max(1) <= np.sqrt(np.square(x, dtype=float).sum(1)) / 4080).all()
    assert np.count_nonzero(y[1]) > 45


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_nan_and_infinity_ruin_their_row_and_no_other(bad, rng):
    x, w = rng.standard_normal((4, 30)).astype(np.float32), rng.standard_normal((30, 5)).astype(np.float32)
    ruined = x.copy()
    ruined[2, 3] = bad
    with np.errstate(all="ignore"):
        for made in (lambda x: product(coarse(x, 1), coarse(w, 0)), lambda x: fine_product(x, w),
                     lambda x: fine_product(np.tile(x, 9), np.tile(w, (9, 1)))):
            good, y = made(x), made(ruined)
            assert np.isnan(y[2]).all() and same(np.delete(y, 2, 0), np.delete(good, 2, 0))
        # on one grid infinity stays what it is
        assert not np.isfinite(exact.sum_runs(ruined, np.array([0, 2]))[2, 1])
        assert not np.isfinite(product(on_one_grid(ruined, COARSE, 30), coarse(w, 0))[2]).any()


# ---- products

def ways(a, b, rng, terms=None):
    """a b in the orders of summation of several programs: as it comes; rows, columns, terms in another order;
    in blocks of terms, added up one after another, as they come and in that other order; in float64; by
    another routine than BLAS."""
    (n, K), N = a.shape, b.shape[1]
    rows, columns = rng.permutation(n), rng.permutation(N)
    terms = rng.permutation(K) if terms is None else terms
    yield a @ b
    yield (a[rows] @ b)[np.argsort(rows)]
    yield (a @ b[:, columns])[:, np.argsort(columns)]
    yield a[:, terms] @ b[terms]
    for order in (np.arange(K), terms):
        y = np.zeros((n, N), a.dtype)
        for k in range(0, K, 1 + K // 8):
            y += a[:, order[k:k + 1 + K // 8]] @ b[order[k:k + 1 + K // 8]]
        yield y
    yield (a.astype(np.float64) @ b.astype(np.float64)).astype(a.dtype)
    yield np.einsum("ik,kj->ij", a, b)


def agree(results):
    first, *others = results
    return all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("kind", ["coarse", "fine", "whole and the rest", "whole and whole", "one grid"])
def test_a_product_has_the_same_bits_in_every_order(kind, rng):
    """Forty random pairs of shapes, up to 200."""
    for _ in range(40):
        n, K, N = rng.integers(1, 201, 3)
        a = rng.standard_normal((n, K)).astype(np.float32)
        b = (rng.standard_normal((K, N)) * np.exp(rng.standard_normal(N) * 9)).astype(np.float32)
        codes, ternary = np.rint(a * 40).clip(-127, 127), np.rint(b / np.abs(b).max(0)).clip(-1, 1)
        whole_a, whole_b, whole_bT = whole(codes, 127, 1), whole(ternary, 1, 0), whole(ternary.T, 1, 1)
        A, B = {
            "coarse": lambda: (coarse(a, 1), coarse(b, 0)),
            "fine": lambda: (fine(a, 1), fine(b, 0)),
            "whole and the rest": lambda: (whole_a, exact.rest_of(whole_a, b, axis=0)),
            "whole and whole": lambda: (whole_a, whole_b),
            "one grid": lambda: (whole_bT, exact.rest_of(whole_bT, b)),
        }[kind]()
        expected = product(A, B)
        assert agree([expected, *ways(A.values, B.values, rng)])


def test_a_product_off_the_grid_is_seen_to_depend_on_the_order(rng):
    """2^24 + 1 - 2^24, term by term: 0, for 2^24 + 1 has no float32; 2^24 - 2^24 + 1 is 1, and float64 says 1
    too. On its grid the row is 2^24 0 -2^24."""
    a, b = array([2**24, 1, -2**24]), np.ones((3, 1), np.float32)
    assert not agree(ways(a, b, rng, [0, 2, 1]))
    assert agree(ways(coarse(a, 1).values, coarse(b, 0).values, rng, [0, 2, 1]))
    assert coarse(a, 1).values.tolist() == [[2**24, 0, -2**24]]


def test_a_product_that_is_not_exact_is_refused():
    """Norms of 2^12 and 2^12 are 2^24 together, float32's last whole number."""
    x = np.ones((3, 3), np.float32)
    assert (product(Grid(x, 2.0**12), Grid(x, 2.0**12)) == 3).all()
    with pytest.raises(AssertionError, match="3 features overflow the exact range of float32"):
        product(Grid(x, 2.0**12), Grid(x, 2.0**12 + 1))
    with pytest.raises(AssertionError, match="100 terms leave no room in a norm of 4"):
        on_grid(np.ones((1, 100), np.float32), 1, 4.0)
    with pytest.raises(AssertionError, match="100 terms leave no room in a norm of 4"):
        on_one_grid(np.ones((1, 100), np.float32), 4.0, 100)


def test_products_at_the_ends_of_float32_are_exact_too(rng):
    """Numbers of about 1e-23 and 1e-20, 200 terms of one sign: products of 1e-43 are multiples of 2^-149, and
    float32 would round each; the sums, 5e-41, are right to a 512th, and every order gives the same."""
    a = (rng.uniform(1, 2, (6, 200)) * 1e-23).astype(np.float32)
    b = (rng.uniform(1, 2, (200, 4)) * 1e-20).astype(np.float32)
    A, B = coarse(a, 1), coarse(b, 0)
    assert A.extreme and B.extreme and not coarse(np.ones((2, 2), np.float32), 0).extreme
    y, terms = product(A, B), rng.permutation(200)
    assert np.allclose(y, a.astype(float) @ b.astype(float), rtol=2**-9, atol=0)
    assert same(y, product(coarse(a[:, terms], 1), coarse(b[terms], 0)), product(B.T, A.T).T)
    one = on_one_grid(a, COARSE, 200)
    assert one.extreme and np.allclose(product(one, B), y, rtol=2**-8, atol=0)
    assert same(product(one, B), product(B.T, one.T).T)
    assert not same(y, (A.values[..., None] * B.values).sum(1))  # products in float32


@pytest.mark.parametrize("K", [16, 128, 129, 2560])
@pytest.mark.parametrize("outlier", [1, 100])
def test_a_fine_product_is_as_good_as_float32_and_each_column_is_on_its_own(K, outlier, rng):
    """Within 2e-6 of the largest, also where a feature is 100 times larger than the others."""
    a, b = rng.standard_normal((50, K)).astype(np.float32), rng.standard_normal((K, 30)).astype(np.float32)
    b[3] *= outlier
    y, real = fine_product(a, b), a.astype(float) @ b.astype(float)
    assert y.dtype == np.float32 and np.abs(y - real).max() < 2e-6 * np.abs(real).max()
    # the comparison is checked
    assert np.abs(fine_product(a, b * np.float32(1 + 4e-6)) - real).max() > 2e-6 * np.abs(real).max()
    assert all(same(y[:, [j]], fine_product(a, b[:, [j]])) for j in range(30))
    assert same(y, fine_product(fine(a, -1), b))
    terms = rng.permutation(K)
    assert same(y, fine_product(a[:, terms], b[terms]), fine_product(np.stack([-a, a]), b)[1])


def test_float64_is_on_no_grid(rng):
    """The gradient checker's numbers stay as they are, in every kind of operand."""
    a, b = rng.standard_normal((4, 5)), rng.standard_normal((5, 3))
    for grid in (coarse(a, 0), fine(a, 0), exact.fine_gradient(a), exact.rest_of(whole(b, 1, 0), a),
                 on_one_grid(a, 4.0, 5)):
        assert grid.values is a and grid.norm == 0
    assert fine_product(a, b).dtype == np.float64 and np.allclose(fine_product(a, b), a @ b, rtol=1e-14)
