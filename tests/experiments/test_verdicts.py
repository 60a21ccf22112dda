"""Verdicts on ablations, by hand."""
import math

import pytest

from minibitnet.experiments import plan, verdicts
from minibitnet.experiments.plan import STORIES, Run
from minibitnet.experiments.verdicts import BETTER, NOT_RESOLVED, WORSE

BASE = Run(STORIES, "ternary", plan.ABLATED, 0.01, plan.ABLATION_STEPS, change="ema")


def of_seeds(run, *excesses):
    return [(run._replace(seed=seed), excess) for seed, excess in enumerate(excesses)]


def test_differences_are_taken_seed_by_seed():
    runs = [*of_seeds(BASE, 50.0, 52.0, 51.0),
            *of_seeds(BASE._replace(change="median"), 60.0, 63.0),
            *of_seeds(BASE._replace(change="zero_one", lr=0.0025), 70.0),
            *of_seeds(BASE._replace(change="", train=(("schedule", "cosine"),)), 49.0, 51.5)]
    assert verdicts.differences(runs) == {
        ("ternary", "median", 1.0): {0: 10.0, 1: 11.0}, ("ternary", "zero_one", 0.25): {0: 20.0},
        ("ternary", "schedule", 1.0): {0: -1.0, 1: -0.5}}


def test_a_run_without_its_unchanged_one_says_nothing():
    runs = [*of_seeds(BASE, 50.0), *of_seeds(BASE._replace(change="median", arm="binary"), 60.0)]
    assert verdicts.differences(runs) == {}


def test_verdicts_by_hand():
    """Spread: 0.5 around each mean, two seeds each: sd sqrt(2 * 3 * 0.25 / 3) = 0.707, of 3 degrees of
    freedom; a mean of two is known to 3.182 * 0.707 / sqrt(2) = 1.59."""
    found = {("ternary", "a", 1.0): {0: 9.5, 1: 10.5}, ("ternary", "b", 1.0): {0: -2.5, 1: -1.5},
             ("ternary", "c", 1.0): {0: 0.5, 1: 1.5}, ("ternary", "d", 1.0): {0: 3.0}}
    judged = verdicts.judged(found)
    assert [v.change for v in judged] == ["b", "c", "d", "a"]
    assert [v.says for v in judged] == [BETTER, NOT_RESOLVED, WORSE, WORSE]
    assert judged[0].half == pytest.approx(3.182 * math.sqrt(0.5) / math.sqrt(2))
    assert [v.clear for v in judged] == [True, False, True, True]
    assert judged[2].half == pytest.approx(3.182 * math.sqrt(0.5)), "one seed is known less well"


def test_one_seed_each_resolves_nothing():
    [verdict] = verdicts.judged({("ternary", "a", 1.0): {0: 99.0}})
    assert verdict.says == NOT_RESOLVED and verdict.half is None and not verdict.clear


def test_averages_stand_beside_the_last_weights():
    outcome = {"excess": {"mean": 50.0}, "averages": {"0.99": 52.0, "0.999": 47.5}}
    assert verdicts.averaged([(BASE, outcome)]) == {
        ("ternary", "average of the weights, 0.99", 1.0): {0: 2.0},
        ("ternary", "average of the weights, 0.999", 1.0): {0: -2.5}}
