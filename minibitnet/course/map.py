"""The exercises of notebook 00, the map: a layer of codes, two bytes, the bytes of a model."""
import numpy as np

from ..measure.costs import memory
from ..nn.config import ModelConfig
from ..packing import unpack_ternary
from .exercise import Exercise

# ---- little_layer: y = codes x scale

PENCIL = np.float32([[1, 0, -1, 0], [0, 1, 1, -1]]), np.float32([127, -64, 32, -16]), np.float32(1 / 127)


def layers(rng):
    """codes (n, m), x_codes (m,), scale: the pencil case, then random ones."""
    yield PENCIL
    for n, m in ((3, 5), (7, 4), (1, 16), (33, 19)):
        codes = (rng.integers(3, n * m) - 1).reshape(n, m).astype(np.float32)
        x_codes = (rng.integers(255, m) - 127).astype(np.float32)
        yield codes, x_codes, np.float32(0.001 + rng.random() / 10)


def one_a_row(codes, x_codes, scale, y):
    "there is one number for each row of codes"
    return np.shape(y) == (len(codes),)


def rescaled(codes, x_codes, scale, y):
    "the sums are whole numbers, y is not: the scale multiplies them, which makes numbers of them again"
    return not np.array_equal(y, np.rint(y)) or not np.any(codes @ x_codes)


def a_row_at_a_time(codes, x_codes, scale, y):
    "a number belongs to its row: it adds the activations where the row has +1, and subtracts those at -1"
    added = np.where(codes == 1, x_codes, 0) - np.where(codes == -1, x_codes, 0)
    return np.allclose(np.asarray(y, np.float64) / scale, added.sum(1, dtype=np.float64), atol=1e-2)


def rounded_once(codes, x_codes, scale, y):
    "only the last step rounds: whole numbers are added first, and the sum is multiplied once"
    sums = np.where(codes == 1, x_codes, 0) - np.where(codes == -1, x_codes, 0)
    return np.array_equal(np.float32(y), sums.sum(1, dtype=np.float64).astype(np.float32) * np.float32(scale))


# ---- pack_column: eight codes, two bytes

def columns(rng):
    """Codes (n,) int8, of whole fours and not."""
    yield (np.int8([0, -1, -1, -1, 1, 0, 1, 1]),)
    yield (np.int8([-1] * 8),)
    for n in (8, 8, 4, 12, 5):
        yield ((rng.integers(3, n) - 1).astype(np.int8),)


def bytes_for_fours(codes, packed):
    "every four rows need one byte, and a byte is a whole number from 0 to 255"
    values = np.asarray(packed)
    return values.shape == (-(-len(codes) // 4),) and values.min() >= 0 and values.max() <= 255


def nothing_is_eleven(codes, packed):
    "no pair of bits is 11: codes -1, 0, +1 are stored as 00, 01, 10"
    return all(int(byte) >> shift & 3 != 3 for byte in packed for shift in (0, 2, 4, 6))


def nobody_is_zero(codes, packed):
    "where there is no row, the two bits are 00"
    R = len(packed)
    return not any(int(packed[r]) >> 2 * place & 3 for place in range(4) for r in range(R)
                   if r + place * R >= len(codes))


def comes_back(codes, packed):
    "unpacked again (rows r, r + R, r + 2R, r + 3R from the lowest bits up), every row is what it was"
    found = unpack_ternary(np.asarray(packed, np.uint8)[:, None], len(codes))[:, 0]
    return np.array_equal(found, codes)


# ---- bytes_of: where the bytes of a packed model are

def models(rng):
    """V, d, n_layers, F."""
    for _ in range(4):
        d = 8 * (1 + rng.integers(6))
        yield (100 + rng.integers(900), d, 1 + rng.integers(5), 4 * (d // 2 + rng.integers(40)))


def at_four_places(fn, V, d, n_layers, F):
    """The function of this model, of one with a token more, a block more, four more features in between."""
    places = ((V, d, n_layers, F), (V + 1, d, n_layers, F), (V, d, n_layers + 1, F), (V, d, n_layers, F + 4))
    answers = [fn(*place) for place in places]
    return None if answers[0] is None else Bytes(answers)


class Bytes(list):
    """Four answers, labelled."""

    def __repr__(self):
        more = zip(("a token more", "a block more", "four features more"), self[1:])
        return f"{self[0]}; with {', with '.join(f'{what} {n}' for what, n in more)}"


def packed_bytes(V, d, n_layers, F):
    """What the library counts for a model of these sizes."""
    c = ModelConfig(vocab_size=V, d_model=d, n_layers=n_layers, n_heads=1, d_ffn=F)
    return memory(c)["total"][1]


def whole_bytes(V, d, n_layers, F, answer):
    "bytes are whole numbers above 0, two bits a weight of the layers and not 1.58"
    return all(n == int(n) > 0 for n in answer)


def a_token_more(V, d, n_layers, F, answer):
    "a token more is a row more in the embedding and a row more in the head: two rows of float32"
    return answer[1] - answer[0] == packed_bytes(V + 1, d, n_layers, F) - packed_bytes(V, d, n_layers, F)


def features_more(V, d, n_layers, F, answer):
    "four features more in between are four rows of gate and of up, four columns of down, four gains a block"
    return answer[3] - answer[0] == packed_bytes(V, d, n_layers, F + 4) - packed_bytes(V, d, n_layers, F)


def a_block_more(V, d, n_layers, F, answer):
    "a block more is seven matrices of two bits a weight, a float32 scale for each, and its four norms' gains"
    return answer[2] - answer[0] == packed_bytes(V, d, n_layers + 1, F) - packed_bytes(V, d, n_layers, F)


def all_of_it(V, d, n_layers, F, answer):
    "the last norm has gains as well, and nothing is counted twice"
    return answer[0] == packed_bytes(V, d, n_layers, F)


EXERCISES = {
    "little_layer": Exercise("codes (n, m), x_codes (m,), scale -> y (n,)", layers,
                             (one_a_row, rescaled, a_row_at_a_time, rounded_once)),
    "pack_column": Exercise("codes (n,) of -1, 0, +1 -> bytes, a list of ceil(n / 4) whole numbers", columns,
                            (bytes_for_fours, nothing_is_eleven, nobody_is_zero, comes_back)),
    "bytes_of": Exercise("V, d, n_layers, F -> bytes of the packed model", models,
                         (whole_bytes, a_token_more, features_more, a_block_more, all_of_it), at_four_places),
}
