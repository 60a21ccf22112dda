"""The comparison of two engines, by pencil."""
from types import SimpleNamespace

import numpy as np
import pytest

from minibitnet.measure.agreement import TokenByTokenModel, agreement


def model_of(*columns, scale=1.0):
    """A model of one window: column t scores the token after position t."""
    return SimpleNamespace(engine=lambda ids: np.array(columns).T[:, None], logit_scale=scale)


def windows(*targets):
    return [(np.zeros((1, len(targets)), np.int64), np.array([targets]))]


def test_agreement_by_pencil():
    """Four positions, two tokens. The reference's margins are 2, 2, 0.05, 1: three are clear. The other
    engine chooses differently at the third, which is not clear, and at the last, which is: 2 of 4 agree,
    and 2 of 3. None is equal to the bit."""
    reference, other = model_of([2.0, 0], [0, 2], [0.05, 0], [1, 0]), model_of([1.0, 0], [0, 1], [0, 0.05],
                                                                               [0, 1])
    result = agreement(other, reference, windows(0, 0, 0, 0))
    assert (result.targets, result.clear, result.agree, result.moved, result.identical) == (4, 3, 0.5, 1, 0)
    assert result.agree_clear == pytest.approx(2 / 3)


def test_losses_by_pencil():
    """With targets 0 0 a logit of log 3 against 0 gives the loss log(4/3), equal logits log 2."""
    result = agreement(model_of([0.0, 0], [0, 0]), model_of([np.log(3), 0], [np.log(3), 0]), windows(0, 0))
    assert result.loss == pytest.approx(np.log(2)) and result.reference_loss == pytest.approx(np.log(4 / 3))


def test_targets_that_do_not_count_do_not():
    """The second of two positions is padding: of one place, all agree."""
    result = agreement(model_of([1.0, 0], [0, 1]), model_of([1.0, 0], [1, 0]), windows(0, -1))
    assert result.targets == 1 and result.agree == 1 and result.identical == 1


def test_whole_number_logits_count_in_their_unit():
    """Logits 1024 and 0 in units of 2^-9 are 2 and 0 nats: the loss is that of the float logits, and the
    choice is clear."""
    whole, real = model_of([1024, 0], scale=2.0**-9), model_of([2.0, 0.0])
    result = agreement(whole, real, windows(1))
    assert result.loss == pytest.approx(result.reference_loss) == pytest.approx(2 + np.log1p(np.exp(-2)))
    assert result.clear == 1


@pytest.mark.parametrize("tokens", [1, 8, 17])
def test_how_much_is_read_at_once_changes_no_bit(tokens, rng):
    """Two models of whom row b, position t, id i says something of its own; a target of row 2 is padding."""
    tables, scale = rng.standard_normal((2, 5, 40)).astype(np.float32), 1.0
    model, reference = (SimpleNamespace(engine=lambda ids, t=t: t[:, ids], logit_scale=scale) for t in tables)
    ids, targets = rng.integers(0, 40, (30, 7)), rng.integers(0, 5, (30, 7))
    targets[2, 3:] = -1
    assert agreement(model, reference, [(ids, targets)] * 2, tokens) == agreement(
        model, reference, [(ids, targets)] * 2, 10**6)


def test_token_by_token_feeds_one_at_a_time():
    seen = []

    def engine(ids, caches):
        seen.append((ids.tolist(), caches))
        return np.full((2, *ids.shape), len(seen))
    model = SimpleNamespace(engine=engine, new_caches=lambda batch: f"caches of {batch}", logit_scale=1.0)
    assert TokenByTokenModel(model).engine(np.array([[5, 6, 7]])).tolist() == [[[1, 2, 3]], [[1, 2, 3]]]
    assert seen == [([[5]], "caches of 1"), ([[6]], "caches of 1"), ([[7]], "caches of 1")]
