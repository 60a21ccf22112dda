"""The exercises of notebook 08: whole numbers alone; and arrays that refuse a float."""
import copy

import numpy as np

from ..exact import LN2, exp
from ..inference.fixed_point import EXP2_TABLE
from .exercise import Exercise


class FloatMade(Exception):
    """A float among the arguments or the results of an operation that may have none."""


class Whole(np.ndarray):
    """An array of whole numbers that raises FloatMade where an operation takes or makes a float. What comes
    out is such an array again. ``Whole.seen`` counts the operations by name."""
    seen = {}

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        Whole.seen[ufunc.__name__] = Whole.seen.get(ufunc.__name__, 0) + 1
        plain = {name: bare(value) for name, value in options.items()}
        return refusing(ufunc.__name__, getattr(ufunc, method)(*map(bare, inputs), **plain), *inputs)

    def __array_function__(self, function, types, args, options):
        return refusing(function.__name__, super().__array_function__(function, types, args, options), *args)

    def astype(self, dtype, **options):
        return refusing("astype", bare(self).astype(dtype, **options))


def bare(x):
    """A Whole array as a plain one, also in a tuple."""
    return tuple(map(bare, x)) if type(x) is tuple else x.view(np.ndarray) if isinstance(x, Whole) else x


def refusing(name, result, *inputs):
    """The result as Whole, or FloatMade."""
    for what, parts in (("takes", inputs), ("makes", result if isinstance(result, tuple) else (result,))):
        for part in parts:
            kind = getattr(part, "dtype", type(part).__name__)
            if np.dtype(kind).kind in "fc" if isinstance(kind, np.dtype) else kind in ("float", "complex"):
                raise FloatMade(f"{name} {what} a {kind}")
    return whole(result)


def whole(x):
    """x, its arrays as Whole, also inside of tuples, lists and objects with attributes."""
    if isinstance(x, np.ndarray):
        if x.dtype.kind in "fc":
            raise FloatMade(f"an array of {x.dtype}")
        return x.view(Whole)
    if isinstance(x, tuple | list):
        parts = [whole(part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return x


def whole_engine(engine):
    """A copy of an IntegerModel whose arrays are Whole; its configuration, the sizes, is the same."""
    ours = copy.copy(engine)
    vars(ours).update({name: whole(value) for name, value in vars(engine).items() if name != "config"})
    return ours


# ---- how all exercises are called

def watched(fn, *arguments):
    """fn's answer to Whole arrays, as plain arrays; or the FloatMade that it raised."""
    try:
        return bare(fn(*map(whole, arguments)))
    except FloatMade as e:
        return e


def no_float(*arguments_and_answer):
    """no float is made on the way, nor comes out in the end: / makes one, and so do .mean(), np.sqrt and a
    power with a negative exponent; //, >>, << and * do not"""
    parts = arguments_and_answer[-1]
    return all(not isinstance(part, FloatMade) and np.asarray(part).dtype.kind in "iu"
               for part in (parts if isinstance(parts, tuple | list) else (parts,)))


def draw(rng, n, bits):
    """n whole numbers of either sign, of every length up to so many bits."""
    return (rng.integers(1 << bits, n) >> rng.integers(bits, n)) * (1 - 2 * rng.integers(2, n))


# ---- rounding

def shifts(rng):
    """x (n,) int64 and k: halves of both signs, k = 0, then large numbers."""
    for x in ([5, -5, 7, -7, 4, 0, 1, -1], [1, 2, 3, 6, -2, -6, 10, -10, 11, -11]):
        for k in (1, 0, 2):
            yield np.int64(x), k
    for k in (3, 9, 30):
        yield draw(rng, 50, 40), k


def zero_changes_nothing(x, k, answer):
    "a shift by k = 0 changes nothing"
    return k > 0 or np.array_equal(answer, x)


def is_nearest(x, k, answer):
    "no whole number is nearer to x / 2^k than the answer, for negative x too"
    return (2 * np.abs((answer << k) - x) <= 1 << k).all()


def halves_go_up(x, k, answer):
    "what lies halfway between two whole numbers goes up, to the greater one: of negative numbers too"
    return (2 * (x - (answer << k)) < 1 << k).all()


# ---- a bound

SIGNED = [np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)]


def sums(rng):
    """m, lo, hi: bounds at which a type just holds, or just does not."""
    yield 4, -3, 5
    yield 352, -127, 127
    yield 1, -128, 127
    yield 258, -127, 127
    yield 1, -127, 127
    yield 128, 0, 256
    yield 16_909_320, -127, 127
    yield 16_909_321, -127, 127
    yield 2, -(1 << 30), 5
    for _ in range(6):
        lo, hi = np.sort(draw(rng, 2, 20)).tolist()
        yield rng.integers(5000) + 1, lo, hi


def worst(m, lo, hi):
    """The largest |sum| of m products of a code with a value from lo to hi."""
    return m * max(abs(lo), abs(hi))


def a_signed_type(m, lo, hi, answer):
    "the answer is one of np.int8, int16, int32 and int64: a sum may be negative, for a code may be -1"
    return np.dtype(answer) in SIGNED


def the_worst_case_fits(m, lo, hi, answer):
    """the worst case fits: all m products as large as one can be, and their negative too. Nothing is said of
    what is likely, and a value that 7 bits hold needs an eighth for its sign"""
    return worst(m, lo, hi) <= np.iinfo(answer).max


def no_smaller_type_does(m, lo, hi, answer):
    "a type of half the bits would not hold the worst case, or there is none"
    bits = np.dtype(answer).itemsize * 4
    return bits < 8 or worst(m, lo, hi) >= 1 << bits - 1


# ---- a root

def squares(rng):
    """Whole numbers at, below and above squares, up to 2^62."""
    yield from [(16,), (2,), (3,), (8,), (15,), (1,), (0,), (99,), (10**12,), (2**53 - 1,), (2**62 - 1,)]
    yield from [((2**30 + 1)**2 - 1,), ((2**31 - 1)**2 - 1,)]
    for r in rng.integers(2**31 - 1, 6).tolist():
        yield (r * r + rng.integers(2),)
        yield (max(0, r * r - 1),)


def a_whole_number(x, answer):
    "the answer is a whole number, at least 0"
    return isinstance(answer, int | np.integer) and answer >= 0


def not_above_the_root(x, answer):
    "the answer times itself is at most x, also where x has more bits than the 53 that a float holds"
    return int(answer)**2 <= x


def not_below_the_root(x, answer):
    "the next whole number times itself is above x"
    return (int(answer) + 1)**2 > x


# ---- a power of two

def exponents(rng):
    """d (n,) with 16 bits after the point, and the table (257,)."""
    yield np.arange(0, 5 << 16, 1 << 15), EXP2_TABLE
    yield np.arange(0, 2 << 16, 97), EXP2_TABLE
    yield np.sort(rng.integers(26 << 16, 500)), EXP2_TABLE
    yield np.arange(0, 100 << 16, 3 << 14), EXP2_TABLE


def octaves_halve(d, table, answer):
    "at whole exponents the answer is exact: 2^24 at 0, and half of it with each further 65,536"
    at = (d & 0xFFFF == 0) & (d < 25 << 16)
    return np.array_equal(answer[at] << (d[at] >> 16), np.full(at.sum(), 1 << 24))


def never_rises(d, table, answer):
    """where d grows, the answer does not: between two entries of the table the line falls from the first to
    the second"""
    return (np.diff(answer) <= 0).all()


def fades_away(d, table, answer):
    "the answer is never negative, and from 26 octaves on it is 0, however large d is"
    return (answer >= 0).all() and not answer[d >= 26 << 16].any()


def as_close_as_a_line(d, table, answer):
    "the answer is within 18 units of 2^-24 of the true power, at any d: its low 8 bits count as well"
    true = exp(np.minimum(d, 40 << 16) * (-LN2 / 65536)) * 2**24
    return (np.abs(answer - true) <= 18).all()


# ---- a draw

def chances(rng):
    """weights (V,) int64, and draws r from 0 to their sum - 1."""
    yield np.int64([2, 0, 3]), list(range(5))
    yield np.int64([0, 0, 1, 0]), [0]
    yield np.int64([0, 4, 1, 1, 0, 2, 0]), list(range(8))
    w = rng.integers(6, 9)
    yield w, list(range(int(w.sum())))
    large = rng.integers(1 << 24, 500) + (1 << 23)
    yield large, np.sort(rng.integers(int(large.sum()), 50)).tolist()


def each(fn, weights, rs):
    """The answers to all r, or None where one is."""
    answers = [watched(fn, weights, r) for r in rs]
    return None if any(answer is None for answer in answers) else answers


def is_an_index(weights, rs, answers):
    "every answer is the index of a weight: r is below the sum, so the last index is never passed"
    return all(0 <= int(i) < len(weights) for i in answers)


def never_one_of_weight_0(weights, rs, answers):
    "an index of weight 0 is never chosen"
    return all(weights[int(i)] > 0 for i in answers)


def in_order(weights, rs, answers):
    "a greater r never chooses an earlier index"
    return all(int(a) <= int(b) for a, b in zip(answers, answers[1:]))


def as_often_as_its_weight(weights, rs, answers):
    "over all r from 0 to the sum less 1, each index is chosen exactly as often as its weight says"
    n = np.bincount(np.int64([int(i) for i in answers]), minlength=len(weights))
    return len(rs) < weights.sum() or np.array_equal(n, weights)


def below_r_and_above(weights, rs, answers):
    """the weights before the index add up to at most r, and with its own to more: also where the sum has more
    than 31 bits"""
    before = np.concatenate([[0], np.cumsum(weights)])
    return all(before[int(i)] <= r < before[int(i) + 1] for i, r in zip(answers, rs))


# ---- a norm and its codes

def tokens(rng):
    """x (m, T) int64, gain (m,), eps."""
    one = np.int64([[3145728], [-1048576], [524288], [2097152]])
    yield one, np.int64([1, 1, 1, 1]), 0
    yield np.concatenate([one, 0 * one, -8 * one], 1), np.int64([1, 2, 1, 3]), 5
    for m, T in ((7, 3), (30, 5)):
        x = draw(rng, m * T, 22).reshape(m, T)
        yield x + rng.integers(1 << 20), rng.integers(1000, m) + 1, rng.integers(1 << 40)


def shapes_and_types(x, gain, eps, answer):
    "the codes are int8 with the shape of x, and there is one S for each token, a column of x"
    codes, S = answer
    return codes.dtype == np.int8 and codes.shape == x.shape and S.shape == x.shape[1:]


def zeros_stay_zeros(x, gain, eps, answer):
    "a token of zeros has codes of 0, whatever the others are"
    return not answer[0][:, ~x.any(0)].any()


def one_is_127(x, gain, eps, answer):
    "in every token that is not all zeros the largest code is 127 or -127: each token has a gamma of its own"
    return (np.abs(answer[0].astype(int)).max(0)[x.any(0)] == 127).all()


def codes_of_what_the_gain_made(x, gain, eps, answer):
    """the codes are those of absmax, of the features times their gains, with nothing subtracted: each is
    rounded to the nearest, in its proportion to the largest magnitude of its token"""
    y = x * gain[:, None]
    gamma = np.maximum(np.abs(y).max(0), 1)
    return (2 * np.abs(answer[0] * gamma - 127 * y) <= gamma).all()


def exact_sum_of_squares(x, gain, eps, answer):
    "S is the sum of the squares of x itself, before the gain, plus eps, exactly: 32 bits may be too few"
    exact = (x.astype(object)**2).sum(0) + eps
    return answer[1].tolist() == exact.tolist()


EXERCISES = {
    "round_shift": Exercise("x (n,) int64, k -> (n,) int64", shifts, (
        no_float, zero_changes_nothing, is_nearest, halves_go_up), watched),
    "smallest_type": Exercise("m, lo, hi -> np.int8, np.int16, np.int32 or np.int64", sums, (
        a_signed_type, the_worst_case_fits, no_smaller_type_does)),
    "isqrt": Exercise("x, a whole number below 2^62 -> a whole number", squares, (
        a_whole_number, not_above_the_root, not_below_the_root)),
    "exp2_neg": Exercise("d (n,) int64, table (257,) int64 -> (n,) int64", exponents, (
        no_float, octaves_halve, fades_away, never_rises, as_close_as_a_line), watched),
    "choose_token": Exercise("weights (V,) int64, r, a whole number below their sum -> index", chances, (
        no_float, is_an_index, never_one_of_weight_0, in_order, as_often_as_its_weight, below_r_and_above),
        each),
    "token_codes": Exercise("x (m, T) int64, gain (m,) int64, eps -> (codes (m, T) int8, S (T,) int64)",
                            tokens, (no_float, shapes_and_types, zeros_stay_zeros, one_is_127,
                                     codes_of_what_the_gain_made, exact_sum_of_squares), watched),
}
