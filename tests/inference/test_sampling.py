from types import SimpleNamespace

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.inference.sampling import check_sampling, decode, sample, sample_integer, sampler

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def float_shares(n=20_000, **options):
    rng = np.random.default_rng(0)
    return np.bincount([sample(LOGITS, rng, **options) for _ in range(n)], minlength=4) / n


def integer_shares(n=20_000, temperature=1.0, top_k=0, top_p=1.0):
    rng, choose = np.random.default_rng(0), sampler(temperature, top_k, top_p, logit_bits=12)
    logits = np.rint(LOGITS * 2**12).astype(np.int32)
    return np.bincount([choose(logits, rng) for _ in range(n)], minlength=4) / n


@pytest.fixture(params=[float_shares, integer_shares])
def shares(request):
    """From float logits, and from whole-number logits without a float: the same properties."""
    return request.param


def test_temperature_one_samples_the_distribution(shares):
    """20,000 draws: the standard error of a share is at most 0.0035."""
    assert np.abs(shares() - [0.1, 0.4, 0.2, 0.3]).max() < 0.015


def test_temperature_half_squares_the_odds(shares):
    """0.1 0.4 0.2 0.3 squared are 1 16 4 9, of 30."""
    assert np.abs(shares(temperature=0.5) - np.array([1, 16, 4, 9]) / 30).max() < 0.015


def test_temperature_zero_takes_the_likeliest(shares):
    assert shares(100, temperature=0)[1] == 1


def test_the_tiniest_temperature_is_the_limit_of_zero(shares):
    assert shares(100, temperature=1e-320)[1] == 1


def test_the_highest_temperature_makes_all_tokens_equal(shares):
    assert np.abs(shares(temperature=1e300) - 0.25).max() < 0.015


def test_top_k_keeps_the_k_likeliest(shares):
    assert np.abs(shares(top_k=2) - [0, 4 / 7, 0, 3 / 7]).max() < 0.015
    assert shares(100, top_k=1)[1] == 1
    assert (shares(2000, top_k=99) > 0).all()


def test_top_p_keeps_up_to_the_token_that_reaches_p(shares):
    """0.4 alone is below 0.5; with 0.3 it is above: two tokens stay."""
    assert np.abs(shares(top_p=0.5) - [0, 4 / 7, 0, 3 / 7]).max() < 0.015
    assert shares(100, top_p=0.01)[1] == 1


def test_integer_sampling_by_pencil():
    """beta = 1 with 16 bits for each of the logits' units: 10 9 8 have weights 2^24, 2^23, 2^22, the shares
    4/7 2/7 1/7. A draw of 0 takes the first, of 2^24 the second, and the last number of all takes the last;
    top_p = 5/7 keeps two tokens."""
    logits, one = np.int32([8, 10, 9]), 1 << 24

    def chosen(draw, **options):
        drawn_below = []
        rng = SimpleNamespace(integers=lambda total: drawn_below.append(total) or draw)
        return sample_integer(logits, rng, beta=(1 << 30, -14), **options), drawn_below[0]
    assert chosen(0) == (1, 7 * one // 4) and chosen(one - 1)[0] == 1
    assert chosen(one)[0] == 2 and chosen(7 * one // 4 - 1)[0] == 0
    assert chosen(0, top_p=5 * 2**16 // 7) == (1, 3 * one // 2) and chosen(0, top_k=1) == (1, one)


def test_top_p_zero_in_sixteen_bits_keeps_the_likeliest():
    assert integer_shares(100, top_p=1e-9)[1] == 1


def test_settings_out_of_range_are_refused():
    for bad in ({"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")},
                {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"seed": -1}, {"temperature": "a"},
                {"top_k": 2.5}, {"top_p": None}, {"seed": None}):
        name = next(iter(bad))
        with pytest.raises(UserError, match=f"{name} = "):
            check_sampling(**{"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0} | bad)
    check_sampling(0, 0, 1, 0)
    check_sampling(np.float32(0.5), np.int64(3), np.float64(1), np.uint8(7))


class Counter:
    """A model that says what it was given: the likeliest next id is the last one
    plus 1; notes the lengths it saw."""

    def __init__(self, context):
        self.config, self.seen = SimpleNamespace(context=context), []

    def new_caches(self):
        assert not self.seen, "one cache is enough for any number of tokens"
        return [SimpleNamespace(length=0)]

    def __call__(self, ids, caches, last):
        caches[0].length += ids.shape[1]
        assert caches[0].length <= self.config.context and last
        self.seen.append(ids[0].tolist())
        return np.eye(100)[ids[0, -1] + 1][:, None, None]


def test_decode_feeds_the_prompt_once_and_then_one_token_at_a_time():
    model = Counter(context=8)
    assert list(decode(model, [1, 2, 3], 4, temperature=0)) == [4, 5, 6, 7]
    assert model.seen == [[1, 2, 3], [4], [5], [6]]


def test_a_full_context_keeps_its_newest_half():
    """Context 4: after 1 2 3 4 the cache is full; the newest two tokens, 4 5, are encoded afresh."""
    model = Counter(context=4)
    assert list(decode(model, [1, 2, 3], 5, temperature=0)) == [4, 5, 6, 7, 8]
    assert model.seen == [[1, 2, 3], [4], [4, 5], [6], [7]]


def test_a_long_prompt_is_read_from_its_end():
    model = Counter(context=4)
    assert list(decode(model, range(20), 1, temperature=0)) == [20]
    assert model.seen == [[16, 17, 18, 19]]


def test_a_context_of_one_token_works():
    assert list(decode(Counter(context=1), [5], 3, temperature=0)) == [6, 7, 8]
