"""A softmax's sums over keys: by pencil, against float64, and in every order of keys and queries."""
import numpy as np
import pytest

from bits import array, same
from minibitnet.exact_attention import shared_out, weighted_gradient, weighted_sums


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
        without = np.concatenate([e, 0 * e[..., :5, :]], -2)
        sums, Z, _ = weighted_sums(shared_out(more), without, slice(S - 1, S))
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
    as_they_come, in_another_order = last_query(v, e), last_query(v[..., [0, 2, 1]], e[..., [0, 2, 1], :])
    assert as_they_come.ravel().tolist() == in_another_order.ravel().tolist() == [1, 3]


@pytest.mark.parametrize("spread", [0, 20])
def test_sums_over_keys_agree_with_float64(spread, rng):
    """The mean of 300 values, sums / Z, within 1e-6 of the largest value."""
    v, e = keys_and_weights(rng, 300, spread=spread)
    sums, Z, _ = weighted_sums(shared_out(v), e, slice(299, 300))
    real_Z = e.sum(-2, keepdims=True, dtype=float)
    real = v.astype(float) @ e / real_Z
    assert np.abs(sums / Z - real).max() < 1e-6 * np.abs(v).max() and np.allclose(Z, real_Z, rtol=1e-9)
    e[..., np.abs(v).max((0, 1, 2)).argmax(), :] += np.float32(1e-3)
    changed = v.astype(float) @ e / real_Z
    assert np.abs(sums / Z - changed).max() > 1e-6 * np.abs(v).max(), "a changed weight is seen"


def test_values_by_pencil():
    """A key of 3 and -5 has the power 8: shares 0.375 and -0.625. The next, 1 and 0, has 1; the largest stays
    8. The key of zeros has float32's smallest power.

    Weights 1/2, 1 and 1: the sum of shares times weights times power is 3/2 + 1 = 2.5 and -5/2; Z = 2.5."""
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
    values = shared_out(np.ones((1, 1, 1, 3), np.float32))
    _, Z, e = weighted_sums(values, array(1, 2.0**-34, 3 * 2.0**-33).reshape(1, 1, 3, 1), slice(2, 3))
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
    g, e = v[..., :1], e[:, :1]
    assert np.allclose(weighted_gradient(g, e), g @ e.swapaxes(-1, -2), rtol=1e-13)


def test_the_gradient_of_sums_over_keys_depends_on_no_order_of_queries(rng):
    """g e^T with weights as ``weighted_sums`` gives them back: within 2^-13 of the largest, the same bits
    when the 64 queries come in another order."""
    g, order = rng.standard_normal((2, 1, 8, 64)).astype(np.float32), rng.permutation(64)
    v = rng.standard_normal((2, 1, 8, 80)).astype(np.float32)
    e = rng.uniform(0, 1, (2, 1, 80, 64)).astype(np.float32)
    _, _, e = weighted_sums(shared_out(v), e, slice(16, 80))
    dv, real = weighted_gradient(g, e), g.astype(float) @ e.swapaxes(-1, -2)
    assert np.abs(dv - real).max() < 2**-13 * np.abs(real).max()
    assert same(dv, weighted_gradient(g[..., order], e[..., order]))
