"""The byte layouts by their golden bytes, then round trips of odd shapes, then everything that is refused."""
import numpy as np
import pytest

from minibitnet import packing
from minibitnet.packing import pack_base3, pack_ternary, unpack_base3, unpack_ternary
from minibitnet.quant import absmean_ternary, sign_binary

SHAPES = [(1, 1), (2, 3), (3, 5), (4, 4), (5, 1), (7, 11), (8, 2), (9, 64), (13, 10), (0, 4), (4, 0)]


def golden(*rows, dtype=np.uint8):
    return np.array(rows, dtype)


def test_hugging_faces_published_bytes_are_unpacked_and_packed():
    """The example in transformers' integrations/bitnet.py, unpack_weights. By pencil, column 0 of byte row 0:
    161 = 10 10 00 01, read from the right: 01 -> 0 for row 0, 00 -> -1 for row 2, 10 -> +1 for row 4, 10 ->
    +1 for row 6."""
    packed = golden([0b10100001, 0b00011000], [0b10010000, 0b00001010])
    assert packed.tolist() == [[161, 24], [144, 10]]
    codes = golden([0, -1], [-1, 1], [-1, 1], [-1, 1], [1, 0], [0, -1], [1, -1], [1, -1], dtype=np.int8)
    assert np.array_equal(unpack_ternary(packed, 8), codes)
    assert np.array_equal(pack_ternary(codes), packed)


def test_four_weights_of_a_byte_are_a_quarter_of_the_rows_apart():
    """Eight rows of one column, only row 5 is +1: R = 2, so row 5 = 1 + 2 * 2 is the third pair of byte row
    1; all others are -1, bits 00."""
    codes = np.full((8, 1), -1)
    codes[5] = 1
    assert pack_ternary(codes).tolist() == [[0], [0b00100000]]


def test_rows_that_four_does_not_divide_leave_zero_bits():
    """Five rows of 0 make R = 2: rows 0 2 4 share byte 0 as 01 01 01, rows 1 3 share byte 1, and rows 5 6 7
    are padding."""
    assert pack_ternary(np.zeros((5, 1))).tolist() == [[0b00010101], [0b00000101]]


def test_base_3_by_pencil():
    """+1 0 -1 0 +1 has digits 2 1 0 1 2: 2 + 3 + 0 + 27 + 162 = 194; a sixth weight +1 begins a new byte, 2.
    Five +1 make 242, five 0 make 121."""
    assert pack_base3(golden([1, 0, -1, 0, 1, 1], [-1] * 6, dtype=np.int8)).tolist() == [[194, 2], [0, 0]]
    assert pack_base3(np.ones((1, 5))).tolist() == [[242]]
    assert pack_base3(np.zeros((1, 5))).tolist() == [[121]]
    assert unpack_base3(golden([194, 2]), 6).tolist() == [[1, 0, -1, 0, 1, 1]]


def test_the_golden_bytes_of_the_docstring_are_these():
    for line in ("[[161, 24],    161 = 10 10 00 01   24 = 00 01 10 00",
                 "[144, 10]]    144 = 10 01 00 00   10 = 00 00 10 10",
                 "rows 0..7:  0 -1 | -1 +1 | -1 +1 | -1 +1 | +1 0 | 0 -1 | +1 -1 | +1 -1",
                 "+1  0 -1  0 +1 | +1   <->  194 | 2"):
        assert line in packing.__doc__


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32])
def test_both_layouts_give_back_what_they_were_given(shape, dtype, rng):
    codes = rng.integers(-1, 2, shape).astype(dtype)
    for back in (unpack_ternary(pack_ternary(codes), shape[0]), unpack_base3(pack_base3(codes), shape[1])):
        assert back.dtype == np.int8 and np.array_equal(back, codes)


def test_the_quantizers_codes_pack_and_binary_ones_need_no_layout_of_their_own(rng):
    w = rng.standard_normal((6, 7)).astype(np.float32)
    for codes, _ in (absmean_ternary(w), sign_binary(w)):
        assert np.array_equal(unpack_ternary(pack_ternary(codes), 6), codes)
        assert np.array_equal(unpack_base3(pack_base3(codes), 7), codes)


def test_sizes_are_two_and_one_point_six_bits_a_weight():
    codes = np.zeros((320, 640))
    assert pack_ternary(codes).nbytes * 8 / codes.size == 2
    assert pack_base3(codes).nbytes * 8 / codes.size == 1.6


def test_every_byte_of_base_3_is_one_of_243_patterns():
    """Reading all bytes 0..242 gives 243 different rows, and writing them gives 0..242 again."""
    everything = np.arange(243, dtype=np.uint8)[:, None]
    codes = unpack_base3(everything, 5)
    assert len(np.unique(codes, axis=0)) == 243
    assert np.array_equal(pack_base3(codes), everything)


@pytest.mark.parametrize("pair", range(4))
def test_bits_11_are_refused_with_their_place(pair):
    """In byte [1, 2] of a matrix of 12 rows (R = 3), pair i belongs to row 1 + 3 i."""
    packed = np.zeros((3, 4), np.uint8)
    packed[1, 2] = 0b11 << 2 * pair
    with pytest.raises(ValueError,
                       match=rf"^byte \[1, 2\] = {packed[1, 2]} holds bits 11 for row "
                             rf"{1 + 3 * pair}: expected 00, 01 or 10"):
        unpack_ternary(packed, 12)


@pytest.mark.parametrize("n, row, byte, pair", [(5, 5, 1, 2), (5, 6, 0, 3), (5, 7, 1, 3), (7, 7, 1, 3)])
def test_padding_that_is_not_00_is_refused_with_its_place(n, row, byte, pair):
    """Five rows, R = 2: row 5 would be the third pair of byte row 1, rows 6 and 7 the fourth pairs of byte
    rows 0 and 1."""
    packed = np.zeros((2, 3), np.uint8)
    packed[byte, 2] = 0b10 << 2 * pair
    with pytest.raises(ValueError,
                       match=rf"^byte \[{byte}, 2\] = {packed[byte, 2]} holds bits 10 for row {row}: "
                             r"expected 00, as in all padding"):
        unpack_ternary(packed, n)
    assert unpack_ternary(packed, 8)[row, 2] == 1


@pytest.mark.parametrize("byte", [243, 255])
def test_bytes_above_242_are_refused_with_their_place(byte):
    packed = np.full((2, 3), 242, np.uint8)
    packed[1, 0] = byte
    with pytest.raises(ValueError, match=rf"^byte \[1, 0\] = {byte}: expected at most 242"):
        unpack_base3(packed, 15)


@pytest.mark.parametrize("unpack, packed, size, message", [
    (unpack_ternary, np.zeros((3, 2), np.uint8), 8,
     r"packed weights are uint8 \(3, 2\): expected uint8 with 2 rows, 4 weights a byte for the 8 rows"),
    (unpack_ternary, np.zeros((2, 2), np.uint8), 9, "expected uint8 with 3 rows"),
    (unpack_ternary, np.zeros((2, 2), np.int8), 8, r"packed weights are int8 \(2, 2\)"),
    (unpack_ternary, np.zeros(4, np.uint8), 16, r"packed weights are uint8 \(4,\)"),
    (unpack_base3, np.zeros((3, 2), np.uint8), 11,
     r"packed weights are uint8 \(3, 2\): expected uint8 with 3 columns, "
     "5 weights a byte for the 11 columns"),
    (unpack_base3, np.zeros((3, 2), np.float32), 10, r"packed weights are float32 \(3, 2\)"),
])
def test_wrong_sizes_and_types_are_refused(unpack, packed, size, message):
    with pytest.raises(ValueError, match=message):
        unpack(packed, size)


@pytest.mark.parametrize("pack", [pack_ternary, pack_base3])
def test_what_is_not_ternary_is_refused_with_its_place(pack):
    for value in (2, -2, 0.5, float("nan")):
        codes = np.zeros((3, 4))
        codes[2, 1] = value
        with pytest.raises(ValueError, match=rf"^code \[2, 1\] = {value:g}: expected -1, 0 or 1"):
            pack(codes)
    with pytest.raises(ValueError, match=r"codes of shape \(3,\): expected a matrix"):
        pack(np.zeros(3))
