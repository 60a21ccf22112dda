"""The exercises of notebook 01: three quantizers, the entropy of codes, and codes of least error.

Random inputs are multiples of 1/64, so small that sums of them are exact in whatever order they are taken."""
import math

import numpy as np

from ..exact import log
from ..quant import EPS
from .exercise import Exercise


def drawn(rng, n, m, most=160):
    """(n, m) float32: multiples of 1/64 below most / 64, none of them 0."""
    size = (1 + rng.integers(most - 1, n * m)) / 64
    return np.where(rng.random(n * m) < 0.5, -size, size).reshape(n, m).astype(np.float32)


# ---- of every (codes, scale)

def a_pair(x, answer):
    "the answer is a pair, first the codes, of the shape of what is quantized, then the scale"
    codes, _ = answer
    return np.shape(codes) == x.shape


def one_scale(w, answer):
    "one scale serves the whole matrix, and it is above 0"
    return np.size(answer[1]) == 1 and np.all(np.asarray(answer[1]) > 0)


def even_zeros(w, answer):
    "where there is nothing but zeros the codes are numbers all the same, and the scale is above 0"
    codes, scale = map(np.asarray, answer)
    return w.any(0).all() or (np.isfinite(codes).all() and np.isfinite(scale).all() and (scale > 0).all())


def magnitudes_add_up(w, answer):
    "the scale, written into every place of the matrix, adds up to as much as the magnitudes of the weights"
    there = np.abs(w).sum(dtype=float)
    return there < w.size * EPS or math.isclose(float(np.ravel(answer[1])[0]) * w.size, there, rel_tol=1e-3)


# ---- absmean

def matrices(rng):
    """w (n, m) float32: the pencil case, zeros, one with outliers, random ones."""
    yield (np.float32([[0.75, -0.125, -1, 0.25], [0.1875, 0.5, 0.4375, -0.75]]),)
    yield (np.zeros((2, 3), np.float32),)
    yield (np.float32([[9, -1, 0.5], [-0.25, 1, 0.25]]),)
    for n, m in ((3, 5), (1, 9), (8, 2)):
        yield (drawn(rng, n, m),)
    yield (drawn(rng, 7, 6) + 1,)


def three_codes(w, answer):
    "each code is -1, 0 or +1"
    return np.isin(answer[0], (-1, 0, 1)).all()


def nearest_value(w, answer):
    "no other of the three codes, times the scale, is nearer to the weight than its own"
    codes, scale = np.asarray(answer[0], float), float(np.ravel(answer[1])[0])
    nearest = np.min([np.abs(w - code * scale) for code in (-1, 0, 1)], axis=0)
    return (np.abs(w - codes * scale) <= nearest + 2e-3 * scale).all()


def ties_to_even(w, answer):
    "a weight exactly halfway between two codes has the even one of them"
    halfway = 2 * np.abs(w) * w.size == np.abs(w).sum(dtype=float)
    return not w.any() or not np.asarray(answer[0])[halfway].any()


# ---- sign

def shifted_matrices(rng):
    """w (n, m) float32 whose mean is not 0."""
    yield (np.float32([[5, 6, 8], [6.5, 11.5, 5]]),)
    yield (np.float32([[3, 1], [-1, 1]]),)
    yield (np.zeros((3, 2), np.float32),)
    for n, m in ((4, 3), (2, 7), (9, 5)):
        yield (drawn(rng, n, m) + np.float32(0.5),)
    yield (np.float32(2) ** rng.integers(8, 15).reshape(3, 5) - np.float32(40),)


def two_codes(w, answer):
    "each code is -1 or +1, and there is no third one"
    return np.isin(answer[0], (-1, 1)).all()


def sides_of_the_average(w, answer):
    "a weight above the matrix's average never has -1, a weight below it never +1"
    codes, average = np.asarray(answer[0]), w.mean(dtype=float)
    return (codes[w > average + 1e-6] == 1).all() and (codes[w < average - 1e-6] == -1).all()


def average_itself(w, answer):
    "a weight that equals the average is not above it"
    return (np.asarray(answer[0])[np.abs(w - w.mean(dtype=float)) < 1e-6] == -1).all()


# ---- absmax

def tokens(rng):
    """x (m, tokens) float32: halves, zeros, tokens of very different sizes."""
    yield (np.float32([[2, -0.5], [-1, 0.2], [0.5, 0]]),)
    yield (np.float32([[127, 31.75], [63.5, -0.375], [-0.5, 0.125], [2.5, 7.875]]),)
    yield (np.float32([[0, -3, -100], [0, -1, -1], [0, -2, -37]]),)
    for m, n in ((5, 3), (3, 8), (16, 1)):
        yield (drawn(rng, m, n) * 4 ** np.arange(n, dtype=np.float32),)
    yield (-np.abs(drawn(rng, 6, 4)),)


def a_scale_a_token(x, answer):
    "there is one scale for each token, in a row: its shape is (1, N)"
    return np.shape(answer[1]) == (1, x.shape[1])


def whole_codes(x, answer):
    "codes are whole numbers"
    return np.array_equal(answer[0], np.rint(answer[0]))


def fits_a_byte(x, answer):
    "every code is a signed byte, and so is its opposite: there is no +128"
    return np.abs(np.asarray(answer[0], float)).max() <= 127


def loudest_is_largest(x, answer):
    "the number of largest magnitude in each token has the largest code that there is, or its opposite"
    largest = np.abs(np.asarray(answer[0], float)).max(0)
    return (largest[np.abs(x).max(0) > EPS] == 127).all()


def within_half_a_step(x, answer):
    "code times scale is x again, to half a scale"
    codes, scale = np.asarray(answer[0], float), np.asarray(answer[1], float)
    return (np.abs(codes * scale - x) <= 0.5001 * scale + 1e-12).all()


def steps_to_even(x, answer):
    "where x is exactly halfway between two codes it has the even one"
    exact = x * (127 / np.abs(x).max(0, keepdims=True).clip(EPS))
    ties = (exact % 1 == 0.5) & (np.log2(np.abs(x).max(0) / 127 + EPS) % 1 < 1e-3)
    return (np.asarray(answer[0])[ties] % 2 == 0).all()


# ---- entropy

def symbols(rng):
    """Codes: one symbol, two, three, named otherwise, in rows."""
    yield (np.array([0, 0, 0, 0]),)
    yield (np.array([[1, -1], [-1, 1], [1, -1]]),)
    yield (np.array([[0, 0], [0, 1], [-1, 1]]),)
    yield (np.array([-1, 0, 0, 1]),)
    yield (np.array([7, 9, 7, 9, 11, 9]),)
    for n, most in ((24, 3), (31, 3), (40, 5)):
        yield (rng.integers(most, n) * rng.integers(2, n) - 1,)


def questions(fn, codes):
    """The entropy of the codes, of a text twice as long, of codes of other names, and of two questions:
    is it the most frequent one, and if not, which one is it?"""
    values, counts = np.unique(codes, return_counts=True)
    most = codes == values[counts.argmax()]
    of_them = {"codes": codes, "twice": np.concatenate([codes, codes]), "renamed": 3 * codes + 40,
               "first": most.astype(int), "rest": codes[~most] if (~most).any() else np.array([0])}
    bits = {name: fn(part.copy()) for name, part in of_them.items()}
    if bits["codes"] is None:
        return None
    return Bits({name: float(b) for name, b in bits.items()}, (~most).mean())


class Bits:
    """What a function says of several texts."""

    def __init__(self, of, rare):
        self.of, self.rare = of, rare

    def __repr__(self):
        said = ", ".join(f"{name}: {bits:.5g}" for name, bits in self.of.items())
        return f"{said} (rest: the codes without the most frequent one, first: is it that one?)"


def close(a, b):
    """Equal but for rounding."""
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def not_negative(codes, answer):
    "bits are a number, and never less than 0"
    return all(math.isfinite(bits) and bits > -1e-9 for bits in answer.of.values())


def one_symbol_says_nothing(codes, answer):
    "who knows beforehand what will come learns nothing from it"
    return len(np.unique(codes)) > 1 or close(answer.of["codes"], 0)


def equal_shares(codes, answer):
    "of symbols that are all equally frequent, twice as many are one bit more, and one alone is 0 bits"
    counts = np.unique(codes, return_counts=True)[1]
    return len(set(counts)) > 1 or close(answer.of["codes"], float(log(float(len(counts))) / log(2.0)))


def length_is_nothing(codes, answer):
    "the same text twice over has the same bits for each symbol"
    return close(answer.of["twice"], answer.of["codes"])


def names_are_nothing(codes, answer):
    "only how frequent the symbols are counts, not which numbers they are"
    return close(answer.of["renamed"], answer.of["codes"])


def two_questions(codes, answer):
    """it is the same to ask two questions, first whether a code is the most frequent one, and then, where it
    is not, which one it is: the bits of both, the second as often as it is asked, are the bits of the code"""
    return close(answer.of["codes"], answer.of["first"] + answer.rare * answer.of["rest"])


# ---- the least error

def shapes(rng):
    """w (n, m) float32 of bell, uniform, pointed and shifted distributions."""
    yield (np.float32([[0.75, -0.125, -1, 0.25], [0.1875, 0.5, 0.4375, -0.75]]),)
    yield (np.float32([[2, -3, 5, -1.5]]),)
    yield (rng.standard_normal((40, 25)).astype(np.float32),)
    yield ((rng.random(1001) - 0.5).reshape(7, 143).astype(np.float32),)
    yield (laplace(rng, 1500).reshape(30, 50),)
    yield (1.5 + 0.25 * rng.standard_normal((9, 31)).astype(np.float32),)
    few = 1e-2 * rng.standard_normal((25, 40))
    few[::5, ::8] = 1 + 0.1 * rng.standard_normal((5, 5))
    yield (few.astype(np.float32),)


def laplace(rng, n):
    """n numbers of a distribution with a sharp peak and heavy tails."""
    sign = np.where(rng.random(n) < 0.5, -1, 1)
    return (sign * log(1 - rng.random(n))).astype(np.float32)


def squared_error(w, codes, scale):
    """The sum of (w - codes scale)^2."""
    return ((w.astype(float) - np.asarray(codes, float) * float(np.ravel(scale)[0])) ** 2).sum()


def right_sign(w, answer):
    "no weight has a code of the other sign"
    return (np.asarray(answer[0]) * w >= 0).all()


def scale_of_these_codes(w, answer):
    "with these codes, neither a slightly smaller scale nor a slightly larger one has a smaller squared error"
    codes, scale = answer
    here = squared_error(w, codes, scale)
    return all(here <= squared_error(w, codes, np.ravel(scale)[0] * factor) for factor in (0.995, 1.005))


def no_threshold_is_better(w, answer):
    """whatever the share of zeros, no other codes with the scale that suits them have a smaller error;
    weights are of many shapes, and a rule of thumb that is good for one is not good for all"""
    a = np.sort(np.abs(w).ravel().astype(float))[::-1]
    tried = [(a**2).sum() - a[:k].sum() ** 2 / k for k in range(1, a.size + 1)]
    return squared_error(w, *answer) <= min(tried) + 1e-6 * (a**2).sum()


EXERCISES = {
    "ternarize": Exercise("w (n, m) float32 -> (codes (n, m), scale)", matrices, (
        a_pair, even_zeros, three_codes, one_scale, magnitudes_add_up, nearest_value, ties_to_even)),
    "binarize": Exercise("w (n, m) float32 -> (codes (n, m), scale)", shifted_matrices, (
        a_pair, even_zeros, two_codes, one_scale, magnitudes_add_up, sides_of_the_average, average_itself)),
    "absmax_codes": Exercise("x (m, N) float32 -> (codes (m, N), scale (1, N))", tokens, (
        a_pair, a_scale_a_token, even_zeros, whole_codes, fits_a_byte, loudest_is_largest, within_half_a_step,
        steps_to_even)),
    "entropy_bits": Exercise("codes, an array of whole numbers -> bits for each of them", symbols, (
        not_negative, one_symbol_says_nothing, length_is_nothing, names_are_nothing, equal_shares,
        two_questions), questions),
    "least_error_ternary": Exercise("w (n, m) float32, not all 0 -> (codes (n, m), scale)", shapes, (
        a_pair, three_codes, one_scale, right_sign, scale_of_these_codes, no_threshold_is_better)),
}
