import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.text.batches import all_windows, random_batch, split


def test_split_keeps_the_end_for_validation():
    train, val = split(np.arange(100), 8, 0.1)
    assert np.array_equal(train, np.arange(90)) and np.array_equal(val, np.arange(90, 100))


def test_a_corpus_shorter_than_one_sequence_is_refused():
    with pytest.raises(UserError, match="20 tokens, 18 of them for training: expected at least 33"):
        split(np.arange(20), 32, 0.1)
    with pytest.raises(UserError, match="and 2 for validation"):
        split(np.arange(100), 8, 0.005)


def test_a_batch_is_a_pure_function_of_seed_and_step():
    tokens, shape = np.arange(1000), {"batch": 5, "context": 7}
    first = random_batch(tokens, 3, seed=1, **shape)
    random_batch(tokens, 4, seed=1, **shape)
    assert np.array_equal(random_batch(tokens, 3, seed=1, **shape), first)
    assert not np.array_equal(random_batch(tokens, 4, seed=1, **shape), first)
    assert not np.array_equal(random_batch(tokens, 3, seed=2, **shape), first)


def test_targets_are_the_next_tokens():
    ids, targets = random_batch(np.arange(1000), 0, seed=0, batch=5, context=7)
    assert ids.shape == targets.shape == (5, 7) and np.array_equal(targets, ids + 1)


def test_every_place_can_be_drawn():
    """9 tokens hold three windows of 6 + 1: starts 0, 1 and 2, the last token among their targets."""
    drawn = {int(start) for step in range(50) for start in random_batch(np.arange(9), step, seed=0, batch=4, context=6)[0][:, 0]}
    assert drawn == {0, 1, 2}


@pytest.mark.parametrize("n", [2, 6, 7, 8, 13, 25, 26, 100])
def test_windows_score_every_token_but_the_first_once(n):
    pairs = list(all_windows(np.arange(n), batch=3, context=6))
    assert np.concatenate([targets.ravel() for _, targets in pairs]).tolist() == list(range(1, n))
    assert all(np.array_equal(targets, ids + 1) and ids.shape[0] <= 3 and ids.shape[1] <= 6 for ids, targets in pairs)
