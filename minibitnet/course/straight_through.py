"""The exercises of notebook 03: what a latent weight does, and which slopes of a staircase are true."""
import numpy as np

from ..nn import ste
from ..quant import absmax_int8, absmean_ternary
from .exercise import Exercise

STEPS = 2000


# ---- one weight, step by step

def targets(rng):
    """w, target, scale, lr: from 0, from within, from far outside."""
    for target, scale in ((0.25, 1.0), (-0.125, 0.5)):
        yield 0.0, target, scale, 0.0625
    for sign in (1, -1, 1, -1):
        scale = 0.25 + 2 * rng.random()
        yield 0.4 * scale * rng.random(), sign * scale * (0.15 + 0.7 * rng.random()), scale, 0.02 * scale
    for scale in (1.0, 0.5):
        yield 1.75 * scale, 0.5625 * scale, scale, 0.0625 * scale


def stepped(fn, w, target, scale, lr):
    """What one step gives, what it gives at half the rate, and where w is after each of many."""
    ws = [w]
    for _ in range(STEPS):
        if (w := fn(w, target, scale, lr)) is None:
            return None
        if not np.isfinite(w):
            return Steps(np.array([w]), 0.0)
        ws.append(float(w))
    return Steps(np.array(ws), float(fn(ws[0], target, scale, lr / 2)))


class Steps:
    """A latent weight's way."""

    def __init__(self, ws, half):
        self.ws, self.half = ws, half

    def __repr__(self):
        return f"w = {', '.join(f'{w:.4g}' for w in self.ws[:6])}, ... {self.ws[-1]:.4g}"


def values(w, scale):
    """What the network computes with."""
    return scale * np.clip(np.rint(w / scale), -1, 1)


def finite_number(w, target, scale, lr, answer):
    "after every step w is a finite number"
    return len(answer.ws) == STEPS + 1


def far_outside(w, target, scale, lr, answer):
    """a w far outside of -1 to +1 scales has the code of the nearer end, and moves by the error like any
    other"""
    error = values(w, scale) - target
    return abs(w) < 1.5 * scale or abs(answer.ws[1] - (w - lr * error)) < 1e-12


def towards_the_target(w, target, scale, lr, answer):
    """where the value that the network computes with is below the target w rises, where it is above w falls;
    the value is never just right here, so w never rests"""
    return np.array_equal(np.sign(np.diff(answer.ws)), np.sign(target - values(answer.ws[:-1], scale)))


def nothing_is_dropped(w, target, scale, lr, answer):
    """w itself is never rounded: it remembers what the codes drop, so it is found at far more places than
    there are codes"""
    return len(np.unique(np.round(answer.ws / lr, 6))) > 5


def rate_counts(w, target, scale, lr, answer):
    "half the rate is half the step"
    return abs((answer.ws[1] - w) - 2 * (answer.half - w)) < 1e-12


def right_on_average(w, target, scale, lr, answer):
    """averaged over the second half of many steps, the value is the target, though it is never equal to it"""
    return abs(values(answer.ws[STEPS // 2:], scale).mean() - target) < 0.01 * scale


def error_alone(w, target, scale, lr, answer):
    """how far w moves depends on how wrong the value is, and not on the scale by which codes become values:
    the slope from w to the value is taken to be one"""
    return abs(abs(answer.ws[1] - w) - lr * abs(values(w, scale) - target)) < 1e-12


# ---- the true gradient of absmax

def tokens_and_gradients(rng):
    """x (m, N), g (m, N)."""
    yield np.array([[1.0], [-2.125], [0.5], [0.25]]), np.array([[1.0], [1.0], [2.0], [0.0]])
    for m, n in ((3, 2), (5, 4), (9, 1), (12, 7)):
        yield rng.standard_normal((m, n)), rng.standard_normal((m, n)) + 0.5


def projected(x, g):
    """<g, codes * scale>, a number for each token."""
    codes, scale = absmax_int8(x)
    return (g * codes * scale).sum(0)


def like_x(x, g, answer):
    "every entry of x has a gradient, be it 0: the answer has x's shape"
    return answer.shape == x.shape


def silent_entries(x, g, answer):
    "where a small move of an entry changes neither a code nor a scale, its gradient is 0"
    largest = np.abs(x) == np.abs(x).max(0)
    return not answer[~largest].any()


def someone_hears(x, g, answer):
    """the true gradient is not zero altogether: each token has a scale of its own, and an entry that moves
    it"""
    return np.array_equal((answer != 0).any(0), np.abs(projected(x, g)) > 0)


def finite_differences(x, g, answer):
    """finite differences agree: if x moves a little, in any direction, the sum of g times the values of its
    token moves by the gradient times that direction"""
    h, u = 1e-6, np.cos(np.arange(x.size, dtype=float)).reshape(x.shape)
    numeric = (projected(x + h * u, g) - projected(x - h * u, g)) / (2 * h)
    return np.allclose(numeric, (answer * u).sum(0), rtol=1e-5, atol=1e-7)


# ---- codes by the dice

def weights_and_draws(rng):
    """w (k,), u (1000, k) with every thousandth once."""
    fixed = np.array([-1.0, 0.0, 1.0])
    drawn = [1.4 * (2 * rng.random(k) - 1) for k in (1, 5, 9)]
    for more in ([0.25, -0.25, 1.75, -2.5], [0.5, -0.75], *drawn):
        w = np.concatenate([fixed, more])
        even = (np.arange(1000) + 0.5) / 1000                              # every thousandth once
        yield w, np.stack([even[rng.permutation(1000)] for _ in w], axis=1)


def only_codes(w, u, answer):
    "there is one code for every draw and weight, and it is -1, 0 or +1"
    return answer.shape == u.shape and np.isin(answer, (-1, 0, 1)).all()


def codes_stay(w, u, answer):
    "a weight that is -1, 0 or +1 itself gets this code whatever is drawn"
    still = np.isin(w, (-1, 0, 1))
    return (answer[:, still] == w[still]).all()


def a_draw_each(w, u, answer):
    "each weight has draws of its own: whether it is rounded up or down hangs on these alone"
    for draws, codes in zip(u.T, answer.T):
        steps = np.diff(codes[np.argsort(draws)])
        if (steps > 0).any() and (steps < 0).any():
            return False
    return True


def mean_is_the_weight(w, u, answer):
    "over many draws the mean of a weight's codes is the weight itself, or the nearer end where it is outside"
    return np.allclose(answer.mean(0), np.clip(w, -1, 1), atol=0.002)


# ---- quantized little by little

def matrices(rng):
    """w (n, m), lam, g (n, m)."""
    pencil = np.array([[0.75, -0.125, -1, 0.25], [0.1875, 0.5, 0.4375, -0.75]])
    for lam in (0.0, 1.0, 0.5):
        yield pencil.astype(np.float32), lam, np.ones((2, 4), np.float32)
    for n, m, lam in ((3, 5, 0.0), (5, 3, 1.0), (7, 4, 0.5), (2, 9, 0.125)):
        yield rng.standard_normal((n, m)), lam, rng.standard_normal((n, m))


def forward_and_back(fn, w, lam, g):
    """Both halves of what @op takes."""
    if (pair := fn(w, lam=lam)) is None:
        return None
    out, vjp = pair
    return out, vjp(g)


def one_gradient(w, lam, g, answer):
    "vjp(g) is a tuple of one gradient, for there is one array to differentiate by: that is @op's form"
    return isinstance(answer[1], tuple) and len(answer[1]) == 1 and answer[1][0].shape == w.shape


def type_stays(w, lam, g, answer):
    "the values have the shape and the float type of w"
    return answer[0].shape == w.shape and answer[0].dtype == w.dtype


def start_is_float(w, lam, g, answer):
    "with lam = 0 nothing is quantized yet"
    return lam != 0 or np.array_equal(answer[0], w)


def end_is_quantized(w, lam, g, answer):
    "with lam = 1 the values are those that the codes of the whole matrix and their scale stand for"
    return lam != 1 or np.allclose(answer[0], quantized_values(w), rtol=1e-6)


def quantized_values(w):
    """What the codes of w and their scale stand for."""
    codes, scale = absmean_ternary(w)
    return codes * scale


def in_proportion(w, lam, g, answer):
    "half of lam is half of the way from w to its quantized value, and so on in proportion"
    return np.allclose(answer[0] - w, lam * (quantized_values(w) - w), rtol=1e-5, atol=1e-6)


def straight(w, lam, g, answer):
    "the gradient goes straight through, as in ste.py, whatever lam is"
    return np.array_equal(answer[1][0], *ste.ternary_weight.__wrapped__(w)[1](g))


EXERCISES = {
    "latent_step": Exercise("w, target, scale, lr, four numbers -> the new w", targets, (
        finite_number, far_outside, nothing_is_dropped, rate_counts, towards_the_target, right_on_average,
        error_alone),
        stepped),
    "stochastic_codes": Exercise("w (k,), u (n, k) uniform in [0, 1) -> codes (n, k)", weights_and_draws, (
        only_codes, codes_stay, a_draw_each, mean_is_the_weight)),
    "true_absmax_vjp": Exercise("x (m, N) float64, g (m, N) -> (m, N)", tokens_and_gradients, (
        like_x, silent_entries, someone_hears, finite_differences)),
    "warm_up": Exercise("w (n, m), lam from 0 to 1 -> (values (n, m), vjp)", matrices, (
        one_gradient, type_stays, start_is_float, end_is_quantized, in_proportion, straight),
        forward_and_back),
}
