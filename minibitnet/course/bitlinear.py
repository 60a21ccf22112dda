"""The exercises of notebook 04: a BitLinear that rounds once, and products that no order can change."""
import math

import numpy as np

from ..exact import total
from ..quant import absmax_int8, absmean_ternary
from .exercise import Exercise, answers

ORDERS = 60


# ---- a layer

def inputs_and_weights(rng):
    """x (m, N), w (n, m): the pencil case, then random ones of all sizes of numbers."""
    yield (np.float32([[2], [-1], [0.5], [-0.25]]),
           np.float32([[0.75, -0.125, -1, 0.25], [0.1875, 0.5, 0.4375, -0.75]]))
    for m, n, N, size in ((9, 5, 3, 1), (33, 7, 4, 1e-3), (64, 20, 6, 1e3), (130, 11, 8, 1)):
        sizes = np.exp2(np.arange(N) - N // 2)                           # tokens of different lengths
        yield ((size * sizes * rng.standard_normal((m, N))).astype(np.float32),
               (rng.standard_normal((n, m)) / 8).astype(np.float32))


def with_first_alone(fn, x, w):
    """Its answer, and that for the first token alone."""
    return answers(fn, (x, w), (x[:, :1], w))


def codes_and_scale(x, w):
    """x, w -> sums of whole numbers (n, N) int64, the scale of w (1, 1), the scales of x (1, N)."""
    (w_codes, w_scale), (x_codes, x_scale) = absmean_ternary(w), absmax_int8(x)
    return w_codes.astype(np.int64) @ x_codes.astype(np.int64), w_scale, x_scale


def a_number_for_each(x, w, answer):
    "y is float32 and has a row for each output and a column for each token"
    return answer.first.dtype == np.float32 and answer.first.shape == (len(w), x.shape[1])


def tokens_apart(x, w, answer):
    "a token is quantized by itself: alone or among others, it gives the same"
    return np.allclose(answer.first[:, :1], answer.others[0], rtol=1e-5, atol=0)


def right_size(x, w, answer):
    "y is what the quantized weights and the quantized inputs give, up to a share of about 1e-5"
    sums, w_scale, x_scale = codes_and_scale(x, w)
    exact = sums * np.float64(w_scale) * x_scale
    return np.allclose(answer.first, exact, rtol=1e-5, atol=1e-5 * x_scale.max())


def rounded_once(x, w, answer):
    """equal to 1e-5 is not equal: whole numbers are summed without any rounding, and the single
    multiplication after it, in float32 as they are, is by one scale; which of your steps rounds more often,
    or more seldom?"""
    sums, w_scale, x_scale = codes_and_scale(x, w)
    return np.array_equal(answer.first, sums.astype(np.float32) * (w_scale * x_scale))


# ---- how wide

def code_sizes(rng):
    """Largest codes of both sides and the bits of a mantissa."""
    yield 127, 1, 24
    yield 127, 127, 24
    yield 128, 1, 24
    yield 127, 1, 53
    yield 1, 1, 60                               # a float would lose the last digits
    for _ in range(6):
        yield 1 + rng.integers(255), 1 + rng.integers(127), 16 + rng.integers(30)


def counted(code_a, code_b, mantissa_bits, answer):
    "the answer is a whole number of terms, an int"
    return isinstance(answer, int | np.integer)


def never_reaches(code_a, code_b, mantissa_bits, answer):
    "so many products, each as large as it can be and all of one sign, stay below 2^mantissa_bits"
    return int(answer) * code_a * code_b < 2**mantissa_bits


def no_wider(code_a, code_b, mantissa_bits, answer):
    "with one term more the worst case does not stay below it"
    return (int(answer) + 1) * code_a * code_b >= 2**mantissa_bits


# ---- a grid for every row

def rows_and_bits(rng):
    """x (n, K) and the bits of a norm: rows of one size, of several, one of zeros, one that rounding
    lengthens."""
    yield np.array([[0.3, -0.7, 0.2]]), 4
    yield np.array([[0.9, *[1.51] * 99]]) / 16, 4
    yield np.array([[3.0, -1.0, 2.0], [0, 0, 0], [3e-5, 1e-5, -2e-5]]), 6
    for n, K, bits in ((3, 7, 5), (5, 40, 8), (4, 300, 12)):
        yield rng.standard_normal((n, K)) * np.exp2(3 * np.arange(n) - 4)[:, None], bits


def like_x(x, bits, answer):
    "there is a number for every number of x, near it: a multiple of its row's unit, not a count of units"
    return answer.shape == x.shape and np.abs(answer - x).max() <= np.abs(x).max()


def last_unit(row):
    """The largest power of two of which all numbers are whole multiples."""
    exponents = []
    for value in row[row != 0].tolist():
        m, e = math.frexp(value)
        m = int(m * 2**53)
        exponents.append(e - 53 + (m & -m).bit_length() - 1)
    return 2.0 ** min(exponents, default=0)


def needed_unit(row, bits):
    """The smallest power of two for which the norm, and what rounding may add to it, is 2^bits units."""
    room = 2.0**bits - 0.5 * math.sqrt(row.size)
    if not row.any():
        return 0.0
    return 2.0 ** math.ceil(math.log2(math.sqrt(math.fsum(row * row)) / room))


def fits(x, bits, answer):
    """all numbers of a row are whole multiples of one power of two, and the L2 norm of the row is at most
    2^bits of it, of the row as it is *after* rounding"""
    return all(math.fsum((row / last_unit(row)) ** 2) <= 4.0**bits for row in answer)


def no_coarser(x, bits, answer):
    """no number moves by more than half a unit, of the finest unit that its own row can do with: rows have
    units of their own, and are rounded to the nearest multiple"""
    return all(np.abs(new - row).max() <= needed_unit(row, bits) / 2 for row, new in zip(x, answer))


# ---- two operands

def two_vectors(rng):
    """a, b (K,) and orders (ORDERS, K) to add their products in."""
    for K, sign in ((64, 0), (512, 0), (512, 1), (2048, 0), (2048, 1)):
        a, b = rng.standard_normal((2, K)).astype(np.float32)
        orders = np.stack([rng.permutation(K) for _ in range(ORDERS)])
        yield (np.abs(a), np.abs(b), orders) if sign else (a, b, orders)
    longer = np.float32(np.repeat([128.51, 130.51], 500) / 512)          # rounding makes the norm longer
    yield longer, longer, np.argsort(orders[:, :1000], 1)


def of_the_two(fn, a, b, orders):
    """The student's function knows nothing of the orders."""
    return fn(a, b)


def two_of_float32(a, b, orders, answer):
    "the answer is a pair of float32 vectors, as long as those that came"
    return len(answer) == 2 and all(new.dtype == np.float32 and new.shape == a.shape for new in answer)


def no_order_matters(a, b, orders, answer):
    """multiplied in pairs and summed in float32 they give one result in every order, one by one or in a tree:
    long vectors and those of one sign too"""
    products = (answer[0] * answer[1])[orders]
    one_by_one = np.add.accumulate(products, axis=1)[:, -1]
    return len({*one_by_one.tolist(), *total(products, 1)[:, 0].tolist()}) == 1


def numbers_stay(a, b, orders, answer):
    "every number stays where it was, up to about a two-thousandth of its vector's norm"
    return all(np.abs(new.astype(float) - old).max() <= 2.0**-11 * math.sqrt(math.fsum(old.astype(float)**2))
               for old, new in zip((a, b), answer))


EXERCISES = {
    "bit_linear": Exercise("x (m, N), w (n, m) float32 -> y (n, N) float32", inputs_and_weights, (
        a_number_for_each, tokens_apart, right_size, rounded_once), with_first_alone),
    "widest": Exercise("code_a, code_b, mantissa_bits, three ints -> how many terms, an int", code_sizes, (
        counted, never_reaches, no_wider)),
    "rows_on_grid": Exercise("x (n, K) float64, bits -> (n, K)", rows_and_bits, (like_x, fits, no_coarser)),
    "operands": Exercise("a, b (K,) float32 -> two (K,) float32", two_vectors, (
        two_of_float32, numbers_stay, no_order_matters), of_the_two),
}
