"""The criterion of stability, on runs made by hand."""
import math

import pytest

from minibitnet.experiments import stability
from minibitnet.experiments.stability import DIVERGED, HURT_, NON_FINITE, TRAINS, edge, outcomes, rises


def run(excess, *losses):
    """An outcome: sixty stretches that fall from 3 to the first loss, and end with the last tenth at the
    other."""
    first, last = losses if len(losses) == 2 else (losses[0], losses[0])
    falling = [3 + (first - 3) * i / 53 for i in range(54)]
    return {"excess": {"mean": excess}, "series": {"loss": [*falling, *[last] * 6]}}


def test_a_rise_is_half_a_nat_above_the_lowest_twentieth():
    falling = [3 - i / 30 for i in range(54)]
    lowest = stability.mean_of(falling[-3:])
    assert not rises([*falling, *[lowest + 0.499] * 6]) and rises([*falling, *[lowest + 0.501] * 6])
    assert rises([0.5] * 3 + [1.1] * 57), "it may have been long ago"
    assert not rises([1.0] + [0.3] + [1.0] * 58), "one stretch is no twentieth of sixty"


def test_each_kind_by_hand():
    tried = {0.01: run(50, 0.8), 0.02: run(40, 0.7), 0.04: run(50.1, 0.9), 0.08: run(120, 1.5),
             0.16: run(300, 0.9, 2.5), 0.32: {"non_finite": 7, "series": {"loss": []}}}
    assert outcomes(tried, trigram=1.02) == {0.01: TRAINS, 0.02: TRAINS, 0.04: HURT_, 0.08: DIVERGED,
                                             0.16: DIVERGED, 0.32: NON_FINITE}


def test_an_arm_that_is_above_trigrams_at_every_rate_is_only_slow():
    tried = {0.01: run(200, 1.4), 0.02: run(180, 1.3)}
    assert outcomes(tried, trigram=1.02) == {0.01: TRAINS, 0.02: TRAINS}


def test_an_edge_lies_between_two_rates_or_beyond_them():
    between = pytest.approx(math.sqrt(0.02 * 0.04))
    assert edge({0.01: TRAINS, 0.02: TRAINS, 0.04: HURT_, 0.08: DIVERGED}) == between
    assert edge({0.01: HURT_, 0.02: TRAINS, 0.04: DIVERGED}) == between
    assert edge({0.01: TRAINS, 0.02: TRAINS}) == (0.02, None)
    assert edge({0.01: DIVERGED, 0.02: DIVERGED}) == (None, 0.01)
