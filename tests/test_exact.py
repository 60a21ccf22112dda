"""Every sum, product, function and random number of ``exact.py``: by pencil, against float64 or the
definition, and as bits that hold on every machine."""
import math
from types import SimpleNamespace

import numpy as np
import pytest

from minibitnet import exact
from minibitnet.exact import (COARSE, FINE, SHORT, Grid, Random, coarse, cos_sin, exp, fine, fine_product,
                              log, mean, on_grid, on_one_grid, product, whole)
from minibitnet.exact_attention import shared_out, weighted_gradient, weighted_sums

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def array(*numbers):
    return np.array(numbers, np.float32)


def same(*results):
    """Arrays of one shape and one type with the same bits."""
    return len({(x.shape, x.dtype, x.tobytes()) for x in results}) == 1


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
        A, B = {"coarse": lambda: (coarse(a, 1), coarse(b, 0)), "fine": lambda: (fine(a, 1), fine(b, 0)),
                "whole and the rest": lambda: (whole(codes, 127, 1),
                                               exact.rest_of(whole(codes, 127, 1), b, axis=0)),
                "whole and whole": lambda: (whole(codes, 127, 1), whole(ternary, 1, 0)),
                "one grid": lambda: (whole(ternary.T, 1, 1),
                                     exact.rest_of(whole(ternary.T, 1, 1), b))}[kind]()
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


# ---- a softmax's sums over keys

def keys_and_weights(rng, S=40, D=8, spread=20):
    """Values of S keys, of sizes from 2^-20 to 2^20 by key, and weights of the last query: two heads of 3
    queries."""
    v = rng.standard_normal((2, 1, D, S)) * 2.0 ** rng.integers(-spread, spread + 1, S)
    e = rng.uniform(0, 1, (2, 3, S, 1))
    e[..., 5, :], e[..., 6, :] = 1, 0
    return v.astype(np.float32), e.astype(np.float32)


def last_query(v, e):
    """``weighted_sums`` for the query that sees all keys that e has."""
    S = e.shape[-2]
    sums, Z, e = weighted_sums(shared_out(v), e, slice(S - 1, S))
    return np.concatenate([sums, Z], -2)


@pytest.mark.parametrize("spread", [0, 20])
def test_sums_over_keys_depend_on_no_order_no_other_key_and_no_batch(spread, rng):
    """Later keys, which the query may not see, are 2^30 times larger than all others, and have weight 0, or
    no weight yet."""
    for S in (7, 40, 150):
        v, e = keys_and_weights(rng, S, spread=spread)
        expected, order = last_query(v, e), rng.permutation(S)
        assert same(expected, last_query(v[..., order], e[..., order, :]))
        more = np.concatenate([v, v[..., :5] * 2**30], -1)
        assert same(expected, last_query(more, e))
        sums, Z, _ = weighted_sums(shared_out(more), np.concatenate([e, 0 * e[..., :5, :]], -2),
                                         slice(S - 1, S))
        assert same(expected, np.concatenate([sums, Z], -2))
        assert same(expected[1:], last_query(v[1:], e[1:]))
        assert same(expected[:, 1:2], last_query(v, e[:, 1:2]))


def test_a_query_with_earlier_ones_gives_what_it_gives_alone(rng):
    """Three queries at a time, each with weight 0 for the keys after it."""
    v, e = keys_and_weights(rng)
    e = e * np.triu(np.ones((40, 3), np.float32), -37)[None, None]
    sums, Z, _ = weighted_sums(shared_out(v), e, slice(37, 40))
    for t in range(3):
        assert same(np.concatenate([sums, Z], -2)[..., [t]], last_query(v, e[..., :38 + t, [t]]))


def test_sums_that_library_order_decides_would_be_found_out(rng):
    """The comparison is checked: added up in float32 from left to right, 2^24 1 -2^24 gives 0, and 2^24 -2^24
    1 gives 1."""
    v, e = array([2**24, 1, -2**24])[None, None], np.ones((1, 1, 3, 1), np.float32)
    assert np.cumsum(v, -1)[..., -1] == 0 and np.cumsum(v[..., [0, 2, 1]], -1)[..., -1] == 1
    assert last_query(v, e).ravel().tolist() == last_query(v[..., [0, 2, 1]],
                                                           e[..., [0, 2, 1], :]).ravel().tolist() == [1, 3]


@pytest.mark.parametrize("spread", [0, 20])
def test_sums_over_keys_agree_with_float64(spread, rng):
    """The mean of 300 values, sums / Z, within 1e-6 of the largest value."""
    v, e = keys_and_weights(rng, 300, spread=spread)
    sums, Z, _ = weighted_sums(shared_out(v), e, slice(299, 300))
    real_Z = e.sum(-2, keepdims=True, dtype=float)
    real = v.astype(float) @ e / real_Z
    assert np.abs(sums / Z - real).max() < 1e-6 * np.abs(v).max() and np.allclose(Z, real_Z, rtol=1e-9)
    e[..., np.abs(v).max((0, 1, 2)).argmax(), :] += np.float32(1e-3)
    # the comparison sees a changed weight
    assert np.abs(sums / Z - v.astype(float) @ e / real_Z).max() > 1e-6 * np.abs(v).max()


def test_values_by_pencil():
    """A key of 3 and -5 has the power 8: shares 0.375 and -0.625. The next, 1 and 0, has 1; the largest stays
    8. The key of zeros has float32's smallest power. Weights 1/2, 1 and 1: the sum of shares times weights
    times power is 3/2 + 1 = 2.5 and -5/2; Z = 2.5."""
    v = array([3, 1, 0], [-5, 0, 0])[None, None]
    values = shared_out(v)
    assert values.shares.tolist() == [[[[0.375, 1, 0], [-0.625, 0, 0]]]]
    assert values.key_power.ravel().tolist() == [8, 1, 2.0**-126]
    assert values.power_up_to.ravel().tolist() == [8, 8, 8]
    sums, Z, e = weighted_sums(values, array(0.5, 1, 1).reshape(1, 1, 3, 1), slice(2, 3))
    assert sums.ravel().tolist() == [2.5, -2.5] and Z.ravel().tolist() == [2.5] and e.dtype == np.float32


def test_weights_by_pencil():
    """1 stays, 2^-34 is a quarter of a unit and goes, 3 2^-33 is one and a half and becomes two; Z is the sum
    of what they became."""
    _, Z, e = weighted_sums(shared_out(np.ones((1, 1, 1, 3), np.float32)),
                                  array(1, 2.0**-34, 3 * 2.0**-33).reshape(1, 1, 3, 1), slice(2, 3))
    assert e.ravel().tolist() == [1, 0, 2.0**-31] and Z.ravel().tolist() == [1 + 2.0**-31]


def test_the_gradient_of_values_by_pencil():
    """2^32 units of a weight leave 2^21 for a sum over queries, 2^18 for the norm of 64, an eighth of it for
    one: less than 2^15 by the half that rounding takes. So beside a gradient of 1 the unit is 2^-14. 63
    gradients of 2^-14 add up exactly; of 2^-16, quarters of a unit, nothing is left."""
    e = np.ones((1, 1, 1, 64), np.float32)
    e[..., 0] = 0
    for size, left in ((2.0**-14, 63 * 2.0**-14), (2.0**-16, 0)):
        g = np.full((1, 1, 1, 64), size, np.float32)
        g[..., 0] = 1
        assert weighted_gradient(g, e).ravel().tolist() == [left]


def test_the_gradient_checkers_sums_are_not_rounded(rng):
    v, e = (x.astype(np.float64) for x in keys_and_weights(rng))
    v[0, 0, 0, 0], e[0, 0, 0, 0] = 1 / 3, 2.0**-50
    values = shared_out(v)
    sums, Z, kept = weighted_sums(values, e, slice(39, 40))
    assert values.shares is v and values.key_power is None and kept is e
    assert np.allclose(sums, v @ e, rtol=1e-13) and np.allclose(Z, e.sum(-2, keepdims=True), rtol=1e-14)
    assert np.allclose(weighted_gradient(v[..., :1], e[:, :1]), v[..., :1] @ e[:, :1].swapaxes(-1, -2),
                       rtol=1e-13)


def test_the_gradient_of_sums_over_keys_depends_on_no_order_of_queries(rng):
    """g e^T with weights as ``weighted_sums`` gives them back: within 2^-13 of the largest, the same bits
    when the 64 queries come in another order."""
    g, order = rng.standard_normal((2, 1, 8, 64)).astype(np.float32), rng.permutation(64)
    v, e = rng.standard_normal((2, 1, 8,
                                80)).astype(np.float32), rng.uniform(0, 1, (2, 1, 80, 64)).astype(np.float32)
    _, _, e = weighted_sums(shared_out(v), e, slice(16, 80))
    dv, real = weighted_gradient(g, e), g.astype(float) @ e.swapaxes(-1, -2)
    assert np.abs(dv - real).max() < 2**-13 * np.abs(real).max()
    assert same(dv, weighted_gradient(g[..., order], e[..., order]))


# ---- functions

def numbers(rng, size, n=4000):
    """n numbers of all sizes up to ``size`` and n evenly spread, of both signs, and 0."""
    x = size * np.exp(-rng.exponential(3, n)) * rng.choice([-1, 1], n)
    return np.r_[x, np.linspace(-size, size, n), 0.0]


def relative_error(y, real):
    return np.abs(y.astype(np.float64) - real) / real


@pytest.mark.parametrize("dtype, size, unit", [(F32, 80, 2.0**-23), (F64, 700, 2.0**-52)])
def test_exp_is_that_of_an_argument_within_a_last_bit(dtype, size, unit, rng):
    """What the product with log2 e rounds away is a last bit of x at most, and the few operations that follow
    round 3 units at most."""
    x = numbers(rng, size).astype(dtype)
    real, allowed = np.array([math.exp(float(a)) for a in x]), np.spacing(np.abs(x)) + 3 * unit
    assert (relative_error(exp(x), real) <= allowed).all() and exp(x).dtype == dtype
    assert exp(dtype.type([0])) == 1
    # the comparison is checked
    assert (relative_error(exp(x * dtype.type(1 + 4 * unit)), real) > allowed).any()


@pytest.mark.parametrize("dtype, low, high", [(F32, -88, 89), (F64, -709, 710)])
def test_exp_is_zero_infinite_or_nan_where_it_must_be(dtype, low, high):
    x = np.array([low, 2 * low, -1e30, -np.inf, high, 2 * high, 1e30, np.inf, np.nan], dtype)
    before = x.copy()
    assert np.array_equal(exp(x), [0, 0, 0, 0, np.inf, np.inf, np.inf, np.inf, np.nan], equal_nan=True)
    assert same(x, before)


@pytest.mark.parametrize("dtype, size, unit", [(F32, 80, 2.0**-23), (F64, 700, 2.0**-52)])
def test_sigmoid_is_its_definition(dtype, size, unit, rng):
    """1 / (1 + e^-x) has no larger relative error than e^-x, and two operations follow."""
    x = numbers(rng, size).astype(dtype)
    real = np.array([1 / (1 + math.exp(-float(a))) for a in x])
    assert (relative_error(exact.sigmoid(x), real) <= np.spacing(np.abs(x)) + 4 * unit).all()
    assert exact.sigmoid(dtype.type([0, 1000, -1000, -np.inf])).tolist() == [0.5, 1, 0, 0]
    assert np.isnan(exact.sigmoid(dtype.type([np.nan])))


def test_log_is_right_to_1e_15(rng):
    """Of numbers of every size, of those near 1, whose logarithm is small, and of the smallest, 5e-324."""
    x = np.r_[np.exp(rng.uniform(-700, 700, 4000)), 1 + rng.uniform(-0.01, 0.01, 1000), 1 + 2.0**-52,
              1 - 2.0**-53, 0.7071067811865475, 0.7071067811865476,
              5e-324, 1.7e308]
    real = np.array([math.log(a) for a in x])
    assert np.allclose(log(x), real, rtol=1e-15, atol=0)
    assert not np.allclose(log(x * (1 + 4e-15)), real, rtol=1e-15, atol=0)  # the comparison is checked
    single = x[np.abs(np.log10(x)) < 37].astype(np.float32)
    assert log(single).dtype == np.float32
    assert np.allclose(log(single), [math.log(float(a)) for a in single], rtol=2**-23, atol=0)


def test_log_of_what_has_none():
    assert np.array_equal(log(np.array([0, -0.0, -1, -np.inf, np.inf, np.nan, 1])),
                          [-np.inf, -np.inf, np.nan, np.nan, np.inf, np.nan, 0], equal_nan=True)


def test_a_python_float_stays_one():
    numbers = log(2.0), log(0.0), exact.exp_float(1.0), exact.power(2.0, 3)
    assert all(type(x) is float for x in numbers)
    assert log(2.0) == math.log(2) and exact.exp_float(0.0) == 1 and log(np.float32(2)).dtype == np.float32


def test_cos_and_sin_of_up_to_100_000(rng):
    """Within 1e-15: what is off by 2^-53 or so is the last rounding, ours and the system's. The parts of pi/2
    lose nothing, for n has fewer than 25 bits."""
    x = np.r_[numbers(rng, 1e5), np.arange(-40, 41) * (math.pi / 4)]
    cos, sin = cos_sin(x)
    assert np.allclose(cos, [math.cos(a) for a in x], rtol=0, atol=1e-15)
    assert np.allclose(sin, [math.sin(a) for a in x], rtol=0, atol=1e-15)
    assert not np.allclose(cos_sin(x * (1 + 2**-50))[1], sin, rtol=0, atol=1e-15)  # the comparison is checked
    assert cos_sin(np.float64(0)) == (1, 0)


def test_power_is_repeated_multiplication():
    """3^5 = 243; 0.95^100 within 100 roundings; x^0 = 1."""
    assert exact.power(3.0, 5) == 243 and exact.power(2.0, 40) == 2**40 and exact.power(7.5, 0) == 1
    assert exact.power(7.5, 1) == 7.5
    assert math.isclose(exact.power(0.95, 100), 0.95**100, rel_tol=100 * 2**-53)


# ---- the promise: these bits, on every machine

GOLDEN = {
    "exp, float32": (lambda: exp(np.float32([-87, -10, -0.1, 1, 30.5, 88])),
        "0x1.666d420000000p-126 0x1.7cd79a0000000p-15 0x1.cf46da0000000p-1 "
        "0x1.5bf0a60000000p+1 0x1.0063e40000000p+44 "
        "0x1.f105320000000p+126"),
    "exp, float64": (lambda: exp(np.array([-700, -10, -0.1, 1, 30.5, 700])),
        "0x1.14f2b0fb93115p-1010 0x1.7cd79b5647c97p-15 0x1.cf46d99d52b3ap-1 "
        "0x1.5bf0a8b145769p+1 0x1.0063f4e687b9ep+44 "
        "0x1.d945df4f8eb8ep+1009"),
    "sigmoid": (lambda: exact.sigmoid(np.float32([-20, -1, 0.3, 5])),
        "0x1.1b48640000000p-29 0x1.1365620000000p-2 0x1.261d560000000p-1 0x1.fc92c20000000p-1"),
    "log": (lambda: log(np.array([5e-324, 0.1, 0.999, 2, 3, 1e300])),
        "-0x1.74385446d71c3p+9 -0x1.26bb1bbb55515p+1 -0x1.064670d979b73p-10 "
        "0x1.62e42fefa39efp-1 0x1.193ea7aad030ap+0 "
        "0x1.5963447f87fb5p+9"),
    "cos and sin": (lambda: np.ravel(cos_sin(np.array([0.5, 3, 100, -12345.678]))),
        "0x1.c1528065b7d50p-1 -0x1.fae04be85e5d2p-1 0x1.b981dbf665fe0p-1 "
        "0x1.6b94c3bbe24b8p-1 0x1.eaee8744b05f0p-2 0x1.210386db6d55bp-3 "
        "-0x1.03425b78c4db8p-1 0x1.687d5890974a5p-1"),
    "power": (lambda: [exact.power(0.95, 100), exact.power(0.9, 7)],
        "0x1.8401ff6058456p-8 0x1.e9c6a99d1cdc0p-2"),
    "uniform": (lambda: Random(0).random(3),
        "0x1.461fd79fb3850p-1 0x1.1442f7e20b674p-2 0x1.4fa7b529d9bd0p-5"),
    "normal": (lambda: Random(0).standard_normal((5,)),
        "0x1.6a772a40dc53ap+0 0x1.3a601577f5bcfp-2 0x1.f99c1e0c69d74p-3 "
        "0x1.2e36624cc56f0p-3 -0x1.76599b90d0821p-1"),
}

@pytest.mark.parametrize("what", GOLDEN)
def test_golden_bits(what):
    made, expected = GOLDEN[what]
    assert [float(x).hex() for x in made()] == expected.split()


def test_golden_whole_numbers():
    assert Random([1, 2]).integers(1000, 5).tolist() == [682, 571, 673, 399, 210]
    assert Random(3).permutation(6).tolist() == [0, 4, 1, 5, 3, 2]


# ---- random numbers

def words(*values):
    """In place of PCG64: these words, in this order."""
    left = list(values)

    def random_raw(size=None):
        drawn = [left.pop(0) for _ in range(size or 1)]
        return drawn[0] if size is None else np.array(drawn, np.uint64)
    return SimpleNamespace(random_raw=random_raw)


def with_words(*values):
    rng = Random(0)
    rng.words = words(*values)
    return rng


def test_words_are_those_of_pcg64():
    """Which NumPy promises to keep; one seed or several."""
    assert np.random.PCG64(0).random_raw(2).tolist() == [11749869230777074271, 4976686463289251617]
    for seed in (5, [3, 4]):
        raw = np.random.PCG64(seed).random_raw(10)
        assert Random(seed).words.random_raw(10).tolist() == raw.tolist()
        assert Random(seed).random(10).tolist() == ((raw >> 11) * 2.0**-53).tolist()
    rng = Random(5)
    assert [rng.random(), rng.random()] == Random(5).random(2).tolist() and type(rng.random()) is float
    assert type(rng.integers(9)) is int


def test_a_uniform_number_is_the_upper_53_bits_of_a_word():
    """0 and 2^11 - 1 give 0, 2^11 gives 2^-53, the largest word 1 - 2^-53."""
    assert with_words(0, 2**11 - 1, 2**11, 2**64 - 1).random(4).tolist() == [0, 0, 2.0**-53, 1 - 2.0**-53]


def test_integers_throw_away_the_words_of_an_incomplete_tuple():
    """2^64 = 3 * 6148914691236517205 + 1: the largest word has no two others. 2^64 has two whole 3 2^61, up
    to 3 2^62. Of 2^20 and of 1 no word is thrown away."""
    assert with_words(4, 2**64 - 1, 2**64 - 2, 5).integers(3, 3).tolist() == [1, 2, 2]
    assert with_words(2**64 - 1, 3 * 2**62, 3 * 2**62 - 1).integers(3 * 2**61) == 3 * 2**61 - 1
    assert with_words(2**64 - 1).integers(2**20) == 2**20 - 1 and with_words(2**64 - 1).integers(1) == 0


def test_integers_are_uniform():
    """700 of each of seven among 4,900, within five standard errors of sqrt(4900 6/49) = 24.5."""
    drawn = Random(1).integers(7, 4900)
    assert drawn.dtype == np.int64 and np.abs(np.bincount(drawn, minlength=7) - 700).max() < 5 * 24.5
    rng = Random(1)
    assert [rng.integers(7) for _ in range(20)] == drawn[:20].tolist()


def test_a_permutation_is_one():
    """Words 7 9 2 sort to 2 7 9, which are numbers 2 0 1; equal words stay in their order."""
    assert with_words(7, 9, 2).permutation(3).tolist() == [2, 0, 1]
    assert with_words(4, 4, 4).permutation(3).tolist() == [0, 1, 2]
    assert sorted(Random(2).permutation(1000)) == list(range(1000))
    assert Random(2).permutation(0).tolist() == []
    assert Random(2).permutation(1000).tolist() != list(range(1000))


def test_normal_numbers_by_pencil():
    """u = 0 gives log 1 = 0, so both are 0. u = 1 - 2^-53 gives sqrt(-2 log 2^-53) = sqrt(106 log 2) =
    8.57167, the largest; v = 1/4 turns it to (0, 8.57)."""
    assert np.abs(with_words(0, 2**62).standard_normal((2,))).tolist() == [0, 0]
    z = with_words(2**64 - 1, 2**62).standard_normal((1, 2))
    assert np.allclose(z, [[0, math.sqrt(106 * math.log(2))]], atol=1e-14) and z.shape == (1, 2)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 4), (0, 3), (2**14 + 1,), (3 * 2**14 - 1, 1)])
def test_normal_numbers_come_in_every_shape(shape):
    z = Random(3).standard_normal(shape)
    assert z.shape == shape and z.dtype == np.float64 and np.isfinite(z).all()
    assert len(set(z.ravel().tolist())) == z.size


def test_normal_numbers_have_the_moments_of_normal_numbers():
    """Mean 0, variance 1, third moment 0, fourth 3, with standard errors sqrt(1 / n), sqrt(2 / n), sqrt(15 /
    n), sqrt(96 / n); a number and its partner, and a number and the next one, are not correlated."""
    z = Random(4).standard_normal((100_000,))
    n, half = len(z), 2**13                                    # partners are half of 2^14 apart
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 5 * math.sqrt(variance / n)
    blocks = z[:6 * 2 * half].reshape(6, 2, half)
    assert abs((blocks[:, 0] * blocks[:, 1]).mean()) < 5 / math.sqrt(6 * half)
    assert abs((z[1:] * z[:-1]).mean()) < 5 / math.sqrt(n)
    assert abs((blocks[:, 0] ** 2 * blocks[:, 1] ** 2).mean() - 1) < 5 * math.sqrt(8 / (6 * half))


def test_log_of_whole_numbers_is_a_float_too():
    """Not cut off to a whole number: log 10 = 2.30, of an array, an element or a number."""
    tens = np.array([10, 1])
    assert log(tens).tolist() == [log(10.0), 0] and log(tens).dtype == log(tens[0]).dtype == np.float64
    assert log(tens[0]) == log(10) == log(10.0)


def test_no_whole_number_takes_no_word():
    """An empty draw, from which the next one continues as if it had not been."""
    rng = Random(0)
    assert rng.integers(5, size=0).tolist() == [] and rng.integers(5, size=0).dtype == np.int64
    assert rng.integers(5, size=3).tolist() == Random(0).integers(5, size=3).tolist()
