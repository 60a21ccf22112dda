"""The exercises of notebook 03: the published solution is right under every seed, and each mistake that
people make is told by the property that it breaks."""
import numpy as np
import pytest
from solutions import solution

from minibitnet.course.exercise import UNSOLVED, graded
from minibitnet.course.straight_through import EXERCISES
from minibitnet.quant import absmax_int8, absmean_ternary

STEM = "03_straight_through"
SEEDS = range(3)


# ---- wrong answers: {exercise: {what is wrong: (a function, a piece of the sentence that says so)}}

def code(w, scale):
    return np.clip(np.rint(w / scale), -1, 1)


def stepping(change, keep=lambda w, scale: w):
    """latent_step with another change of w, of (value, target, scale, lr, w)."""
    return lambda w, target, scale, lr: (
        keep(w, scale) + change(scale * code(w, scale), target, scale, lr, w))


def to_code(w, scale):
    return scale * code(w, scale)


def heard(x, g, sign=np.sign, share=1 / 127, of=None, codes=None):
    """true_absmax_vjp with one thing changed."""
    gamma = np.abs(x).max(0)
    codes = absmax_int8(x).codes if codes is None else codes
    dgamma = (g * codes).sum(0) if of is None else of(g, codes)
    return np.where(np.abs(x) == gamma, sign(x) * dgamma * share, 0)


def largest_of_all(x, g):
    codes, _ = absmax_int8(x, axis=None)
    return np.where(np.abs(x) == np.abs(x).max(), np.sign(x) * (g * codes).sum() / 127, 0)


def as_absmean(x, g):
    return np.sign(x) * (g * absmax_int8(x).codes).sum(0) / len(x) / 127


def quantized(w):
    codes, scale = absmean_ternary(w)
    return codes * scale


def warming(values, gradient=lambda w, lam, g: g, form=lambda g: (g,)):
    """warm_up with other values or another gradient."""
    return lambda w, lam: (values(w, w.dtype.type(lam)), lambda g: form(gradient(w, w.dtype.type(lam), g)))


def mixed(w, lam):
    return w + lam * (quantized(w) - w)


def of_the_scale(w, lam, g):
    return (1 - lam) * g + lam * np.sign(w) * (g * absmean_ternary(w).codes).sum() / w.size


WRONG = {
    "latent_step": {
        "the latent weight for its value": (stepping(lambda v, t, s, lr, w: -lr * (w - t)), "never rests"),
        "uphill": (stepping(lambda v, t, s, lr, w: lr * (v - t)), "never rests"),
        "the slope of rounding, 0": (stepping(lambda v, t, s, lr, w: 0.0), "never rounded"),
        "the value is moved, not w": (stepping(lambda v, t, s, lr, w: -lr * (v - t), keep=to_code),
                                      "never rounded"),
        "w is rounded afterwards": (lambda w, t, s, lr: to_code(w - lr * (to_code(w, s) - t), s),
                                    "never rounded"),
        "the rate is forgotten": (stepping(lambda v, t, s, lr, w: -0.01 * (v - t)), "half the rate"),
        "the sign of the error alone": (stepping(lambda v, t, s, lr, w: -lr * np.sign(v - t)),
                                        "averaged over"),
        "the error squared": (stepping(lambda v, t, s, lr, w: -lr * (v - t) * abs(v - t)), "averaged over"),
        "the chain rule's scale": (stepping(lambda v, t, s, lr, w: -lr * s * (v - t)), "not on the scale"),
        "twice the error": (stepping(lambda v, t, s, lr, w: -2 * lr * (v - t)), "not on the scale"),
        "the code for the value": (stepping(lambda v, t, s, lr, w: -lr * (v / s - t)), "averaged over"),
        "divided by zero": (lambda w, t, s, lr: float("nan"), "finite"),
        "not cut off": (lambda w, t, s, lr: w - lr * (s * np.rint(w / s) - t), "nearer end"),
        "masked": (stepping(lambda v, t, s, lr, w: -lr * (v - t) * (abs(w) < s)), "moves by the error"),
    },
    "stochastic_codes": {
        "rounded as ever": (lambda w, u: np.broadcast_to(code(w, 1), u.shape), "mean"),
        "noise that is not centred": (lambda w, u: np.clip(np.rint(w + u), -1, 1), "whatever is drawn"),
        "towards zero": (lambda w, u: np.clip(np.trunc(w + u), -1, 1), "whatever is drawn"),
        "not cut off": (lambda w, u: np.floor(w + u), "-1, 0 or +1"),
        "not rounded": (lambda w, u: np.clip(w + u - 0.5, -1, 1), "-1, 0 or +1"),
        "negative weights are 0": (lambda w, u: (u < w).astype(float), "whatever is drawn"),
        "the other chance": (lambda w, u: np.clip(np.ceil(w) - (u < w - np.floor(w)), -1, 1), "mean"),
        "a coin for each": (lambda w, u: np.clip(np.where(u < 0.5, np.floor(w), np.ceil(w)), -1, 1), "mean"),
        "only the mean": (lambda w, u: np.clip(w, -1, 1), "every draw and weight"),
        "one draw for all weights": (lambda w, u: np.clip(np.floor(w + u[:, :1]), -1, 1), "draws of its own"),
        "one draw for all weights, without an end": (lambda w, u: np.floor(w + u[:, :1]), "-1, 0 or +1"),
    },
    "true_absmax_vjp": {
        "straight through": (lambda x, g: g, "neither a code nor a scale"),
        "zero": (lambda x, g: np.zeros_like(x), "not zero altogether"),
        "as of absmean": (as_absmean, "neither a code nor a scale"),
        "one scale for all tokens": (largest_of_all, "not zero altogether"),
        "the sign is left out": (lambda x, g: heard(x, g, sign=lambda x: 1), "finite differences"),
        "127 is left out": (lambda x, g: heard(x, g, share=1), "finite differences"),
        "128 for 127": (lambda x, g: heard(x, g, share=1 / 128), "finite differences"),
        "g there, without the sum": (lambda x, g: heard(x, g, of=lambda g, codes: g * codes),
                                     "finite differences"),
        "x for codes": (lambda x, g: heard(x, g, codes=x), "finite differences"),
        "the mean for the sum": (lambda x, g: heard(x, g) / len(x), "finite differences"),
        "one number a token": (lambda x, g: (g * absmax_int8(x).codes).sum(0) / 127, "x's shape"),
    },
    "warm_up": {
        "the gradient fades": (warming(mixed, lambda w, lam, g: (1 - lam) * g), "straight through"),
        "the gradient grows": (warming(mixed, lambda w, lam, g: lam * g), "straight through"),
        "the true gradient": (warming(mixed, of_the_scale), "straight through"),
        "lambda twice": (warming(lambda w, lam: w + lam * lam * (quantized(w) - w)), "in proportion"),
        "lambda the other way": (warming(lambda w, lam: quantized(w) + lam * (w - quantized(w))),
                                 "nothing is quantized yet"),
        "codes for values": (warming(lambda w, lam: w + lam * (absmean_ternary(w).codes - w)), "stand for"),
        "the scale is mixed, the codes are not": (
            warming(lambda w, lam: absmean_ternary(w).codes * (1 + lam * (absmean_ternary(w).scale - 1))),
            "nothing is quantized yet"),
        "a scale for each row": (
            warming(lambda w, lam: w + lam * (np.stack([quantized(row[None])[0] for row in w]) - w)),
            "codes of the whole matrix"),
        "always float32": (warming(lambda w, lam: mixed(w, lam).astype(np.float32)), "float type"),
        "g without a tuple": (warming(mixed, form=lambda g: g), "a tuple of one gradient"),
        "a gradient for lambda too": (warming(mixed, form=lambda g: (g, None)), "a tuple of one gradient"),
    },
}
ALL = [(name, mistake) for name, mistakes in WRONG.items() for mistake in mistakes]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", EXERCISES)
def test_the_published_solution_is_right(name, seed):
    assert graded(name, EXERCISES[name], solution(STEM, name), seed).right


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_not_solved_yet(name):
    assert UNSOLVED in str(graded(name, EXERCISES[name], lambda *arguments, **options: None))


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


def test_dither_is_as_right_as_its_floor():
    """Rounding to the nearest of a draw that is centred: another right answer."""
    def dithered(w, u):
        return np.clip(np.ceil(w + u - 1 + 1e-9), -1, 1)
    assert graded("stochastic_codes", EXERCISES["stochastic_codes"], dithered).right
