"""Comparisons at equal cost, and answers item by item: on numbers made by hand."""
import math

import pytest

from minibitnet.experiments import end_tasks, equal_cost
from minibitnet.experiments.equal_cost import compared, line


def cells(factor=1.0, costs=(100, 400, 1600), noise=0.0):
    """E = factor * 1000 / sqrt(cost): halved by four times the cost; two seeds."""
    return {cost: [factor * 1000 / math.sqrt(cost) * math.exp(sign * noise) for sign in (1, -1)]
            for cost in costs}


def test_between_two_sizes_the_logarithms_are_linear():
    found = line(cells())
    assert math.exp(found.at(100)) == pytest.approx(100) and math.exp(found.at(1600)) == pytest.approx(25)
    assert math.exp(found.at(200)) == pytest.approx(1000 / math.sqrt(200))
    assert found.at(99) is None and found.at(1601) is None
    assert found.cost_of(math.log(50)) == pytest.approx(400)
    assert found.cost_of(math.log(200)) is None and found.cost_of(math.log(20)) is None


def test_a_better_arm_by_a_factor():
    """Theirs is 1.5 times as high everywhere, so it needs 1.5^2 times the cost."""
    found = compared(cells(), cells(1.5), 400)
    assert (found["ours"], found["theirs"]) == (pytest.approx(50), pytest.approx(75))
    assert found["ratio"] == pytest.approx(1 / 1.5) and found["times"] == pytest.approx(2.25)
    assert found["interval"] == (pytest.approx(1 / 1.5), pytest.approx(1 / 1.5)), "seeds that agree"


def test_seeds_that_differ_make_an_interval_around_it():
    found = compared(cells(noise=0.1), cells(1.5, noise=0.1), 400)
    least, most = found["interval"]
    assert least < 1 / 1.5 < most and 1.1 < most / least < 2
    again = compared(cells(noise=0.1), cells(1.5, noise=0.1), 400)
    assert again == found, "draws are the same everywhere"


def test_beyond_what_was_trained_nothing_is_said():
    found = compared(cells(), cells(costs=(800, 3200)), 400)
    assert found["ours"] == pytest.approx(50) and found["theirs"] is None is found["ratio"]
    assert compared(cells(), cells(), 5)["times"] is None
    single = {cost: seeds[:1] for cost, seeds in cells().items()}
    assert compared(single, cells(1.5), 400)["interval"] is None, "one seed"


def test_shares_and_their_errors_by_hand():
    """16 items, 12 right: p = 3/4, error sqrt(3/16 / 16)."""
    found = end_tasks.share(["fff0"])
    assert found == (0.75, math.sqrt(0.75 * 0.25 / 16), 16)
    apart = end_tasks.share(["ffff", "0000"])                # seeds differ by far more than items explain
    assert apart.right == 0.5 and apart.standard_error == pytest.approx(math.sqrt(0.5 / 2))


def test_two_arms_item_by_item():
    """Of 8 items both have 4, ours alone 2, theirs alone 1."""
    ours, theirs = ["fc"], ["f2"]                            # 11111100, 11110010
    difference, error = end_tasks.paired(ours, theirs)
    assert difference == 1 / 8 and error == pytest.approx(math.sqrt((3 / 8 - 1 / 64) / 8))
    assert end_tasks.paired(ours, ours) == (0, 0)
    with pytest.raises(ValueError, match="the same items"):
        end_tasks.paired(["ff"], ["ffff"])


def test_kinds_count_alike():
    shares = [end_tasks.Share(0.5, 0.03, 100), end_tasks.Share(0.9, 0.04, 400)]
    assert end_tasks.mean_share(shares) == (pytest.approx(0.7), pytest.approx(0.025))
    assert equal_cost.DRAWS == 2000
