"""The exercises of notebook 04: the published solution is right under every seed, and each mistake that
people make is told by the property that it breaks. (tests/nn has the layer's own.)"""
import math

import numpy as np
import pytest
from solutions import solution

from minibitnet.course.bitlinear import EXERCISES
from minibitnet.course.exercise import UNSOLVED, graded
from minibitnet.quant import absmax_int8, absmean_ternary

STEM = "04_bitlinear"
SEEDS = range(3)


# ---- wrong answers: {exercise: {what is wrong: (a function, a piece of the sentence that says so)}}

def layer(product, axis=0, float_weights=False):
    """bit_linear with another end: product(codes of w, scale of w, codes of x, scale of x)."""
    def bit_linear(x, w):
        weights = (w, np.ones((1, 1), np.float32)) if float_weights else absmean_ternary(w)
        return product(*weights, *absmax_int8(x, axis))
    return bit_linear


def right_layer(W, s, X, t):
    return (W @ X) * (s * t)


def dequantized_first(W, s, X, t):
    """Strictly from left to right, for BLAS has an order of its own for every size."""
    products = (W * s)[:, :, None] * (X * t)
    return np.add.accumulate(products, axis=1)[:, -1]


def on_rows(x, bits, size=lambda row: math.sqrt(math.fsum(row * row)), margin=True, round_=np.rint,
            exponent=math.ceil, unit_of=None, in_units=False, together=False, more=0):
    """rows_on_grid with one thing changed."""
    room, rounded = 2.0 ** (bits + more) - 0.5 * math.sqrt(x.shape[1]) * margin, []
    for row in x:
        whole = x.ravel() if together else row
        unit = unit_of(size(whole), room) if unit_of else 2.0 ** exponent(math.log2(size(whole) / room))
        rounded.append(round_(row / unit) * (1 if in_units else unit))
    return np.array(rounded)


def rows(**change):
    return lambda x, bits: on_rows(x, bits, **change)


def pair(bits_a=12, bits_b=12, then=lambda v: v, **change):
    """operands with other bits, or another grid."""
    def operands(a, b):
        return tuple(then(on_rows(v[None].astype(np.float64), bits, **change)[0].astype(np.float32))
                     if bits else v for v, bits in ((a, bits_a), (b, bits_b)))
    return operands


def all_in_one(a, b):
    """The product, made ready before: no order is left to matter."""
    first, second = np.zeros_like(a), np.zeros_like(b)
    first[0], second[0] = math.fsum((a.astype(float) * b).tolist()), 1
    return first, second


def largest(row):
    return np.abs(row).max()


WRONG = {
    "bit_linear": {
        "dequantized first": (layer(dequantized_first), "equal to 1e-5 is not equal"),
        "two rescales": (layer(lambda W, s, X, t: ((W @ X) * s) * t), "equal to 1e-5 is not equal"),
        "the other rescale first": (layer(lambda W, s, X, t: ((W @ X) * t) * s), "is not equal"),
        "the token's scale is forgotten": (layer(lambda W, s, X, t: (W @ X) * s), "up to a share"),
        "the matrix's scale is forgotten": (layer(lambda W, s, X, t: (W @ X) * t), "up to a share"),
        "scales divide": (layer(lambda W, s, X, t: (W @ X) / (s * t)), "up to a share"),
        "float weights": (layer(right_layer, float_weights=True), "up to a share"),
        "float inputs": (lambda x, w: (absmean_ternary(w).codes @ x) * absmean_ternary(w).scale,
                         "up to a share"),
        "one scale for all tokens": (layer(right_layer, axis=None), "by itself"),
        "float64": (layer(lambda W, s, X, t: (W.astype(np.float64) @ X) * (s * t)), "float32"),
        "tokens as rows": (layer(lambda *parts: right_layer(*parts).T.copy()), "a row for each output"),
    },
    "widest": {
        "the limit itself counts": (lambda a, b, bits: 2**bits // (a * b), "stay below"),
        "128 for 127": (lambda a, b, bits: (2**bits - 1) // (128 * b), "does not stay below"),
        "a bit too few": (lambda a, b, bits: (2 ** (bits - 1) - 1) // (a * b), "does not stay below"),
        "the sign's bit too": (lambda a, b, bits: (2 ** (bits + 1) - 1) // (a * b), "stay below"),
        "half, for the mean": (lambda a, b, bits: 2 * ((2**bits - 1) // (a * b)), "stay below"),
        "the other factor is forgotten": (lambda a, b, bits: (2**bits - 1) // a, "stay below"),
        "a sum for the product": (lambda a, b, bits: (2**bits - 1) // (a + b), "stay below"),
        "a float": (lambda a, b, bits: (2**bits - 1) / (a * b), "an int"),
        "one less, to be sure": (lambda a, b, bits: (2**bits - 1) // (a * b) - 1, "does not stay below"),
    },
    "rows_on_grid": {
        "the largest for the norm": (rows(size=largest), "after* rounding"),
        "no margin": (rows(margin=False), "after* rounding"),
        "the exponent rounded down": (rows(exponent=math.floor), "after* rounding"),
        "a unit that is no power of two": (rows(unit_of=lambda size, room: size / room), "after* rounding"),
        "a bit more": (rows(more=1), "after* rounding"),
        "rounded down": (rows(round_=np.floor), "half a unit"),
        "towards zero": (rows(round_=np.trunc), "half a unit"),
        "one unit for the matrix": (rows(together=True), "half a unit"),
        "the L1 norm": (rows(size=lambda row: np.abs(row).sum()), "half a unit"),
        "a bit less": (rows(more=-1), "half a unit"),
        "counts of units": (rows(in_units=True), "not a count of units"),
        "unrounded": (lambda x, bits: x, "after* rounding"),
        "only the units": (lambda x, bits: np.ones((len(x), 1)), "for every number of x"),
    },
    "operands": {
        "unrounded": (pair(None, None), "every order"),
        "one of them is rounded": (pair(12, None), "every order"),
        "23 bits each": (pair(23, 23), "every order"),
        "14 bits each": (pair(14, 14), "every order"),
        "float16": (lambda a, b: (a.astype(np.float16).astype(np.float32),
                                  b.astype(np.float16).astype(np.float32)), "every order"),
        "three decimals": (lambda a, b: (np.round(a, 3), np.round(b, 3)), "every order"),
        "the largest for the norm": (pair(size=largest), "every order"),
        "4 bits each": (pair(4, 4), "stays where it was"),
        "multiplied before": (all_in_one, "stays where it was"),
        "sorted": (lambda a, b: (np.sort(a), np.sort(b)), "stays where it was"),
        "float64": (pair(then=lambda v: v.astype(np.float64)), "float32"),
        "the product alone": (lambda a, b: pair()(a, b)[:1], "a pair"),
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


def test_without_its_margin_a_grid_fits_random_rows_and_not_the_planted_one():
    """99 numbers of 1.51 / 16 and one of 0.9 / 16 have a norm of 15 units of 1 / 16 before rounding and of 20
    after it. (100 of the former would be on the grid of 1 / 8, and fit.)"""
    wrong, exercise = WRONG["rows_on_grid"]["no margin"][0], EXERCISES["rows_on_grid"]
    def careful(x, bits):                                        # of rows of zeros, which the mistake is not about
        return np.stack([wrong(row[None], bits)[0] if row.any() else row for row in x])
    report = graded("rows_on_grid", exercise, careful)
    assert report.passed == report.of - 1 and "0.09438" in report.problem
