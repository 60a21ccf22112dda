"""The exercises of notebook 01: the published solution is right under every seed, and each mistake that
people make is told by the property that it breaks."""
import numpy as np
import pytest
from solutions import solution

from minibitnet.course.exercise import UNSOLVED, graded
from minibitnet.course.quantizers import EXERCISES
from minibitnet.quant import absmax_int8, absmean_ternary, sign_binary

STEM = "01_quantizers"
SEEDS = range(3)


# ---- wrong answers: {exercise: {what is wrong: (a function, a piece of the sentence that says so)}}

def ternary(size=lambda a: a.mean(), rounded=np.rint, clip=1, eps=1e-5):
    """ternarize with one thing changed."""
    def answer(w):
        scale = np.maximum(size(np.abs(w)), eps)
        return np.clip(rounded(w / scale), -clip, clip), scale
    return answer


def ternary_of(change):
    """What the library gives, changed."""
    return lambda w: change(w, *absmean_ternary(w))


def written_over(w):
    w /= max(np.abs(w).mean(), 1e-5)
    return np.clip(np.rint(w), -1, 1), 1.0


def binary(border=lambda w: w.mean(), above=np.greater, size=lambda w, border: np.abs(w).mean(), low=-1):
    """binarize with one thing changed."""
    return lambda w: (np.where(above(w, border(w)), 1, low), np.maximum(size(w, border(w)), 1e-5))


def int8(axis=0, Q_b=127, size=np.abs, rounded=np.rint, eps=1e-5):
    """absmax_codes with one thing changed."""
    def answer(x):
        scale = np.maximum(size(x).max(axis, keepdims=True), eps) / Q_b
        return rounded(x / scale), scale
    return answer


def int8_of(change):
    return lambda x: change(x, *absmax_int8(x))


def shares(codes, symbols=None):
    return np.array([(codes == s).mean() for s in (np.unique(codes) if symbols is None else symbols)])


def entropy(p):
    return -(p * np.log2(p)).sum()


def bincounted(codes):
    return entropy(np.bincount(codes.ravel()) / codes.size)


def kept_above(threshold, scale=lambda w, kept: np.abs(w)[kept].mean()):
    """Codes of what is above a threshold, with a scale."""
    def answer(w):
        kept = np.abs(w) > threshold(w)
        return np.sign(w) * kept, scale(w, kept)
    return answer


def best_by(score):
    """least_error_ternary that keeps the k largest for which a score is highest."""
    def answer(w):
        a = np.sort(np.abs(w).ravel().astype(float))[::-1]
        k = np.arange(1, a.size + 1)
        best = score(k, np.cumsum(a) / k).argmax()
        return np.sign(w) * (np.abs(w) >= a[best]), a[:best + 1].mean()
    return answer


def by_turns(w):
    """Codes for the scale, the scale for the codes, until nothing changes (Lloyd's algorithm)."""
    codes, scale = absmean_ternary(w)
    for _ in range(100):
        codes = np.clip(np.rint(w / scale), -1, 1)
        scale = np.abs(w)[codes != 0].mean()
    return codes, scale


WRONG = {
    "ternarize": {
        "the largest for the mean": (ternary(np.max), "adds up to as much"),
        "the median for the mean": (ternary(np.median), "adds up to as much"),
        "the root of the mean square": (ternary(lambda a: np.sqrt((a * a).mean())), "adds up to as much"),
        "the mean without magnitudes": (
            lambda w: (np.clip(np.rint(w / w.mean()), -1, 1), w.mean()), "adds up to as much"),
        "everything negated": (ternary_of(lambda w, codes, scale: (-codes, -scale)), "above 0"),
        "the reciprocal of the scale": (ternary_of(lambda w, codes, scale: (codes, 1 / scale)),
                                        "adds up to as much"),
        "a scale for each row": (ternary(lambda a: a.mean(1, keepdims=True)), "serves the whole matrix"),
        "halves upwards": (ternary(rounded=lambda x: np.floor(x + 0.5)), "exactly halfway"),
        "halves away from zero": (ternary(rounded=lambda x: np.trunc(x + np.copysign(0.5, x))),
                                  "exactly halfway"),
        "the fraction cut off": (ternary(rounded=np.trunc), "is nearer"),
        "signs for codes": (ternary(rounded=np.sign), "is nearer"),
        "nothing is cut off": (ternary(clip=np.inf), "-1, 0 or +1"),
        "not rounded": (ternary(rounded=lambda x: x), "-1, 0 or +1"),
        "values for codes": (ternary_of(lambda w, codes, scale: (codes * scale, scale)), "-1, 0 or +1"),
        "no smallest scale": (ternary(eps=0), "nothing but zeros"),
        "the scale first": (ternary_of(lambda w, codes, scale: (scale, codes)), "a pair"),
        "the codes alone": (ternary_of(lambda w, codes, scale: codes), "a pair"),
        "into its input": (written_over, "nothing is written"),
    },
    "binarize": {
        "np.sign": (lambda w: (np.sign(w - w.mean()), max(np.abs(w).mean(), 1e-5)), "no third one"),
        "zero and one": (binary(low=0), "no third one"),
        "the average is added back": (lambda w: (sign_binary(w).codes * np.abs(w).mean() + w.mean(),
                                                 max(np.abs(w).mean(), 1e-5)), "no third one"),
        "the border is zero": (binary(border=lambda w: 0), "above the matrix's average"),
        "the border is the median": (binary(border=np.median), "above the matrix's average"),
        "the border is the mean magnitude": (binary(border=lambda w: np.abs(w).mean()), "above the matrix's"),
        "turned round": (binary(above=np.less_equal), "above the matrix's average"),
        "not smaller for larger": (binary(above=np.greater_equal), "equals the average"),
        "magnitudes of W - alpha": (binary(size=lambda w, a: np.abs(w - a).mean()), "adds up to as much"),
        "a scale of one": (binary(size=lambda w, a: 1.0), "adds up to as much"),
        "the mean for its magnitude": (binary(size=lambda w, a: abs(w.mean())), "adds up to as much"),
        "a scale for each row": (binary(size=lambda w, a: np.abs(w).mean(1)), "serves the whole matrix"),
        "minus the average": (lambda w: (sign_binary(w).codes, -abs(w.mean()) - 1e-5), "above 0"),
        "no smallest scale": (lambda w: (sign_binary(w).codes, np.abs(w).mean()), "nothing but zeros"),
        "codes as a list of all": (lambda w: (sign_binary(w).codes.ravel(), sign_binary(w).scale), "a pair"),
    },
    "absmax_codes": {
        "128": (int8(Q_b=128), "signed byte"),
        "126": (int8(Q_b=126), "largest code"),
        "four bits": (int8(Q_b=7), "largest code"),
        "a scale for each feature": (int8(axis=1), "for each token"),
        "a scale for all": (int8(axis=None), "for each token"),
        "one scale, written for each token": (
            lambda x: (int8(axis=None)(x)[0], np.tile(int8(axis=None)(x)[1], (1, x.shape[1]))),
            "largest code"),
        "the axis is not kept": (int8_of(lambda x, codes, scale: (codes, scale[0])), "for each token"),
        "the largest without magnitudes": (int8(size=np.array), "signed byte"),
        "the mean for the largest": (lambda x: (np.rint(x / (np.abs(x).mean(0, keepdims=True) + 1e-5) * 127),
                                                (np.abs(x).mean(0, keepdims=True) + 1e-5) / 127),
                                     "signed byte"),
        "the fraction cut off": (int8(rounded=np.trunc), "half a scale"),
        "halves upwards": (int8(rounded=lambda x: np.floor(x + 0.5)), "halfway between two codes"),
        "halves away from zero": (int8(rounded=lambda x: np.trunc(x + np.copysign(0.5, x))),
                                  "halfway between two codes"),
        "not rounded, as eq. 4 is printed": (int8(rounded=lambda x: x), "whole numbers"),
        "a scale that divides": (int8_of(lambda x, codes, scale: (codes, 1 / scale)), "half a scale"),
        "127 is left out of the scale": (int8_of(lambda x, codes, scale: (codes, 127 * scale)),
                                         "half a scale"),
        "signs lost": (int8_of(lambda x, codes, scale: (np.abs(codes), scale)), "half a scale"),
        "wrapped around in int8": (
            lambda x: (np.rint(x / int8(Q_b=128)(x)[1]).astype(np.int16).astype(np.int8),
                       int8(Q_b=128)(x)[1]), "signed byte"),
        "no smallest scale": (int8(eps=0), "nothing but zeros"),
        "transposed": (int8_of(lambda x, codes, scale: (codes.T, scale)), "a pair"),
    },
    "entropy_bits": {
        "nats": (lambda codes: entropy(shares(codes)) * np.log(2), "one bit more"),
        "the logarithm of how many there are": (lambda codes: np.log2(len(np.unique(codes))),
                                                "two questions"),
        "0 times the logarithm of 0": (bincounted, "never less than 0"),
        "three symbols, one of them absent": (lambda codes: entropy(shares(codes, (-1, 0, 1))),
                                              "never less than 0"),
        "always three symbols": (
            lambda codes: entropy(p[p > 0]) if (p := shares(codes, (-1, 0, 1))).any() else 0.0,
            "which numbers they are"),
        "always a third each": (lambda codes: np.log2(3), "learns nothing"),
        "divided by the size again": (lambda codes: entropy(shares(codes)) / codes.size, "twice over"),
        "of the whole text": (lambda codes: entropy(shares(codes)) * codes.size, "twice over"),
        "the minus is left out": (lambda codes: -entropy(shares(codes)), "never less than 0"),
        "not weighted": (lambda codes: -np.log2(shares(codes)).sum(), "one bit more"),
        "the mean over symbols": (lambda codes: entropy(shares(codes)) / len(np.unique(codes)),
                                  "one bit more"),
        "of the most frequent one": (lambda codes: -np.log2(shares(codes).max()), "two questions"),
        "of the squares": (lambda codes: -np.log2((shares(codes)**2).sum()), "two questions"),
        "one minus the squares": (lambda codes: 1 - (shares(codes)**2).sum(), "one bit more"),
        "bits to write the largest": (lambda codes: np.log2(np.ptp(codes) + 1), "which numbers they are"),
    },
    "least_error_ternary": {
        "absmean": (absmean_ternary, "slightly larger"),
        "absmean's codes, their best scale": (
            lambda w: ((codes := absmean_ternary(w).codes), np.abs(w)[codes != 0].mean()), "rule of thumb"),
        "a threshold of 0.7 means": (kept_above(lambda w: 0.7 * np.abs(w).mean()), "rule of thumb"),
        "the share of zeros that suits bells": (kept_above(lambda w: np.quantile(np.abs(w), 0.459)),
                                                "rule of thumb"),
        "the scale is a mean over zeros too": (
            kept_above(lambda w: 0.7 * np.abs(w).mean(), lambda w, kept: np.abs(w * kept).mean()),
            "slightly larger"),
        "the largest k times scale": (best_by(lambda k, scale: k * scale), "rule of thumb"),
        "the largest scale": (best_by(lambda k, scale: scale), "rule of thumb"),
        "the largest root": (best_by(lambda k, scale: np.sqrt(k) * scale**2), "rule of thumb"),
        "by turns from absmean": (by_turns, "rule of thumb"),
        "codes without signs": (lambda w: (np.abs(w) > np.abs(w).mean(), np.abs(w).mean()),
                                "the other sign"),
        "a scale for each row": (lambda w: (np.sign(w), np.abs(w).mean(1, keepdims=True)),
                                 "serves the whole matrix"),
        "five codes": (lambda w: (np.clip(np.rint(w / np.abs(w).mean()), -2, 2), np.abs(w).mean()),
                       "-1, 0 or +1"),
        "the error itself": (lambda w: 0.5, "a pair"),
    },
}
ALL = [(name, mistake) for name, mistakes in WRONG.items() for mistake in mistakes]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", EXERCISES)
def test_the_published_solution_is_right(name, seed):
    assert graded(name, EXERCISES[name], solution(STEM, name), seed).right


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_not_solved_yet(name):
    assert UNSOLVED in str(graded(name, EXERCISES[name], lambda *arguments: None))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name, mistake", ALL, ids=[f"{name}: {mistake}" for name, mistake in ALL])
def test_a_mistake_is_told_by_the_property_that_it_breaks(name, mistake, seed):
    wrong, sentence = WRONG[name][mistake]
    report = graded(name, EXERCISES[name], wrong, seed)
    assert not report.right and sentence in report.problem


def test_every_property_rejects_a_mistake_of_its_own():
    """And each exercise has five mistakes at least."""
    for name, exercise in EXERCISES.items():
        told = [graded(name, exercise, wrong).problem for wrong, _ in WRONG[name].values()]
        sentences = [" ".join(holds.__doc__.split()) for holds in exercise.properties]
        assert len(told) >= 5 and [s for s in sentences if not any(s in problem for problem in told)] == []


@pytest.mark.parametrize("name, quantize", [("ternarize", absmean_ternary), ("binarize", sign_binary),
                                            ("absmax_codes", absmax_int8)])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_librarys_own_quantizers_are_right(name, quantize, seed):
    assert graded(name, EXERCISES[name], quantize, seed).right


def test_the_formula_as_the_paper_prints_it_is_right():
    """gamma + eps in place of max(gamma, eps), and codes of another type."""
    def printed(w):
        gamma = np.abs(w).mean() + 1e-5
        return np.clip(np.rint(w / gamma), -1, 1).astype(np.int8), float(gamma)
    assert graded("ternarize", EXERCISES["ternarize"], printed).right
