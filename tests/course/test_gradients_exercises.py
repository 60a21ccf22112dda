"""Notebook 02: right gradients pass, and each plausible mistake is told what it violates."""
import numpy as np
import pytest
from solutions import solution

from minibitnet import grade
from minibitnet.exact import Random

SEEDS = range(3)
NAMES = ("silu_vjp", "linear_vjp", "rms_norm_vjp", "walk", "gradient_error")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu_with(gradient):
    return lambda x, g: gradient(x, sigmoid(x), g)


def norm_with(dx, dgain=lambda g, n: (g * n).sum(1), eps=0.1):
    def vjp(x, gain, g):
        r = 1 / np.sqrt((x * x).mean(0) + eps)
        n, dn = x * r, g * gain[:, None]
        return dx(r, n, dn, g), dgain(g, n)
    return vjp


def turned(r, n, dn, g):
    return r * (dn - n * (dn * n).mean(0))


def walk_with(order=lambda tape: list(tape)[::-1], add=lambda old, new: old + new, keep=False, skip=True,
              none=False, empty=True, seed_one=False):
    """A walk with one mistake."""
    def walk(tape, loss, seed):
        grads = {loss: np.ones(1) if seed_one else seed}
        for out, inputs, vjp in order(tape):
            if out not in grads:
                if skip:
                    continue
                grads[out] = np.ones(1)
            g = grads[out] if keep else grads.pop(out)
            for key, dx in zip(inputs, vjp(g)):
                if (key is not None or none) and (dx is not None or none):
                    grads[key] = add(grads[key], dx) if key in grads else dx
        if empty:
            tape.clear()
        return grads
    return walk


def in_place(old, new):
    old += new
    return old


def checker_with(compare=lambda numeric, analytic, size: abs(numeric - analytic) / size, most=np.max, inputs=None,
                 h=1e-6, dtype=float, direction=None, sides=(1, -1)):
    """A checker with one mistake."""
    direction_of = direction

    def gradient_error(op, given):
        rng, errors = Random(5), []
        direction = direction_of or rng.standard_normal
        given = [np.asarray(x, dtype) for x in given]
        out, vjp = op(*given)
        v = direction(out.shape)
        for i, gradient in enumerate(vjp(v)[:inputs]):
            u = direction(given[i].shape)
            ahead, behind = (op(*(x + dtype(s * h) * u.astype(dtype) if k == i else x
                                  for k, x in enumerate(given)))[0] for s in sides)
            numeric = float((v * (ahead - behind)).sum()) / ((sides[0] - sides[1]) * h)
            size = max(abs(numeric), float(np.sqrt((gradient ** 2).sum())))
            errors.append(compare(numeric, float((gradient * u).sum()), size))
        return most(errors)
    return gradient_error


WRONG = {
    "silu_vjp": {
        "g is forgotten": (silu_with(lambda x, s, g: s + x * s * (1 - s)), "one half"),
        "only the first term": (silu_with(lambda x, s, g: g * s), "moves by"),
        "only the second term": (silu_with(lambda x, s, g: g * x * s * (1 - s)), "one half"),
        "the sign of the second term": (silu_with(lambda x, s, g: g * (s - x * s * (1 - s))), "moves by"),
        "the derivative at the output": (silu_with(lambda x, s, g: g * (sigmoid(x * s) + x * s * (1 - s))),
                                         "moves by"),
        "summed over entries": (silu_with(lambda x, s, g: (g * (s + x * s * (1 - s))).sum()), "shape of x"),
        "twice": (silu_with(lambda x, s, g: 2 * g * (s + x * s * (1 - s))), "one half"),
    },
    "linear_vjp": {
        "not transposed": (lambda w, x, g: (g @ x.T, w @ g), "where x moves"),
        "the two are swapped": (lambda w, x, g: (w.T @ g, g @ x.T), "shape"),
        "x g transposed": (lambda w, x, g: ((x @ g.T).T * 0 + g @ np.abs(x).T, w.T @ g), "where W moves"),
        "the mean over tokens": (lambda w, x, g: (g @ x.T / x.shape[1], w.T @ g), "all tokens together"),
        "the first token alone": (lambda w, x, g: (g[:, :1] @ x[:, :1].T, w.T @ g), "all tokens together"),
        "y for g": (lambda w, x, g: (g @ x.T, w.T @ (w @ x)), "where x moves"),
        "magnitudes": (lambda w, x, g: (g @ x.T, np.abs(w.T @ g)), "where x moves"),
    },
    "rms_norm_vjp": {
        "the mean term is left out": (norm_with(lambda r, n, dn, g: r * dn), "the length of x moves"),
        "sum for mean": (norm_with(lambda r, n, dn, g: r * (dn - n * (dn * n).sum(0))), "the length of x"),
        "the gain is forgotten": (norm_with(lambda r, n, dn, g: turned(r, n, g, g)), "the length of x moves"),
        "eps is forgotten": (norm_with(turned, eps=0.0), "sum(g y)"),
        "dgain is not summed": (norm_with(turned, lambda g, n: g * n), "shape of gain"),
        "dgain is a mean": (norm_with(turned, lambda g, n: (g * n).mean(1) / 2), "where gain moves"),
        "the mean over tokens": (norm_with(lambda r, n, dn, g: r * (dn - n * (dn * n).mean())), "the length"),
    },
    "walk": {
        "forward order": (walk_with(order=list), "what the tape did not make"),
        "overwritten": (walk_with(add=lambda old, new: new), "added"),
        "in place": (walk_with(add=in_place), "stays as it is"),
        "results are kept": (walk_with(keep=True), "what the tape did not make"),
        "what nobody asked for counts": (walk_with(skip=False), "added"),
        "the constant's key": (walk_with(none=True), "no None"),
        "the tape is left": (walk_with(empty=False), "empty afterwards"),
        "the seed is ignored": (walk_with(seed_one=True), "begins with the seed"),
    },
    "gradient_error": {
        "the first input alone": (checker_with(inputs=1), "whichever input"),
        "one sign is enough": (checker_with(lambda n, a, size: float(n * a < 0)), "however little"),
        "a wide allowance": (checker_with(lambda n, a, size: abs(n - a) / max(size, 1e4)), "however little"),
        "magnitudes": (checker_with(lambda n, a, size: abs(abs(n) - abs(a)) / size), "however little"),
        "Python's max": (checker_with(most=lambda errors: max(0.0, *errors)), "a gradient is wrong"),
        "a step that is too small": (checker_with(h=1e-13), "is below 1e-6"),
        "float32": (checker_with(dtype=np.float32), "is below 1e-6"),
        "all errors, not the largest": (checker_with(most=np.array), "one number"),
        "an absolute error": (checker_with(lambda n, a, size: abs(n - a)), "however little"),
        "directions of ones": (checker_with(direction=np.ones), "however little"),
        "one side": (checker_with(sides=(1, 0)), "is below 1e-6"),
        "a wide step": (checker_with(h=1e-2), "is below 1e-6"),
        "signed": (checker_with(lambda n, a, size: (n - a) / size, most=min), "not below 0"),
    },
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_published_solution_passes(name, seed):
    report = grade(name, solution("02_gradients", name), seed)
    assert report.right, str(report)


@pytest.mark.parametrize("name, mistake", [(name, mistake) for name in NAMES for mistake in WRONG[name]])
def test_a_mistake_is_rejected_and_told(name, mistake):
    fn, sentence = WRONG[name][mistake]
    for seed in SEEDS:
        report = grade(name, fn, seed)
        assert not report.right and sentence in report.problem, f"{mistake}: {report}"


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_is_not_solved_yet(name):
    assert "not solved yet" in str(grade(name, lambda *arguments: None))


def test_every_exercise_has_five_mistakes():
    assert all(len(WRONG[name]) >= 5 for name in NAMES)
