"""Key-value caches, by pencil."""
import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.inference.cache import KINDS, QuantizedKVCache, from_bytes, two_in_a_byte
from minibitnet.nn.config import ModelConfig
from minibitnet.quant import absmax_int8


def features(k, v):
    """What a cache gives to attention, back as keys and values (K D, B, S)."""
    grids = k.values, v.shares * v.key_power
    return tuple(x.transpose(1, 2, 3, 0, 4).reshape(-1, len(x), x.shape[-1]) for x in grids)


def caches_16_bits(x):
    return np.array_equal(x, x.astype(np.float16))


def test_an_int8_cache_holds_the_absmax_codes_of_each_head_and_token(rng):
    """Two heads of two features, one token: keys 1 2 | -4 1 have gammas 2 and 4, codes 64 127 | -127 32 (1 /
    2 * 127 = 63.5 -> 64)."""
    c = ModelConfig(vocab_size=3, d_model=4, n_layers=1, n_heads=2, context=5)
    cache = QuantizedKVCache(c)
    k = np.array([1, 2, -4, 1], np.float32).reshape(4, 1, 1)
    keys, values = features(*cache.extend(k, np.zeros_like(k)))
    assert cache.codes[0, :, :, 0, 0].tolist() == [[64, 127], [-127, 32]] and cache.length == 1
    assert np.allclose(keys.ravel(), [64 * 2 / 127, 2, -4, 32 * 4 / 127], rtol=2**-11)       # scales: 11 bits
    assert not values.any()
    more = rng.standard_normal((4, 1, 3)).astype(np.float32)
    keys, values = features(*cache.extend(more, more))
    expected = absmax_int8(more.reshape(2, 2, 1, 3).swapaxes(0, 1))
    expected = expected.codes * expected.scale.astype(np.float16).astype(np.float32)
    assert np.array_equal(keys[..., 1:], expected.swapaxes(0, 1).reshape(4, 1, 3)) and keys.shape == (4, 1, 4)


def test_a_cache_of_4_bits_keeps_two_codes_in_a_byte(rng):
    """One head of four features 7 -3.5 1.4 0: gamma 7, scale 1, codes 7 -4 1 0 (3.5 rounds to even). Features
    0 and 2 share a byte, 7 | 1 << 4 = 23; 1 and 3 another, -4 & 15 | 0 << 4 = 12."""
    c = ModelConfig(vocab_size=3, d_model=4, n_layers=1, n_heads=1, context=3)
    cache = KINDS[4](c)
    k = np.array([7, -3.5, 1.4, 0], np.float32).reshape(4, 1, 1)
    keys, values = features(*cache.extend(k, -k))
    assert cache.codes[:, 0, :, 0, 0].tolist() == [[23, 12], [-7 & 15 | -16, 4]]
    assert keys.ravel().tolist() == [7, -4, 1, 0] and values.ravel().tolist() == [-7, 4, -1, 0]
    every = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8))).astype(np.int8)
    assert np.array_equal(from_bytes(two_in_a_byte(every)), every)
    assert len(np.unique(two_in_a_byte(every))) == 256


def test_the_bytes_of_every_cache(rng):
    """Two key heads of four features, batch 3, context 5: 2 * 2 * 4 * 15 = 240 numbers and 2 *
    2 * 15 = 60 scales of 2 bytes."""
    c = ModelConfig(vocab_size=3, d_model=16, n_layers=1, n_heads=4, n_kv_heads=2, context=5)
    nbytes = {bits: kind(c, 3).nbytes for bits, kind in KINDS.items()}
    assert nbytes == {32: 960, 16: 480, 8: 240 + 120, 4: 120 + 120}


@pytest.mark.parametrize("bits", KINDS)
def test_a_cache_that_had_to_grow_holds_the_same(bits, rng, monkeypatch):
    """Room for 2, 4, 8 and then, the context, 11 tokens: and when it is emptied it keeps its room."""
    c = ModelConfig(vocab_size=3, d_model=16, n_layers=1, n_heads=4, n_kv_heads=2, context=11)
    whole = KINDS[bits](c, 3)
    monkeypatch.setattr("minibitnet.inference.cache.ROOM", 2)
    growing = KINDS[bits](c, 3)
    arrays = (lambda cache: (cache.k, cache.v)) if bits > 8 else (lambda cache: (cache.codes, cache.scales))
    rooms = []
    for tokens in (1, 1, 2, 3, 4):
        k, v = rng.standard_normal((2, 8, 3, tokens)).astype(np.float32)
        for ours, theirs in zip(features(*growing.extend(k, v)), features(*whole.extend(k, v))):
            assert np.array_equal(ours, theirs)
        rooms.append({a.shape[-1] for a in arrays(growing)})
    assert rooms == [{2}, {2}, {4}, {8}, {11}] and growing.nbytes == whole.nbytes
    growing.length = 0
    growing.extend(k, v)
    assert arrays(growing)[0].shape[-1] == 11


def test_a_cache_of_16_bits_gives_back_what_float16_holds(rng):
    """11 bits of each number, and of a value no less than 2^-24 of the largest
    of its key: there its grid ends."""
    c = ModelConfig(vocab_size=3, d_model=4, n_layers=1, n_heads=1, context=9)
    cache, k, v = KINDS[16](c, 2), *rng.standard_normal((2, 4, 2, 9)).astype(np.float32)
    cache.extend(k[..., :4], v[..., :4])
    keys, values = features(*cache.extend(k[..., 4:], v[..., 4:]))
    assert np.array_equal(keys, k.astype(np.float16)) and caches_16_bits(values)
    assert (np.abs(values - v) <= 2**-11 * np.abs(v) + 2**-23 * np.abs(v).max(0)).all()


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_a_cache_refuses_what_float16_does_not_hold(bits):
    """65,519 is rounded to float16's largest number, 65,504; 65,520 to infinity. Scales
    are gamma / 127 and gamma / 7."""
    c = ModelConfig(vocab_size=3, d_model=2, n_layers=1, n_heads=1, context=2)
    largest = {16: 1, 8: 127, 4: 7}[bits]
    for value, holds in ((65_519, True), (65_520, False)):
        k = np.full((2, 1, 1), value * largest, np.float32)
        if holds:
            assert np.isfinite(features(*KINDS[bits](c).extend(k, k))).all()
        else:
            message = "float16, which ends at 65,504, and would have to hold 65520"
            with np.errstate(over="ignore"), pytest.raises(UserError, match=message):
                KINDS[bits](c).extend(k, k)
