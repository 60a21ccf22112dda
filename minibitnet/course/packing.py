"""The exercises of notebook 07: bytes of ternary weights, and products taken without unpacking them."""
import numpy as np

from .exercise import Exercise


def draw(rng, *shape, low=-1, high=1):
    """Whole numbers from low to high, int64."""
    return rng.integers(high - low + 1, int(np.prod(shape))).reshape(shape) + low


# ---- one byte

def four_weights(rng):
    """Four codes, a list."""
    for w in ([0, 0, -1, 1], [-1, -1, -1, -1], [1, 0, -1, 1], [0, 1, 1, -1]):
        yield (w,)
    for _ in range(6):
        yield (draw(rng, 4).tolist(),)


def one_whole_byte(w, answer):
    "the answer is one whole number that a byte holds: 0 to 255"
    return isinstance(answer, int | np.integer) and 0 <= answer <= 255


def no_pair_is_11(w, answer):
    "the bits 11 stand for no weight, so they are in none of the four pairs"
    return all(answer >> shift & 3 != 3 for shift in (0, 2, 4, 6))


def minus_one_is_empty(w, answer):
    """a weight of -1 leaves its two bits empty and any other weight sets one of its own, so as many bits are
    set as weights are 0 or +1"""
    return int(answer).bit_count() == sum(weight >= 0 for weight in w)


def zero_is_the_low_bit(w, answer):
    """of a pair's two bits a weight of 0 sets the lower one, +1 the higher one: there are as many bits set at
    the places 0, 2, 4, 6 as weights are 0"""
    return (int(answer) & 0b01010101).bit_count() == sum(weight == 0 for weight in w)


def first_weight_is_lowest(w, answer):
    "the byte is odd exactly where the first weight is 0, for the first weight has the lowest two bits"
    return answer % 2 == (w[0] == 0)


def in_the_order_given(w, answer):
    "the pairs, read from the lowest to the highest, are the weights in the order in which they were given"
    return [(answer >> 2 * i & 3) - 1 for i in range(4)] == list(w)


# ---- a matrix

def matrices(rng):
    """Codes (n, m) int8: the pencil case, then rows in fours and not."""
    yield (np.int8([[0, -1], [-1, 1], [-1, 1], [-1, 1], [1, 0], [0, -1], [1, -1], [1, -1]]),)
    for n, m in ((4, 4), (8, 8), (5, 3), (10, 7), (13, 2), (66, 9)):
        yield (draw(rng, n, m).astype(np.int8),)


def bytes_of_every_row(codes, answer):
    "the answer is uint8, with a row of bytes for every four rows of weights, the last of them begun or full"
    n, m = codes.shape
    return answer.dtype == np.uint8 and answer.shape == ((n + 3) // 4, m)


def fields(packed):
    """(R, m) -> (4, R, m): the pairs of bits, lowest first."""
    return packed[None] >> np.uint8([0, 2, 4, 6])[:, None, None] & 3


def padding_is_empty(codes, answer):
    "rows that are not there leave the bits 00: only as many bits are set as weights are 0 or +1"
    return np.bitwise_count(answer).sum() <= (codes >= 0).sum()


def columns_stay_apart(codes, answer):
    "each column of bytes holds the weights of that column of the matrix, and of no other"
    zeros = np.bitwise_count(answer & np.uint8(0b01010101)).sum(0)
    return (np.array_equal(np.bitwise_count(answer).sum(0), (codes >= 0).sum(0))
            and np.array_equal(zeros, (codes == 0).sum(0)))


def a_quarter_apart(codes, answer):
    """the four weights of a byte are no neighbours: they lie a quarter of the (padded) matrix apart, so each
    pair of bits, taken over all bytes, is one band of rows that lie together"""
    R, n = len(answer), len(codes)
    stored = np.zeros((4 * R, codes.shape[1]), np.int8)
    stored[:n] = codes + 1
    bands = stored.reshape(4, R, -1)
    return all(any(np.array_equal(field, band) for band in bands) for field in fields(answer))


def first_band_is_lowest(codes, answer):
    "the first rows of the matrix have the lowest two bits, the last ones the highest"
    R = len(answer)
    return np.array_equal(fields(answer)[0], codes[:R] + 1)


# ---- and back

def packed_matrices(rng):
    """Bytes (R, m) and n: right ones, and with a pair 11."""
    for (codes,) in matrices(rng):
        R = -(-len(codes) // 4)
        stored = np.zeros((4 * R, codes.shape[1]), np.uint8)
        stored[:len(codes)] = codes + 1
        packed = (stored.reshape(4, R, -1) << np.uint8([0, 2, 4, 6])[:, None, None]).sum(0, dtype=np.uint8)
        yield packed, len(codes)
        i, j, pair = rng.integers(R), rng.integers(packed.shape[1]), rng.integers(4)
        damaged = packed.copy()
        damaged[i, j] |= 3 << 2 * pair
        yield damaged, len(codes)


def or_refusal(fn, packed, n):
    """What fn gives, or the ValueError that it raises."""
    try:
        return fn(packed, n)
    except ValueError as e:
        return e


def refuses_11_alone(packed, n, answer):
    "a ValueError is raised where a pair of bits is 11, whichever of the four it is, and nowhere else"
    return isinstance(answer, ValueError) == bool((fields(packed) == 3).any())


def as_many_rows(packed, n, answer):
    "the answer has n rows: padding is no weight"
    return isinstance(answer, ValueError) or answer.shape == (n, packed.shape[1])


def signed(packed, n, answer):
    "the answer is int8, and every number in it is -1, 0 or +1"
    return isinstance(answer, ValueError) or answer.dtype == np.int8 and np.isin(answer, (-1, 0, 1)).all()


def first_rows_are_lowest(packed, n, answer):
    "the first rows of the answer come from the lowest two bits of the bytes"
    R = len(packed)
    return isinstance(answer, ValueError) or np.array_equal(answer[:R] + 1, fields(packed)[0][:n])


def in_four_bands(packed, n, answer):
    """one pair of bits, taken over all bytes, is a band of rows that lie together: the rows of one byte are a
    quarter of the (padded) matrix apart"""
    rows = fields(packed).reshape(-1, packed.shape[1])[:n]
    return isinstance(answer, ValueError) or np.array_equal(answer + 1, rows)


# ---- a product by counting

def features_and_masks(rng):
    """x, a list of codes; which of them have weight +1 and which -1, a bit each."""
    yield [3, 2, 5, 1], 0b0011, 0
    yield [3, 2, 5, 1], 0b1001, 0b0010
    yield [3, -2, 5, 1], 0b1001, 0b0100
    yield [127] * 7, 127, 0
    yield [0] * 66 + [64, 1, 0, 100], 0b1011 << 66, 0
    for m in (5, 9, 30, 70):
        w = draw(rng, m)
        plus, minus = (sum(1 << j for j in range(m) if w[j] == code) for code in (1, -1))
        yield draw(rng, m, low=0, high=3).tolist(), plus, 0
        yield draw(rng, m, low=0, high=127).tolist(), plus, minus
        yield draw(rng, m, low=-127, high=127).tolist(), plus, minus


def dot_product(x, plus, minus):
    """The sum of the x whose bit is in plus, less that of those in minus."""
    return sum(value for j, value in enumerate(x) if plus >> j & 1) - sum(
        value for j, value in enumerate(x) if minus >> j & 1)


def one_number(x, plus, minus, answer):
    "the answer is one whole number"
    return isinstance(answer, int | np.integer)


def small_features_add(x, plus, minus, answer):
    """where no weight is -1 and every feature is 0, 1, 2, 3 .., the features whose weight is +1 add up: bit j
    of a mask belongs to feature j, and bit b of a feature counts 2 to the b"""
    return bool(minus) or min(x) < 0 or max(x) > 5 or answer == dot_product(x, plus, minus)


def no_limit_of_a_type(x, plus, minus, answer):
    """neither a sum above 127 nor a mask of more than 64 bits is too large: seven features of 127 add up to
    more than a byte holds, and the weights behind the 64th count as the others do"""
    return bool(minus) or min(x) < 0 or answer == dot_product(x, plus, minus)


def minus_takes_away(x, plus, minus, answer):
    """where no feature is negative, a weight of -1 takes its feature away: exchanging plus and minus turns
    the answer around"""
    return min(x) < 0 or answer == dot_product(x, plus, minus)


def negative_features_count(x, plus, minus, answer):
    """negative features count as negative: in eight bits of two's complement -1 is 11111111, and the highest
    of its bits counts -128"""
    return answer == dot_product(x, plus, minus)


# ---- a product by looking up

def features_and_indices(rng):
    """Rows of few weights that are not 0 first: they say where a wrong table is wrong."""
    for x, group in (([3, -2], 2), ([5, 1, -7, 2], 2), ([5, 1, -7, 2, 9, 4, -3], 3), ([1, -2, 4, 8, -16], 1)):
        m = len(x)
        codes = np.concatenate([np.zeros((1, m), int), np.eye(m, dtype=int), -np.eye(m, dtype=int)])
        yield np.int8(x), indices(codes, group), group
    for m, n, group in ((9, 5, 2), (12, 30, 4), (17, 7, 3), (33, 11, 5)):
        yield draw(rng, m, low=-127, high=127).astype(np.int8), indices(draw(rng, n, m), group), group
    yield np.full(12, 127, np.int8), indices(np.ones((2, 12), int), 4), 4


def indices(w, group):                                     # (n, m) -> (n, ceil(m / group))
    """Of each group of weights the number that its digits w + 1 make in base 3, the first the highest."""
    n, m = w.shape
    digits = np.ones((n, -(-m // group) * group), np.int64)
    digits[:, :m] = w + 1
    return digits.reshape(n, -1, group) @ 3 ** np.arange(group)[::-1]


def weights_of(x, index, group):
    """indices, undone -> (n, m)"""
    digits = index[..., None] // 3 ** np.arange(group)[::-1] % 3
    return digits.reshape(len(index), -1)[:, :len(x)] - 1


def one_sum_a_row(x, index, group, answer):
    "there is one whole number for each row of indices"
    return np.asarray(answer).shape == (len(index),) and np.asarray(answer).dtype.kind in "iu"


def zeros_give_zero(x, index, group, answer):
    "a row whose weights are all 0 gives 0: the digit 1 stands for a weight of 0"
    empty = ~weights_of(x, index, group).any(1)
    return not np.asarray(answer)[empty].any()


def of_one_weight(x, index, group, answer, groups):
    """Are those right of rows with a single weight that is not 0, in the first group, or in later ones?"""
    w = weights_of(x, index, group)
    single = np.abs(w).sum(1) == 1
    where = np.abs(w).argmax(1) // group
    chosen = single & ((where == 0) if groups == "first" else (where > 0))
    return np.array_equal(np.asarray(answer)[chosen], (w[chosen] @ x.astype(int)))


def first_digit_is_highest(x, index, group, answer):
    """a row with a single +1 gives the feature that it meets, with a single -1 its negative: the first weight
    of a group is the highest digit of its index, and digits 0 1 2 are -1 0 +1"""
    return of_one_weight(x, index, group, answer, "first")


def tables_of_their_own(x, index, group, answer):
    "each group of features has a table of its own, the last one too, where features may be missing"
    return of_one_weight(x, index, group, answer, "later")


def as_if_multiplied(x, index, group, answer):
    "every row's answer is what its weights times the features would add up to, however large that is"
    return np.array_equal(answer, weights_of(x, index, group) @ x.astype(int))


EXERCISES = {
    "pack4": Exercise("w, four of -1, 0, +1 -> a byte, as an int", four_weights, (
        one_whole_byte, no_pair_is_11, minus_one_is_empty, zero_is_the_low_bit, first_weight_is_lowest,
        in_the_order_given)),
    "pack_codes": Exercise("codes (n, m) of -1, 0, +1 -> uint8 (ceil(n/4), m)", matrices, (
        bytes_of_every_row, padding_is_empty, columns_stay_apart, a_quarter_apart, first_band_is_lowest)),
    "unpack_codes": Exercise("packed uint8 (ceil(n/4), m), n -> int8 (n, m)", packed_matrices, (
        refuses_11_alone, as_many_rows, signed, first_rows_are_lowest, in_four_bands), or_refusal),
    "bit_dot": Exercise("x, a list of whole numbers from -127 to 127; plus, minus, two masks -> int",
                        features_and_masks, (one_number, small_features_add, no_limit_of_a_type,
                                             minus_takes_away, negative_features_count)),
    "lookup_dot": Exercise("x (m,) int8, index (n, ceil(m/group)), group -> (n,) whole numbers",
                           features_and_indices, (one_sum_a_row, zeros_give_zero, first_digit_is_highest,
                                                  tables_of_their_own, as_if_multiplied)),
}
