"""The functions and random numbers of ``exact.py``: against the definition, and as bits that hold on every
machine."""
import math
from types import SimpleNamespace

import numpy as np
import pytest

from bits import F32, F64, same
from minibitnet import exact
from minibitnet.exact import Random, cos_sin, exp, log

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


def test_log_of_whole_numbers_is_a_float_too():
    """Not cut off to a whole number: log 10 = 2.30, of an array, an element or a number."""
    tens = np.array([10, 1])
    assert log(tens).tolist() == [log(10.0), 0] and log(tens).dtype == log(tens[0]).dtype == np.float64
    assert log(tens[0]) == log(10) == log(10.0)


# ---- the promise: these bits, on every machine

GOLDEN = {
    "exp, float32": (lambda: exp(np.float32([-87, -10, -0.1, 1, 30.5, 88])),
        "0x1.666d420000000p-126 0x1.7cd79a0000000p-15 0x1.cf46da0000000p-1 "
        "0x1.5bf0a60000000p+1 0x1.0063e40000000p+44 0x1.f105320000000p+126"),
    "exp, float64": (lambda: exp(np.array([-700, -10, -0.1, 1, 30.5, 700])),
        "0x1.14f2b0fb93115p-1010 0x1.7cd79b5647c97p-15 0x1.cf46d99d52b3ap-1 "
        "0x1.5bf0a8b145769p+1 0x1.0063f4e687b9ep+44 0x1.d945df4f8eb8ep+1009"),
    "sigmoid": (lambda: exact.sigmoid(np.float32([-20, -1, 0.3, 5])),
        "0x1.1b48640000000p-29 0x1.1365620000000p-2 0x1.261d560000000p-1 0x1.fc92c20000000p-1"),
    "log": (lambda: log(np.array([5e-324, 0.1, 0.999, 2, 3, 1e300])),
        "-0x1.74385446d71c3p+9 -0x1.26bb1bbb55515p+1 -0x1.064670d979b73p-10 "
        "0x1.62e42fefa39efp-1 0x1.193ea7aad030ap+0 0x1.5963447f87fb5p+9"),
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


def test_no_whole_number_takes_no_word():
    """An empty draw, from which the next one continues as if it had not been."""
    rng = Random(0)
    assert rng.integers(5, size=0).tolist() == [] and rng.integers(5, size=0).dtype == np.int64
    assert rng.integers(5, size=3).tolist() == Random(0).integers(5, size=3).tolist()
