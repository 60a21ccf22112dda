"""Each quantizer by pencil, then its properties on random arrays."""
import numpy as np
import pytest

from minibitnet.quant import (QB, absmax_int8, absmax_nonnegative, absmean_int4, absmean_ternary, dequantize,
                              in_groups, round_clip, sign_binary, sparse_int8)


def array(*rows):
    return np.array(rows, np.float32)


def test_absmean_ternary_by_pencil():
    """|W| sums to 0.5 + 1.5 + 0.2 + 1.8 = 4, so gamma = 1; W / gamma rounds to 0 (half to even), -2, 0, 2;
    the clip gives 0 -1 0 1."""
    codes, scale = absmean_ternary(array([0.5, -1.5], [0.2, 1.8]))
    assert scale == 1
    assert np.array_equal(codes, [[0, -1], [0, 1]])


def test_absmean_ternary_in_groups_gives_each_half_of_the_rows_its_own_gamma():
    """The first two rows have mean 1, the last two mean 10: without groups gamma = 5.5 would round the first
    two to zero."""
    w = array([1, -1], [1, 1], [10, 10], [-10, 10])
    codes, scale = in_groups(absmean_ternary, w, 2)
    assert np.array_equal(scale, [[1], [1], [10], [10]])
    assert np.array_equal(dequantize(codes, scale), w)
    assert not absmean_ternary(w).codes[:2].any()


def test_sign_binary_by_pencil():
    """alpha = (3 + 1 - 1 + 1) / 4 = 1 and W - alpha = 2 0 -2 0: zeros go to -1, so the codes are + - - -;
    beta = 6 / 4."""
    codes, scale = sign_binary(array([3, 1], [-1, 1]))
    assert np.array_equal(codes, [[1, -1], [-1, -1]])
    assert scale == 1.5


def test_sign_of_zero_is_minus_one():
    """A zero matrix has two values to choose from, not three: np.sign would give 0."""
    assert np.array_equal(sign_binary(np.zeros((2, 2), np.float32)).codes, [[-1, -1], [-1, -1]])


def test_absmax_int8_by_pencil():
    """Column 0 has gamma 2: 2 -> 127, -1 -> -63.5 -> -64 (half to even). Column 1 has gamma 0.5: -0.5 ->
    -127, 0.1 -> 25.4 -> 25."""
    codes, scale = absmax_int8(array([2, -0.5], [-1, 0.1]))
    assert np.array_equal(codes, [[127, -127], [-64, 25]])
    assert np.allclose(scale, [[2 / 127, 0.5 / 127]], rtol=1e-7)


def test_absmax_int8_over_the_whole_tensor_uses_one_gamma():
    """gamma = 2 for both columns: -0.5 -> -31.75 -> -32 and 0.1 -> 6.35 -> 6."""
    codes, scale = absmax_int8(array([2, -0.5], [-1, 0.1]), axis=None)
    assert np.array_equal(codes, [[127, -32], [-64, 6]])
    assert scale.shape == (1, 1)


def test_absmean_int4_by_pencil():
    """beta = mean(1, 2, 0.5, 3.5) = 1.75, scale 0.6614: 1 -> 1.51 -> 2, -2 -> -3.02, 0.5 -> 0.76, 3.5 ->
    5.29. A token of which one number is far too large loses it to the clip."""
    codes, scale = absmean_int4(array([1, 1], [-2, 1], [0.5, 1], [3.5, -97]))
    assert codes[:, 0].tolist() == [2, -3, 1, 5] and codes[:, 1].tolist() == [0, 0, 0, -8]
    assert np.allclose(scale, [[1.75 / 7**0.5, 25 / 7**0.5]], rtol=1e-6)


def test_sparse_int8_keeps_the_larger_half():
    """Of 1, -4, 2, 3 the codes of 3 and -4; of five numbers three; of equal ones all."""
    assert sparse_int8(array([1], [-4], [2], [3])).codes[:, 0].tolist() == [0, -127, 0, 95]
    assert np.count_nonzero(sparse_int8(array([1], [-4], [2], [3], [-5])).codes) == 3
    assert np.count_nonzero(sparse_int8(array([2], [-2], [2], [2])).codes) == 4
    x = np.random.default_rng(0).standard_normal((10, 3, 2)).astype(np.float32)
    order = np.argsort(np.argsort(np.abs(x), axis=0), axis=0)
    codes, scale = absmax_int8(x)
    assert np.array_equal(sparse_int8(x).codes, np.where(order >= 5, codes, 0))
    assert np.array_equal(sparse_int8(x).scale, scale)


def test_absmax_int8_in_groups_of_features():
    """Features 0-1 and 2-3 are quantized as if they were two inputs, per token and per tensor."""
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    for axis in (0, None):
        whole = in_groups(lambda x: absmax_int8(x, axis), x, 2)
        halves = [absmax_int8(part, axis) for part in (x[:2], x[2:])]
        assert np.array_equal(whole.codes, np.concatenate([h.codes for h in halves]))
        assert np.array_equal(dequantize(*whole), np.concatenate([dequantize(*h) for h in halves]))


def test_absmax_nonnegative_by_pencil():
    """eta = -1 shifts -1 0 3 to 0 1 4; gamma = 4 after the shift: codes 0, 31.75 -> 32, 127; values are codes
    * 4/127 - 1."""
    (codes, scale), eta = absmax_nonnegative(array([-1], [0], [3]))
    assert eta == -1
    assert np.array_equal(codes, [[0], [32], [127]])
    assert np.allclose(dequantize(codes, scale) + eta, [[-1], [32 * 4 / 127 - 1], [3]], rtol=1e-6)


def test_absmax_nonnegative_in_groups():
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    (codes, scale), eta = in_groups(absmax_nonnegative, x, 2)
    (low, low_scale), low_eta = absmax_nonnegative(x[:2])
    assert np.array_equal(codes[:2], low) and np.array_equal(scale[:2], np.repeat(low_scale, 2, 0))
    assert np.array_equal(eta[:2], np.repeat(low_eta, 2, 0))


def test_round_clip_rounds_halves_to_even():
    """-1.5 -0.5 0.5 1.5 round to -2 0 0 2 and are clipped to [-1, 1]."""
    assert np.array_equal(round_clip(np.array([-1.5, -0.5, 0.5, 1.5]), -1, 1), [-1, 0, 0, 1])


def test_groups_must_divide_the_rows():
    with pytest.raises(ValueError, match="groups = 3 does not divide the first axis"):
        in_groups(absmean_ternary, np.ones((4, 2), np.float32), 3)


@pytest.mark.parametrize("quantize", [absmean_ternary, sign_binary, absmax_int8, absmean_int4, sparse_int8,
                                      lambda x: absmax_int8(x, axis=None)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_are_whole_numbers_in_the_type_of_the_input(quantize, dtype, rng):
    """int8 holds them without loss, they and the scale keep the input's type, and no scale is zero, even for
    a zero input."""
    for x in (rng.standard_normal((6, 7)).astype(dtype), np.zeros((6, 7), dtype)):
        codes, scale = quantize(x)
        assert np.array_equal(codes, codes.astype(np.int8))
        assert codes.dtype == scale.dtype == dtype
        assert (scale > 0).all()


def test_absmax_codes_never_leave_minus_127_to_127(rng):
    """Rounding of 127 / gamma could push x = gamma past 127: it does not, for any of a million magnitudes, so
    no clip is needed."""
    x = np.exp(rng.uniform(-80, 80, 1_000_000)).astype(np.float32)[None]
    codes, _ = absmax_int8(x)
    large = x[0] > 1e-5
    assert (codes[0, large] == QB).all() and (np.abs(codes) <= QB).all()


def test_absmax_error_is_at_most_half_a_step(rng):
    x = rng.standard_normal((64, 100))
    codes, scale = absmax_int8(x)
    assert (np.abs(dequantize(codes, scale) - x) <= scale / 2 * (1 + 1e-12)).all()


def test_absmean_leaves_31_percent_zeros_of_a_gaussian(rng):
    """|w| < gamma / 2 with gamma = sqrt(2/pi): P(|N| < 0.39894) = erf(0.39894 / sqrt 2) = 0.3100 (standard
    error here 0.0005)."""
    codes, _ = absmean_ternary(rng.standard_normal((1000, 1000)))
    assert abs((codes == 0).mean() - 0.3100) < 0.002


QUANTIZERS = [absmean_ternary, sign_binary, absmax_int8, absmax_nonnegative]


@pytest.mark.parametrize("quantize", QUANTIZERS)
@pytest.mark.parametrize("x, name", [(np.ones((2, 2), np.float16), "float16"),
                                     (np.ones((2, 2), np.int32), "int32"), (np.ones((2, 2), np.int8), "int8"),
                                     (np.ones((2, 2), bool),
                                      "bool"), (np.ones((2, 2), complex),
                                                "complex128"), ([[1.0, 2.0]], "list")])
def test_other_types_are_refused_in_one_line_that_names_them(quantize, x, name):
    """127 / 1e-5 is infinite in float16, codes of whole numbers have no room, and a list has no type at
    all."""
    for call in (quantize, lambda x: in_groups(quantize, x, 2)):
        with pytest.raises(TypeError,
                           match=rf"of {name}: a quantizer takes float32 or float64 "
                                                r"\(x.astype\(np.float32\)\)$") as raised:
            call(x)
        assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:.* encountered in ")
@pytest.mark.parametrize("quantize", QUANTIZERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_that_are_none_make_no_codes(quantize, bad, dtype, rng):
    """One among 24, in the first group or in the last; of finite numbers the groups have codes, the largest
    too."""
    x = rng.standard_normal((6, 4)).astype(dtype)
    for call in (quantize, lambda x: in_groups(quantize, x, 3)):
        call(x)
        for place in ((0, 0), (5, 3)):
            spoiled = x.copy()
            spoiled[place] = bad
            with pytest.raises(FloatingPointError, match="NaN, infinity or numbers too large"):
                call(spoiled)
    assert np.isfinite(quantize(x * dtype(1e37) / np.abs(x).max())[0][0]).all()


@pytest.mark.filterwarnings("ignore:overflow")
def test_finite_numbers_with_an_infinite_sum_are_refused_by_name():
    """Two of 3e38 add up to more than float32 holds, so |W| has no mean; one of them has the codes +1 and its
    own size as scale."""
    w = np.full((1, 2), 3e38, np.float32)
    with pytest.raises(FloatingPointError, match="numbers too large to add up: expected finite numbers"):
        absmean_ternary(w)
    assert dequantize(*absmean_ternary(w[:, :1])) == w[0, 0]
