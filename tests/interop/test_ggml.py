"""The blocks of ggml: by pencil, there and back, and beside the ``gguf`` package where it is installed."""
import numpy as np
import pytest

from minibitnet.interop import ggml
from minibitnet.interop.ggml import I2_S, KINDS, Q1_0, Q2_0, TQ1_0, TQ2_0, decode, encode, n_bytes

KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)


def random_codes(kind, n, m, seed=0):
    codes = np.random.default_rng(seed).integers(-1, 2, (n, m)).astype(np.int8)
    return np.where(codes < 0, np.int8(-1), np.int8(1)) if kind is Q1_0 else codes


@KIND
def test_there_and_back(kind):
    for seed in range(50):
        n, blocks = np.random.default_rng(seed).integers(1, 5, 2)
        codes = random_codes(kind, n, blocks * kind.weights, seed)
        data = encode(kind, codes, 0.375)
        assert len(data) == n_bytes(kind, codes.shape)
        found = decode(kind, data, codes.shape)
        assert np.array_equal(found.codes, codes) and (found.scale == 0.375).all()


def one_at(i, weights):
    """A row of -1, digit 0, with +1 at one place."""
    codes = np.full((1, weights), -1, np.int8)
    codes[0, i] = 1
    return codes


@pytest.mark.parametrize("kind, place, byte, value", [
    # +1 is digit 2; the pair of bits that a place has, by the docstring
    (TQ2_0, 0, 0, 2), (TQ2_0, 33, 1, 2 << 2), (TQ2_0, 95, 31, 2 << 4), (TQ2_0, 128 + 96, 32, 2 << 6),
    (I2_S, 0, 0, 2 << 6), (I2_S, 33, 1, 2 << 4), (I2_S, 95, 31, 2 << 2), (I2_S, 96, 0, 2),
    (Q2_0, 0, 2, 2), (Q2_0, 5, 3, 2 << 2), (Q2_0, 63, 17, 2 << 6),
    (Q1_0, 0, 2, 1), (Q1_0, 127, 17, 128),
    # 2 81 256 / 243 = 170.7, up; 2 256 / 243 = 2.1; 2 27 256 / 243 = 56.9; 2 3 256 / 243 = 6.3
    (TQ1_0, 0, 0, 171), (TQ1_0, 128 + 7, 7, 3), (TQ1_0, 160 + 16 + 3, 32 + 3, 57), (TQ1_0, 252, 48, 7)])
def test_one_weight_by_pencil(kind, place, byte, value):
    """All digits 0 but one: one byte is not 0, but for the scale."""
    data = encode(kind, one_at(place, kind.weights), 0.0)
    assert [(i, int(b)) for i, b in enumerate(data) if b] == [(byte, value)]


def test_scales():
    """1.0 in float16 is 3c00, little endian; before the digits in Q1_0 and Q2_0, behind them in the others.
    I2_S has a float32 behind all."""
    ones = {kind: encode(kind, one_at(0, kind.weights), 1.0) for kind in KINDS.values()}
    for kind in (Q1_0, Q2_0):
        assert ones[kind][:2].tolist() == [0, 0x3c]
    for kind in (TQ1_0, TQ2_0):
        assert ones[kind][-2:].tolist() == [0, 0x3c]
    assert ones[I2_S][32:36].tobytes() == np.float32(1).tobytes() and not ones[I2_S][36:].any()
    assert encode(I2_S, one_at(0, 128), 1 / 3)[32:36].tobytes() == np.float32(1 / 3).tobytes()
    with pytest.raises(ValueError, match="scale 0.3333.*: expected one that float16 holds"):
        encode(TQ2_0, one_at(0, 256), 1 / 3)


def test_every_five_digits_are_told_apart():
    """The fraction of 256 gives all 243 numbers back."""
    codes = np.array(np.unravel_index(np.arange(243), (3,) * 5)).T.astype(np.int8) - 1     # (243, 5)
    rows = np.zeros((243, 256), np.int8)
    rows[:, 0:160:32] = codes
    found = decode(TQ1_0, encode(TQ1_0, rows), rows.shape).codes
    assert np.array_equal(found, rows) and len(np.unique(encode(TQ1_0, rows).reshape(243, -1)[:, 0])) == 243


@KIND
def test_what_is_refused(kind):
    with pytest.raises(ValueError, match=f"rows of {kind.weights + 4} weights: expected a multiple"):
        encode(kind, np.ones((2, kind.weights + 4), np.int8))
    data = encode(kind, np.ones((3, kind.weights), np.int8))
    with pytest.raises(ValueError, match=f"bytes for 3 x {kind.weights} weights in {kind.name}: expected"):
        decode(kind, data[:-1], (3, kind.weights))
    if kind in (TQ2_0, I2_S, Q2_0):
        data[2] |= 3
        with pytest.raises(ValueError, match="bits 11"):
            decode(kind, data, (3, kind.weights))
    if kind is Q1_0:
        with pytest.raises(ValueError, match="a weight of 0"):
            encode(kind, np.zeros((1, 128), np.int8))


def test_a_forks_older_blocks_are_named():
    """34 bytes for 128 weights, where the type's are 36."""
    with pytest.raises(ValueError, match="34 bytes for 1 x 128 weights in Q2_0: expected 36; these are bl"):
        decode(Q2_0, np.zeros(34, np.uint8), (1, 128))
    with pytest.raises(ValueError, match="a scale that is not finite"):
        decode(Q2_0, np.full(18, 0x7c, np.uint8), (1, 64))


@pytest.mark.parametrize("kind", [TQ1_0, TQ2_0, Q1_0], ids=lambda kind: kind.name)
def test_the_gguf_package_agrees(kind):
    """It dequantizes our bytes, and quantizes to them."""
    gguf = pytest.importorskip("gguf", reason="gguf is not installed (extra 'peers')")
    their_kind = gguf.GGMLQuantizationType(kind.id)
    assert gguf.GGML_QUANT_SIZES[their_kind] == (kind.weights, kind.bytes)
    if kind is Q1_0:
        return                                   # of which it has the sizes alone
    codes = random_codes(kind, 7, 512)
    data = encode(kind, codes, 0.25).reshape(7, -1)
    assert np.array_equal(gguf.dequantize(data, their_kind), codes * np.float32(0.25))
    assert np.array_equal(gguf.quantize(codes * np.float32(0.25), their_kind), data)


def test_zero_digits_are_the_least_that_bytes_can_say():
    assert not encode(TQ2_0, np.full((1, 256), -1, np.int8), 0.0).any()
    assert ggml.KINDS[35] is TQ2_0
