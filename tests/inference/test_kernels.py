"""Every fast kernel gives the integers of the three nested sums: by pencil, on
random, odd and extreme matrices."""
import numpy as np
import pytest

from minibitnet.inference import kernels
from minibitnet.inference.kernels import (bit_planes, by_bit_planes, by_blas, by_blas_in_pairs, by_lookup,
                                          matmul, parts_of, reference, reference_numpy, repack, stack,
                                          table_indices, unpack)
from minibitnet.nn import ops
from minibitnet.packing import pack_ternary
from minibitnet.quant import Quantized, absmax_int8, absmean_ternary, sign_binary
from minibitnet.threads import pool_of

KERNELS = {                                      # name: (codes, the weights as numbers) -> y
    "reference_numpy": reference_numpy,
    "by_blas": lambda codes, w: by_blas(codes, bit_planes(w)),
    "by_bit_planes": lambda codes, w: by_bit_planes(codes, bit_planes(w)),
    "by_lookup": lambda codes, w: by_lookup(codes, table_indices(w)),
    "matmul": lambda codes, w: matmul(codes, bit_planes(w)),
    "matmul, integer": lambda codes, w: matmul(codes, bit_planes(w), integer=True),
}
# n, m, N: one of each; below, at and above the 8 of a byte, 64 of a word, 72 of a block; any number of tokens
SHAPES = [(1, 1, 1), (1, 7, 1), (3, 8, 2), (5, 9, 4), (2, 63, 1), (2, 64, 5), (9, 65, 1), (4, 71, 3),
          (4, 72, 1), (3, 73, 6), (7, 130, 1), (11, 200, 2), (0, 5, 2), (4, 0, 2), (3, 5, 0)]


def agrees(kernel, codes, w, truth=reference):
    """Whether kernel gives exactly the integers of the truth, as int32."""
    y, expected = kernel(codes, w), truth(codes, w)
    return y.dtype == expected.dtype == np.int32 and np.array_equal(y, expected)


def random_product(rng, n, m, N):
    return rng.integers(-127, 128, (m, N)).astype(np.int8), rng.integers(-1, 2, (n, m)).astype(np.int8)


every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


@pytest.mark.parametrize("kernel", [reference, *KERNELS.values()], ids=["reference", *KERNELS])
def test_a_product_by_pencil(kernel):
    """Rows +1 -1 0, 0 0 0 and -1 -1 -1 times 5 7 -127 and 127 127 127: 5 - 7 = -2 and 0; 0 and
    0; -5 - 7 + 127 = 115 and -381."""
    w = np.array([[1, -1, 0], [0, 0, 0], [-1, -1, -1]], np.int8)
    codes = np.array([[5, 127], [7, 127], [-127, 127]], np.int8)
    assert kernel(codes, w).tolist() == [[-2, 0], [0, 0], [115, -381]]


# ---- two tokens in one number

def of_four_bits(rng, n, m, N):
    return rng.integers(-8, 8, (m, N)).astype(np.int8), rng.integers(-1, 2, (n, m)).astype(np.int8)


def paired(codes, w):
    return by_blas_in_pairs(codes, bit_planes(w))


def test_a_pair_by_pencil():
    """Tokens (5, 7) and (-3, 2): as one number 5 - 3 * 4096 and 7 + 2 * 4096. Row +1 -1: -2 - 5 * 4096."""
    codes, w = np.array([[5, -3], [7, 2]], np.int8), np.array([[1, -1]], np.int8)
    assert paired(codes, w).tolist() == [[-2, -5]]


@pytest.mark.parametrize("n, m, N", SHAPES)
def test_pairs_of_odd_shapes(n, m, N, rng):
    assert agrees(paired, *of_four_bits(rng, n, m, N))


def test_two_thousand_random_pairs(rng):
    for _ in range(2000):
        n, m, N = (int(k) for k in rng.integers(1, (9, 700, 7)))
        assert agrees(paired, *of_four_bits(rng, n, m, N), truth=reference_numpy)


@pytest.mark.parametrize("code, weight", [(7, 1), (-8, 1), (-8, -1), (7, -1)])
@pytest.mark.parametrize("m", [255, 256, 292, 293, 2560, 6912])
def test_extreme_pairs_do_not_overflow(code, weight, m):
    """All features at the largest code, in one token, in the other, in both, of either sign."""
    codes = np.zeros((m, 4), np.int8)
    codes[:, 0], codes[:, 2:] = code, [[code, -code if code == 7 else 7]]
    assert agrees(paired, codes, np.full((3, m), weight, np.int8), truth=reference_numpy)


def test_parts_hold_what_a_field_holds():
    """2,047: of 7 there would be 292 features, and 288 are whole spans of 32; of -8 255, and 224."""
    assert parts_of(np.full((600, 2), 7)) == [slice(0, 288), slice(288, 576), slice(576, 600)]
    assert parts_of(np.full((600, 2), -8)) == [slice(0, 224), slice(224, 448), slice(448, 600)]
    assert parts_of(np.ones((2047, 1))) == [slice(0, 2047)]
    assert parts_of(np.ones((2048, 1))) == [slice(0, 2016), slice(2016, 2048)]
    one_loud = np.ones((600, 3), np.int8)
    one_loud[:, 1] = 7
    assert parts_of(one_loud)[0] == slice(0, 288), "the loudest token decides"
    assert parts_of(np.ones((0, 3))) == [] and parts_of(np.ones((3, 0))) == [slice(0, 3)]


def test_wider_codes_are_refused(rng):
    with pytest.raises(AssertionError, match="codes of more than 4 bits"):
        paired(*random_product(rng, 2, 30, 2))


def test_pairs_on_threads(rng, monkeypatch):
    monkeypatch.setattr(kernels, "TILE", 64)
    codes, w = of_four_bits(rng, 40, 30, 5)
    with pool_of(3) as pool:
        assert agrees(lambda codes, w: by_blas_in_pairs(codes, bit_planes(w), pool), codes, w)


def test_the_example_of_by_bit_planes():
    """Its docstring's table, row by row: bits, xor, and, count, for the places 1 2 4
    -8; and the kernel's own eight."""
    w, x = np.array([1, -1, 0, 1]), np.array([3, -2, 5, -7])
    nonzero, negative, y = (w != 0).astype(int), (w < 0).astype(int), 0
    for b, c in enumerate((1, 2, 4, -8)):
        bits = x >> b & 1
        masked = nonzero & (negative ^ bits)
        columns = (" ".join(map(str, column)) for column in (bits, negative ^ bits, masked))
        assert f"{b} ({c})".ljust(11) + "   ".join(columns) in by_bit_planes.__doc__
        y += c * masked.sum()
    assert y + negative.sum() == w @ x == by_bit_planes(x[:, None], bit_planes(w[None]))[0, 0] == -2


@every_kernel
@pytest.mark.parametrize("n, m, N", SHAPES)
def test_random_matrices_of_odd_shapes(kernel, n, m, N, rng):
    assert agrees(kernel, *random_product(rng, n, m, N))


@every_kernel
@pytest.mark.parametrize("code", [-127, 127])
@pytest.mark.parametrize("weight", [-1, 0, 1])
def test_extreme_sums_do_not_overflow(kernel, code, weight):
    """All activations +-127, all weights alike: |y| = 127 m, the largest there
    is, over many words and blocks."""
    codes, w = np.full((3000, 1), code, np.int8), np.full((2, 3000), weight, np.int8)
    assert kernel(codes, w).tolist() == [[code * weight * 3000]] * 2


@every_kernel
@pytest.mark.parametrize("code", [-1, 127])
def test_four_words_at_a_time_do_not_overflow_eight_bits(kernel, code):
    """With 1,639 to 2,048 rows bit planes come four words at a time: 4 * 64 = 256 bits
    set, one more than uint8 holds."""
    assert kernels.BLOCK // (8 * 1800) == 4
    codes, w = np.full((320, 1), code, np.int8), np.ones((1800, 320), np.int8)
    assert (kernel(codes, w) == 320 * code).all()


@every_kernel
@pytest.mark.parametrize("words", [1023, 1024])
def test_long_rows_do_not_overflow_sixteen_bits(kernel, words):
    """Every bit of every code of -1 is set: 64 * 1,023 = 65,472 fits in uint16,
    and 64 * 1,024 = 2^16 would be 0."""
    codes, w = np.full((64 * words, 1), -1, np.int8), np.ones((2, 64 * words), np.int8)
    assert kernel(codes, w).tolist() == [[-64 * words]] * 2


@every_kernel
def test_the_widest_float32_product_is_still_exact(kernel):
    """m = 132,104: 127 m = 16,777,208 is 8 below 2^24. A row of +1, one of -1,
    and one that ends on an odd sum."""
    m = (2**24 - 1) // 127
    codes, w = np.full((m, 1), 127, np.int8), np.ones((3, m), np.int8)
    w[1], codes[-1], w[2, 0] = -1, 126, 0
    assert kernel(codes, w).ravel().tolist() == [127 * m - 1, 1 - 127 * m, 127 * (m - 1) - 1]


def test_by_blas_refuses_what_float32_cannot_count_and_matmul_then_counts_bits():
    m = 2**24 // 127 + 1
    w = bit_planes(np.ones((1, m), np.int8))
    with pytest.raises(AssertionError, match="132105 features overflow the exact range of float32"):
        by_blas(np.ones((m, 9), np.int8), w)
    assert matmul(np.full((m, 2), 127, np.int8), w).tolist() == [[127 * m] * 2]


@every_kernel
def test_binary_weights_run_too(kernel, rng):
    codes, _ = random_product(rng, 1, 100, 3)
    w = sign_binary(rng.standard_normal((10, 100)).astype(np.float32)).codes
    assert set(np.unique(w)) == {-1, 1} and agrees(kernel, codes, w)


@every_kernel
def test_codes_come_as_float32_as_the_quantizer_gives_them(kernel, rng):
    codes = absmax_int8(rng.standard_normal((90, 5)).astype(np.float32)).codes
    assert codes.dtype == np.float32
    assert agrees(kernel, codes, random_product(rng, 8, 90, 1)[1])


@every_kernel
def test_large_matrices_are_handled_in_parts(kernel, rng, monkeypatch):
    """Blocks of tokens, of words, of rows: with small limits a middling product needs
    several of each, the last one short."""
    codes, w = random_product(rng, 50, 500, 7)
    for limit in (1, 40 * 8 * 3, 50 * 8 * 2 * 3):
        monkeypatch.setattr(kernels, "BLOCK", limit)
        monkeypatch.setattr(kernels, "TILE", limit)
        assert agrees(kernel, codes, w, truth=reference_numpy)


def test_a_wrong_kernel_is_rejected(rng):
    """The same comparison refuses kernels that are wrong for one weight, one row, in a
    type, or only in extreme sums."""
    codes, w = random_product(rng, 6, 300, 2)
    codes[0] = 1

    def one_weight(codes, w):
        w = w.copy()
        w[3, 0] = 1 - abs(w[3, 0])
        return reference_numpy(codes, w)
    wrong = {"one weight": one_weight,
             "rows in another order": lambda codes, w: reference_numpy(codes, w[::-1]),
             "another type": lambda codes, w: reference_numpy(codes, w).astype(np.float32),
             "sums of 16 bits": lambda codes, w: reference_numpy(codes, w).astype(np.int16).astype(np.int32)}
    assert agrees(reference_numpy, codes, w)
    assert not any(agrees(kernel, codes, w) for name, kernel in wrong.items() if name != "sums of 16 bits")
    assert not agrees(wrong["sums of 16 bits"], np.full((300, 1), 127), np.ones((1, 300), np.int8))


def test_matmul_takes_one_token_several_and_batches(rng):
    """(m,), (m, N) and (m, B, T) give (n,), (n, N) and (n, B, T), on either side of the change of kernels."""
    codes, w = random_product(rng, 6, 70, 12)
    planes, y = bit_planes(w), reference(codes, w)
    assert np.array_equal(matmul(codes[:, 0], planes), y[:, 0])
    assert np.array_equal(matmul(codes[:, :2], planes), y[:, :2])
    assert np.array_equal(matmul(codes.reshape(70, 3, 4), planes), y.reshape(6, 3, 4))


def test_matmul_refuses_activations_of_another_size(rng):
    """60 and 64 features fill one word alike, so the words alone would not tell."""
    with pytest.raises(AssertionError, match="activations have 64 features, the matrix has 60"):
        matmul(np.ones(64, np.int8), bit_planes(np.ones((2, 60), np.int8)))


def test_integer_takes_no_kernel_with_a_float(rng, monkeypatch):
    def fails(*_):
        raise AssertionError("a float kernel")
    codes, w = random_product(rng, 3, 20, 40)
    monkeypatch.setattr(kernels, "by_blas", fails)
    assert np.array_equal(matmul(codes, bit_planes(w), integer=True), reference_numpy(codes, w))
    with pytest.raises(AssertionError, match="a float kernel"):
        matmul(codes, bit_planes(w))


def test_the_packed_product_is_the_training_forward_bit_for_bit(rng):
    """int32 sums, converted to float32 (exact below 2^24) and multiplied by the same s = s_w s_x, are
    quantized_linear's output."""
    w = absmean_ternary(rng.standard_normal((30, 200)).astype(np.float32))
    x = absmax_int8(rng.standard_normal((200, 2, 5)).astype(np.float32))
    expected = ops.quantized_linear.forward(Quantized(x.codes, x.scale), w)
    sums = matmul(x.codes, repack(pack_ternary(w.codes), 30))
    assert np.array_equal(sums.astype(np.float32) * (w.scale[..., None] * x.scale), expected)


def test_threads_do_not_change_the_result(rng, monkeypatch):
    monkeypatch.setattr(kernels, "TILE", 1000)
    monkeypatch.setattr(kernels, "SHARE", 30)
    shared, share_out = [], kernels.share_out
    monkeypatch.setattr(kernels, "share_out", lambda work, shares, pool: (
        shared.append(shares), share_out(work, shares, pool)))
    with pool_of(3) as pool:
        for n, N in ((50, 8), (14, 1), (29, 1), (31, 2), (50, 3), (0, 1)):
            codes, w = random_product(rng, n, 100, N)
            assert np.array_equal(matmul(codes, bit_planes(w), pool=pool), reference_numpy(codes, w))
    assert shared == [2, 3], "of 62 and 100 words; 58 are too few to share"


def test_bit_planes_by_pencil():
    """The row 0 -1 +1 -1 has bits 1 2 3 in nonzero, 2 + 4 + 8 = 14, and bits 1 3 in negative, 2 + 8 = 10."""
    w = bit_planes(np.array([[0, -1, 1, -1]]))
    assert w.nonzero.view(np.uint8)[0].tolist() == [14] + [0] * 7
    assert w.negative.view(np.uint8)[0].tolist() == [10] + [0] * 7
    assert w.negatives.tolist() == [2] and w.shape == (1, 4)


def test_table_indices_by_pencil():
    """Eight weights +1 0 0 0 0 0 0 -1 are the digits 2 1 1 1 1 1 1 0: 2 * 2187 + (729 + 243 + 81 + 27 + 9 +
    3) = 5466, in the second of nine tables 6561 more; eight zeros are (6561 - 1) / 2 = 3280."""
    row = [1, 0, 0, 0, 0, 0, 0, -1]
    index = table_indices(np.array([row + row])).index
    assert index[0, :3, 0].tolist() == [5466, 6561 + 5466, 2 * 6561 + 3280]


@pytest.mark.parametrize("n, m", [(1, 1), (5, 64), (6, 130), (0, 3), (3, 0)])
def test_unpacking_gives_back_the_weights(n, m, rng):
    w = rng.integers(-1, 2, (n, m)).astype(np.int8)
    planes = repack(pack_ternary(w), n)
    assert planes.shape == (n, m)
    assert np.array_equal(unpack(planes), w) and np.array_equal(unpack(planes, slice(1, 3)), w[1:3])


def test_stacked_matrices_are_multiplied_in_one_go(rng):
    """q, k and v see the same input: the rows of the stacked product are theirs, one after another."""
    codes, q = random_product(rng, 8, 100, 1)
    k, v = (random_product(rng, 4, 100, 1)[1] for _ in range(2))
    y = matmul(codes, stack([bit_planes(w) for w in (q, k, v)]))
    assert np.array_equal(y, np.concatenate([reference(codes, w) for w in (q, k, v)]))


def test_the_resident_forms_take_two_bits_a_weight():
    """64 * 9 = 576 features: nothing is padding. The count of a row's negative weights adds 4 bytes a row."""
    w = np.zeros((100, 576), np.int8)
    assert (bit_planes(w).nbytes - 400) * 8 / w.size == table_indices(w).nbytes * 8 / w.size == 2


def test_numpys_buffer_size_is_given_back(rng):
    codes, w = random_product(rng, 3, 20, 1)
    before = np.getbufsize()
    by_bit_planes(codes, bit_planes(w)), by_lookup(codes, table_indices(w))
    assert np.getbufsize() == before
