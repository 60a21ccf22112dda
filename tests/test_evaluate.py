"""The comparison of two engines, by pencil."""
import numpy as np
import pytest

from minibitnet.evaluate import agreement


def logits_of(*columns):
    """A model of one window: column t scores the token after position t."""
    return lambda ids: np.array(columns, np.float64).T[:, None]


def test_agreement_by_pencil():
    """Four positions, two tokens. The reference's margins are 2, 2, 0.05, 1: three are clear. The other engine chooses differently at the
    third, which is not clear, and at the last, which is: 2 of 4 agree, and 2 of 3."""
    reference, other = logits_of([2, 0], [0, 2], [0.05, 0], [1, 0]), logits_of([1, 0], [0, 1], [0, 0.05], [0, 1])
    ids = np.zeros((1, 4), np.int64)
    result = agreement(reference, other, [(ids, ids)])
    assert result["agreement"] == 0.5 and result["clear"] == 0.75 and result["agreement_clear"] == pytest.approx(2 / 3)


def test_loss_difference_by_pencil():
    """With targets 0 0 a logit of log 3 against 0 gives the loss log(4/3), equal logits log 2: the second is worse by log(3/2)."""
    ids = np.zeros((1, 2), np.int64)
    result = agreement(logits_of([np.log(3), 0], [np.log(3), 0]), logits_of([0, 0], [0, 0]), [(ids, ids)])
    assert result["loss_difference"] == pytest.approx(np.log(1.5))


def test_windows_count_by_their_tokens():
    """A window of one token, where the engines differ, and one of three, where they agree: 3 of 4."""
    one, three = np.zeros((1, 1), np.int64), np.ones((1, 3), np.int64)

    def reference(ids):
        return np.stack([np.ones(ids.shape), np.zeros(ids.shape)])

    def other(ids):
        return reference(ids) if ids.any() else reference(ids)[::-1]
    assert agreement(reference, other, [(one, one), (three, one.repeat(3, 1))])["agreement"] == 0.75
