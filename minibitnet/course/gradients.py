"""The exercises of notebook 02: gradients of a gate, a product and a norm, the tape, a checker."""
import numpy as np

from ..exact import Random
from .exercise import Exercise


def agrees(f, inputs, g, gradients, h=1e-5):
    """Does each of the gradients of sum(g f(inputs)) agree with what a small step of its input does?"""
    for i, gradient in enumerate(gradients):
        u = Random(i + 1).standard_normal(np.shape(inputs[i]))
        ahead, behind = (f(*(x + s * h * u if k == i else x for k, x in enumerate(inputs))) for s in (1, -1))
        numeric = float((g * (ahead - behind)).sum()) / (2 * h)
        analytic, size = float((gradient * u).sum()), float(np.sqrt((np.asarray(gradient) ** 2).sum()))
        if not abs(numeric - analytic) <= 1e-5 * max(abs(numeric), size, 1e-3):
            return False
    return True


# ---- silu_vjp: y = x s, s = 1 / (1 + exp(-x))

def silu(x):
    """x / (1 + exp(-x)) = x sigmoid(x)."""
    return x / (1 + np.exp(-x))


def numbers(rng):
    """x, g, of one shape."""
    yield np.array([0.0, 1.0, -1.0]), np.array([2.0, 1.0, 1.0])
    for shape in ((5,), (3, 4), (2, 3, 5)):
        yield 2 * rng.standard_normal(shape), rng.standard_normal(shape)


def shape_of_x(x, g, dx):
    "the gradient of x has the shape of x"
    return np.shape(dx) == x.shape


def silu_moves(x, g, dx):
    "where x moves a little, sum(g silu(x)) moves by sum(dx times that little)"
    return agrees(silu, (x,), g, (dx,))


def zero_stays(x, g, dx):
    "at x = 0 the slope of silu is one half, whatever the other entries are"
    return bool(np.allclose(np.asarray(dx)[x == 0], g[x == 0] / 2))


# ---- linear_vjp: y = W x, tokens are columns

def products(rng):
    """w (n, m), x (m, tokens), g (n, tokens): the pencil case, a square one, two that are not."""
    yield np.array([[1.0, 2], [3, -1]]), np.array([[2.0], [5]]), np.array([[1.0], [-1]])
    for n, m, tokens in ((3, 3, 4), (4, 6, 2), (5, 2, 7)):
        yield tuple(rng.standard_normal(shape) for shape in ((n, m), (m, tokens), (n, tokens)))


def two_shapes(w, x, g, answer):
    "dW has the shape of W, and dx the shape of x"
    dw, dx = answer
    return np.shape(dw) == w.shape and np.shape(dx) == x.shape


def w_moves(w, x, g, answer):
    "where W moves a little, sum(g W x) moves by sum(dW times that little), all tokens together"
    return agrees(lambda w: w @ x, (w,), g, answer[:1])


def x_moves(w, x, g, answer):
    "where x moves a little, sum(g W x) moves by sum(dx times that little)"
    return agrees(lambda x: w @ x, (x,), g, answer[1:])


# ---- rms_norm_vjp: y = gain x / sqrt(mean(x^2) + eps), a token is a column

def normed(x, gain, eps=0.1):
    """y = gain x / sqrt(mean(x^2) + eps), for each column of x (m, tokens)."""
    return gain[:, None] * x / np.sqrt((x * x).mean(0) + eps)


def norms(rng):
    """x (m, tokens), gain (m,), g (m, tokens)."""
    yield np.array([[3.0], [4]]), np.array([1.0, 1]), np.array([[1.0], [0]])
    for m, tokens in ((5, 3), (4, 4), (7, 1)):
        yield tuple(rng.standard_normal(shape) for shape in ((m, tokens), (m,), (m, tokens)))


def two_more_shapes(x, gain, g, answer):
    "dx has the shape of x, and dgain the shape of gain: a gain serves all tokens, so their wishes are added"
    dx, dgain = answer
    return np.shape(dx) == x.shape and np.shape(dgain) == gain.shape


def gain_moves(x, gain, g, answer):
    "where gain moves a little, sum(g y) moves by sum(dgain times that little)"
    return agrees(lambda gain: normed(x, gain), (gain,), g, answer[1:])


def norm_moves(x, gain, g, answer):
    """where x moves a little, sum(g y) moves by sum(dx times that little): the length of x moves, too, and
    the gain stands in between"""
    return agrees(lambda x: normed(x, gain), (x,), g, answer[:1])


# ---- walk(tape, loss, seed): the gradients of all that the tape did not make

def tapes(rng):
    """The kinds of ``tape_of``, the number of the loss, and the gradient to begin with."""
    for kind, seed in (("diamond", 1.0),         # y = a a + a, a = x x, at x = 3
                       ("shared", 1.0),          # y = (x + z) + x, and add hands one array to both
                       ("unused", 1.0),          # c = x x is made and not needed
                       ("constant", 1.0),        # y = x k, k a constant: no number
                       ("diamond", 0.5),
                       ("none", 1.0)):           # an op of ids, which have no gradient
        yield Tape(kind), tape_of(kind)[1], seed


class Tape(str):
    """The name of a tape, which is shown as what stands on it."""

    def __repr__(self):
        lines = (f"({out}, {inputs}, vjp)" for out, inputs, _ in tape_of(self)[0])
        return f"[{', '.join(lines)}]"


def tape_of(kind):
    """-> (tape, the number of the loss, {number: its gradient for a seed of 1})"""
    x, z = 0, 1
    if kind == "diamond":
        return [(2, [x, x], lambda g: (3.0 * g, 3.0 * g)), (3, [2, 2], lambda g: (9.0 * g, 9.0 * g)),
                (4, [3, 2], lambda g: (g, g))], 4, {x: 114.0}
    if kind == "shared":
        return [(2, [x, z], lambda g: (g, g)), (3, [2, x], lambda g: (g, g))], 3, {x: 2.0, z: 1.0}
    if kind == "unused":
        return [(2, [x, x], lambda g: (3.0 * g, 3.0 * g)), (3, [x], lambda g: (5.0 * g,))], 3, {x: 5.0}
    if kind == "constant":
        return [(2, [x, None], lambda g: (7.0 * g, 2.0 * g))], 2, {x: 7.0}
    return [(2, [x, z], lambda g: (4.0 * g, None))], 2, {x: 4.0}


def walked(fn, kind, loss, seed):
    """What a walk gives, and how long the tape is then. Gradients are arrays of one number."""
    tape, _, _ = tape_of(kind)
    grads = fn(tape, loss, np.array([seed]))
    return None if grads is None else (grads, len(tape))


def only_the_beginnings(kind, loss, seed, answer):
    "what remains are the gradients of what the tape did not make: nothing of a result, and no None"
    return set(answer[0]) == set(tape_of(kind)[2])


def seed_counts(kind, loss, seed, answer):
    "the walk begins with the seed: half the seed is half of every gradient"
    return seed == 1 or {key: float(np.asarray(g).item()) for key, g in answer[0].items()} != tape_of(kind)[2]


def two_ways_add(kind, loss, seed, answer):
    "what is used twice gets both wishes, added; and an array that an op hands to two inputs stays as it is"
    return all(abs(float(np.asarray(answer[0][key]).item()) - seed * value) < 1e-9
               for key, value in tape_of(kind)[2].items())


def tape_is_used_up(kind, loss, seed, answer):
    "the tape is empty afterwards, so that every array can be freed once it was used"
    return answer[1] == 0


# ---- gradient_error(op, inputs): a checker is checked with right gradients and with planted ones

class Gate:
    """An op of arrays: a, b -> (y = size silu(bend a) b, its vjp). vjp: what it gives in place of (da, db);
    of_g: what it takes for g."""

    def __init__(self, name, vjp=lambda da, db: (da, db), right=False, size=1.0, bend=1.0, of_g=lambda g: g):
        self.name, self.vjp, self.right = name, vjp, right
        self.size, self.bend, self.of_g = size, bend, of_g

    def __repr__(self):
        return f"silu(a) b, {self.name}"

    def __call__(self, a, b):
        x = self.bend * a
        s = 1 / (1 + np.exp(-x))

        def vjp(g):
            g = self.size * self.of_g(g)
            return self.vjp(self.bend * g * b * (s + x * s * (1 - s)), g * x * s)
        return self.size * x * s * b, vjp


GATES = (
    Gate("both gradients right", right=True),
    Gate("both right, of 30 a, which bends soon", right=True, bend=30.0),
    Gate("b's gradient a thousandth too large", lambda da, db: (da, 1.001 * db)),
    Gate("a's gradient with the other sign", lambda da, db: (-da, db)),
    Gate("a's gradient 500 times too large", lambda da, db: (500 * da, db)),
    Gate("b's gradient zero", lambda da, db: (da, 0 * db)),
    Gate("one entry of a's gradient zero", lambda da, db: (
        da * (np.arange(da.size) != 2).reshape(da.shape), db)),
    Gate("the two gradients swapped", lambda da, db: (db, da)),
    Gate("a NaN in b's gradient", lambda da, db: (
        da, np.where(np.arange(db.size).reshape(db.shape) == 0, np.nan, db))),
    Gate("the entries of a's gradient in other places", lambda da, db: (np.roll(da, 1), db)),
    Gate("everywhere the mean of g for g", of_g=lambda g: np.full_like(g, g.sum() / g.size)),
    Gate("times a millionth, b's gradient a thousandth too large", lambda da, db: (da, 1.001 * db),
         size=1e-6),
)
AGREES = 1e-6


def gates(rng):
    """Each with two arrays."""
    for number, op in enumerate(GATES):
        shape = ((3,), (2, 4), (5, 1, 3))[number % 3]
        a, b = (rng.random(shape) + 0.5 for _ in "ab")
        yield op, [a * np.sign(rng.standard_normal(shape)) / op.bend, b]


def one_number(op, inputs, error):
    "the error is one number, not below 0 (NaN where a gradient is NaN)"
    return np.ndim(error) == 0 and not error < 0


def accepts_right(op, inputs, error):
    "where the gradients of both inputs are right, the error is below 1e-6"
    return not op.right or error < AGREES


def rejects_wrong(op, inputs, error):
    "where a gradient is wrong, of whichever input and however little, the error is not below 1e-6"
    return op.right or not error < AGREES


EXERCISES = {
    "silu_vjp": Exercise("x, g, of one shape, float64 -> dx", numbers,
                         (shape_of_x, zero_stays, silu_moves)),
    "linear_vjp": Exercise("w (n, m), x (m, tokens), g (n, tokens), float64 -> (dw, dx)", products,
                           (two_shapes, w_moves, x_moves)),
    "rms_norm_vjp": Exercise("x (m, tokens), gain (m,), g (m, tokens), with eps = 0.1 -> (dx, dgain)", norms,
                             (two_more_shapes, gain_moves, norm_moves)),
    "walk": Exercise("tape, loss, seed -> {number: gradient}", tapes,
                     (only_the_beginnings, seed_counts, two_ways_add, tape_is_used_up), walked),
    "gradient_error": Exercise("op, inputs, a list of float64 arrays -> the largest relative error", gates,
                               (one_number, accepts_right, rejects_wrong)),
}
