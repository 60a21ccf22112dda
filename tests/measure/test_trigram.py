import math

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.measure.trigram import trigram_loss


def test_by_pencil():
    """Two tokens, training 0 1 0 1 0. p(1) = (2 + 2/2) / (5 + 2) = 3/7. After 0 comes 1, twice: p(1 | 0) =
    (2 + 1 * 3/7) / (2 + 1) = 17/21. After 1 0 comes 1, once: p(1 | 1 0) = (1 + 17/21) / 2 = 19/21."""
    assert trigram_loss(np.array([0, 1, 0, 1, 0]), np.array([1, 0, 1]),
                        2) == pytest.approx(-math.log(19 / 21))


def test_what_was_never_seen_falls_back_step_by_step():
    """After 1 1, which was never seen, and 1, which 0 always followed: p(0 | 1) = (2 + 1 * p(0)) / 3, p(0)
    = (3 + 2/2) / 7 = 4/7: 18/21."""
    assert trigram_loss(np.array([0, 1, 0, 1, 0]), np.array([1, 1, 0]),
                        2) == pytest.approx(-math.log(18 / 21))


def test_fewer_than_three_tokens_are_one_line():
    """Their mean would be that of nothing, NaN, which is no JSON either."""
    for training, tokens in ((9, 2), (2, 9)):
        with pytest.raises(UserError, match=f"{training} tokens to count and {tokens} to score: expected at "
                                            f"least 3"):
            trigram_loss(np.zeros(training, int), np.zeros(tokens, int), 2)


def test_it_is_a_distribution(rng):
    """The probabilities of all tokens after any two sum to 1."""
    training = rng.integers(0, 5, 60)
    for u in range(5):
        for v in range(5):
            assert sum(math.exp(-trigram_loss(training, np.array([u, v, w]), 5))
                       for w in range(5)) == pytest.approx(1)


def test_on_a_text_of_chance_it_needs_about_the_entropy(rng):
    """Uniform over 8 tokens: log 8, and a little more for what chance made it believe."""
    loss = trigram_loss(rng.integers(0, 8, 200_000), rng.integers(0, 8, 20_000), 8)
    assert math.log(8) <= loss < math.log(8) + 0.01
