"""The exercises of notebook 08: the published solution is right under every seed, and each mistake that
people make is told by the property that it breaks. And the arrays that refuse floats refuse them."""
import numpy as np
import pytest
from solutions import solution

from minibitnet.course import exercise
from minibitnet.course.exercise import UNSOLVED, graded
from minibitnet.course.integers import EXERCISES, FloatMade, Whole, whole

STEM = "08_integers"


# ---- arrays that refuse floats

@pytest.mark.parametrize("operation", [
    lambda a: a / 2, lambda a: a * 0.5, lambda a: a.mean(), lambda a: np.mean(a), lambda a: np.sqrt(a),
    lambda a: a + np.uint64([1]), lambda a: a.astype(float), lambda a: a.sum(dtype=np.float64),
    lambda a: np.float32([1]) + a, lambda a: np.linspace(0, a[0], 3) + a, lambda a: np.where(a > 1, a, 0.5),
    lambda a: np.power(2.0, a), lambda a: (a // 2) / 3, lambda a: np.concatenate([a, np.zeros(2)])])
def test_a_float_is_refused(operation):
    with pytest.raises(FloatMade):
        operation(whole(np.array([1, 2, 3])))


@pytest.mark.parametrize("operation", [
    lambda a: a // 2, lambda a: a >> 1, lambda a: a * a, lambda a: np.divmod(a, 2)[0],
    lambda a: np.maximum(a, 2), lambda a: a.cumsum(), lambda a: a.astype(np.int8),
    lambda a: np.where(a > 1, a, 0), lambda a: np.einsum("i,j->ij", a, a), lambda a: a[::-1],
    lambda a: np.concatenate([a, a])])
def test_whole_numbers_pass_and_stay_watched(operation):
    a = np.array([1, 2, 3])
    result = operation(whole(a))
    assert type(result) is Whole and np.array_equal(result, operation(a))


def test_an_array_of_floats_cannot_be_whole():
    with pytest.raises(FloatMade, match="float64"):
        whole((np.array([1]), [np.array([0.5])]))


# ---- wrong answers: {exercise: {what is wrong: (a function, a piece of the sentence that says so)}}

def kind_for(worst_of, kinds=(np.int8, np.int16, np.int32, np.int64), most=lambda kind: np.iinfo(kind).max):
    return lambda m, lo, hi: next(kind for kind in kinds
                                  if kind is kinds[-1] or worst_of(m, lo, hi) <= most(kind))


def largest(m, lo, hi):
    return m * max(abs(lo), abs(hi))


def of_random_sums(m, lo, hi):
    rng = np.random.default_rng(0)
    few = min(m, 2000)
    return int(np.abs((rng.integers(-1, 2, (20, few)) * rng.integers(lo, hi + 1, (20, few))).sum(1)).max())


def by_logarithm(m, lo, hi):
    """The bits of 2^7 are 8; log2 says 7."""
    bits = int(np.log2(largest(m, lo, hi)))
    return next(kind for kind, places in ((np.int8, 7), (np.int16, 15), (np.int32, 31), (np.int64, 63))
                if bits <= places)


def until_nothing_changes(x):
    r = x + 1
    while True:
        following = (r + x // r) >> 1
        if following == r:
            return r
        r = following


def from_x(x):
    r = x
    while True:
        following = (r + x // r) >> 1
        if following >= r:
            return r
        r = following


def newton(x, steps, start):
    r = start(x)
    for _ in range(steps):
        r = (r + x // r) >> 1
    return r


def bisected(x):
    """Its middle is squared in 64 bits, where the square of 2^40 is 0."""
    x, low, high = np.int64(x), np.int64(0), np.int64(1 << 40)
    while high - low > 1:
        middle = (low + high) >> 1
        low, high = (middle, high) if middle * middle <= x else (low, middle)
    return int(low)


def power(d, table, cut=32 << 16, line=lambda left, right, j: left - ((left - right) * j >> 8), swap=False,
          neighbour=1):
    """exp2_neg with one thing changed."""
    d = np.minimum(d, cut) if cut else d
    octave, i, j = d >> 16, d >> 8 & 255, d & 255
    if swap:
        octave, i = d & 255, d >> 16 & 255
    value = line(table[i], table[i + neighbour], j)
    return (value + ((1 << octave) >> 1)) >> octave


def drawn(weights, r, side="right", kind=np.int64, order=1):
    up_to = np.asarray(weights).astype(kind)[::order].cumsum(dtype=kind)
    i = int(np.searchsorted(up_to, r, side=side))
    return i if order == 1 else len(weights) - 1 - i


def normed(x, gain, eps, axis=0, mean=False, late_gain=False, kind=np.int64, top=127, least=1, of_y=False,
           with_eps=True, toward=0):
    """token_codes with one thing changed."""
    x = x - x.sum(0) // len(x) if mean else x
    y = x if late_gain else x * gain[:, None]
    gamma = np.maximum(np.abs(y).max(axis, keepdims=True), least)
    codes = (2 * top * y + gamma) // (2 * gamma) if not toward else top * y // gamma
    codes = codes * gain[:, None] if late_gain else codes
    squared = y if of_y else x
    return codes.astype(np.int8), (squared * squared).sum(0, dtype=kind) + eps * with_eps


UP, NEAR = "halfway between two whole numbers goes up", "no whole number is nearer"
FITS, SMALL, SIGN = "the worst case fits", "of half the bits", "a sum may be negative"
ABOVE, BELOW = "at most x", "the next whole number times itself"
WRONG = {
    "round_shift": {
        "only >>": (lambda x, k: x >> k, UP),
        "toward zero": (lambda x, k: np.sign(x) * (np.abs(x) >> k), UP),
        "halves away from zero": (lambda x, k: np.sign(x) * (np.abs(x) + ((1 << k) >> 1) >> k), UP),
        "halves to even": (lambda x, k: (x + ((1 << k) >> 1) - (1 - (x >> k & 1)) * (k > 0)) >> k, UP),
        "halves down": (lambda x, k: -((-x + ((1 << k) >> 1)) >> k), UP),
        "1 added at k = 0": (lambda x, k: (x + (1 << max(0, k - 1))) >> k, "a shift by k = 0"),
        "half of the next power": (lambda x, k: (x + (1 << k)) >> k, NEAR),
        "a division by 2**k": (lambda x, k: np.floor(x / 2**k + 0.5).astype(np.int64), "no float is made"),
    },
    "smallest_type": {
        "one product only": (kind_for(lambda m, lo, hi: max(abs(lo), abs(hi))), FITS),
        "the sign forgotten": (kind_for(largest, most=lambda kind: 2 * np.iinfo(kind).max + 1), FITS),
        "a logarithm rounded down": (by_logarithm, FITS),
        "types without sign": (kind_for(largest, (np.uint8, np.uint16, np.uint32, np.uint64)), SIGN),
        "random sums": (kind_for(of_random_sums), FITS),
        "the likely size": (kind_for(lambda m, lo, hi: int(m**0.5) * max(abs(lo), abs(hi))), FITS),
        "hi alone": (kind_for(lambda m, lo, hi: m * abs(hi)), FITS),
        "weights of +1 alone": (kind_for(lambda m, lo, hi: max(m * hi, -m * lo - 1)), FITS),
        "always the largest": (lambda m, lo, hi: np.int64, SMALL),
        "twice the range": (kind_for(lambda m, lo, hi: 2 * largest(m, lo, hi)), SMALL),
    },
    "isqrt": {
        "a root of floats": (lambda x: int(x**0.5), ABOVE),
        "to the nearest": (lambda x: (r := solution(STEM, "isqrt")(x)) + (x - r * r > r), ABOVE),
        "until nothing changes": (until_nothing_changes, "had not ended"),
        "from x, which may be 0": (from_x, "raised"),
        "six steps": (lambda x: newton(x, 6, lambda x: x + 1), ABOVE),
        "one more": (lambda x: solution(STEM, "isqrt")(x) + 1, ABOVE),
        "one less": (lambda x: max(0, solution(STEM, "isqrt")(x) - 1), BELOW),
        "squares in 64 bits": (bisected, ABOVE),
        "only the power of 2 below it": (lambda x: 1 << (x.bit_length() - 1) // 2 if x else 0, BELOW),
        "not rounded down": (lambda x: float(solution(STEM, "isqrt")(x)), "is a whole number"),
    },
    "exp2_neg": {
        "the line rises": (lambda d, t: power(d, t, line=lambda a, b, j: a + ((a - b) * j >> 8)),
                           "from the first to"),
        "from the second entry": (lambda d, t: power(d, t, line=lambda a, b, j: b + ((a - b) * j >> 8)),
                                  "at whole exponents"),
        "the last 8 bits left out": (lambda d, t: power(d, t, line=lambda a, b, j: a), "its low 8 bits"),
        "octave and step exchanged": (lambda d, t: power(d, t, swap=True), "at whole exponents"),
        "no limit to the shift": (lambda d, t: power(d, t, cut=None), "never negative"),
        "a limit of 16 octaves": (lambda d, t: power(d, t, cut=16 << 16), "within 18 units"),
        "a limit of 25 octaves": (lambda d, t: power(d, t, cut=25 << 16), "never negative"),
        "the line of floats": (lambda d, t: power(d, t, line=lambda a, b, j: a - (a - b) * (j / 256)),
                               "no float"),
        "the power of floats": (lambda d, t: np.rint(2.0**(24 - d / 65536)).astype(np.int64), "no float"),
    },
    "choose_token": {
        "at least r": (lambda w, r: drawn(w, r, side="left"), "often as its weight"),
        "r up to the sum": (lambda w, r: drawn(w, r + 1), "the last index is never passed"),
        "sums of 32 bits": (lambda w, r: drawn(w, r, kind=np.int32), "the last index is never passed"),
        "sums of 32 bits, and the last one": (lambda w, r: min(drawn(w, r, kind=np.int32), len(w) - 1),
                                              "more than 31 bits"),
        "chances as floats": (lambda w, r: int((np.cumsum(w / w.sum()) <= r / w.sum()).sum()), "no float"),
        "always the likeliest": (lambda w, r: int(w.argmax()), "often as its weight"),
        "from the end": (lambda w, r: drawn(w, r, order=-1), "never chooses an earlier index"),
        "every index alike": (lambda w, r: r % len(w), "of weight 0 is never chosen"),
        "one before": (lambda w, r: max(0, drawn(w, r) - 1), "of weight 0"),
    },
    "token_codes": {
        "eps left out": (lambda *a: normed(*a, with_eps=False), "plus eps, exactly"),
        "eps subtracted": (lambda *a: normed(*a, with_eps=-1), "plus eps, exactly"),
        "the gain after the codes": (lambda *a: normed(*a, late_gain=True), "times their gains"),
        "gamma by feature": (lambda *a: normed(*a, axis=1), "of its token"),
        "one gamma for all tokens": (lambda *a: normed(*a, axis=(0, 1)), "gamma of its own"),
        "the mean subtracted": (lambda *a: normed(*a, mean=True), "nothing subtracted"),
        "S in 32 bits": (lambda *a: normed(*a, kind=np.int32), "32 bits may be too few"),
        "S after the gain": (lambda *a: normed(*a, of_y=True), "before the gain"),
        "codes up to 128": (lambda *a: normed(*a, top=128), "is 127 or -127"),
        "codes floored": (lambda *a: normed(*a, toward=1), "to the nearest"),
        "codes of 64 bits": (lambda *a: (normed(*a)[0].astype(np.int64), normed(*a)[1]),
                             "the codes are int8"),
        "zeros as ones": (
            lambda x, *a: (np.where(x.any(0), normed(x, *a)[0], np.int8(1)), normed(x, *a)[1]),
            "a token of zeros"),
        "a float scale": (lambda x, gain, eps: (np.rint(x * (127 / np.abs(x).max(0))), (x * x).sum(0)),
                          "no float"),
    },
}
ALL = [(name, mistake) for name, mistakes in WRONG.items() for mistake in mistakes]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """An endless loop ends after a second."""
    monkeypatch.setattr(exercise, "SECONDS", 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", EXERCISES)
def test_the_published_solution_is_right(name, seed):
    assert graded(name, EXERCISES[name], solution(STEM, name), seed).right


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_not_solved_yet(name):
    assert UNSOLVED in str(graded(name, EXERCISES[name], lambda *arguments: None))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name, mistake", ALL, ids=[f"{name}: {mistake}" for name, mistake in ALL])
def test_a_mistake_is_told_by_the_property_that_it_breaks(name, mistake, seed):
    wrong, sentence = WRONG[name][mistake]
    report = graded(name, EXERCISES[name], wrong, seed)
    assert not report.right and sentence in report.problem


def test_every_property_rejects_a_mistake_of_its_own():
    """And each exercise has five mistakes at least."""
    for name, of_name in EXERCISES.items():
        told = [graded(name, of_name, wrong).problem for wrong, _ in WRONG[name].values()]
        sentences = [" ".join(holds.__doc__.split()) for holds in of_name.properties]
        assert len(told) >= 5 and [s for s in sentences if not any(s in problem for problem in told)] == []
