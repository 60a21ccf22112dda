"""Intervals and power laws: on numbers whose law is known."""
import math

import pytest

from minibitnet.experiments import plan, scaling, uncertainty
from minibitnet.experiments.scaling import at, foretold, power_law, predict, with_offset
from plans import finished

SIZES = [49 * d**2 for d in plan.SIZES]


def cells(law, seeds=1, noise=0.0):
    """{N: [E ..]}; noise: by how much (of ln E) seeds go up and down in turn."""
    return {n: [law(n) * math.exp(noise * (-1)**(k + i)) for k in range(seeds)] for i, n in enumerate(SIZES)}


def outcomes(law):
    """Of a whole plan; those of seed 0 of the ladder, alone, obey the law."""
    done = finished()
    for arm, factor in (("ternary", 2), ("float", 1)):
        for d in plan.SIZES:
            runs = [plan.ladder(done, arm, d, seed) for seed in plan.SEEDS]
            for run in runs[1:]:
                del done[run.name]
            done[runs[0].name] = {**done[runs[0].name], "excess": {"mean": factor * law(49 * d**2)}}
    return done


def test_pooled_by_hand():
    """Around their means 2 and 10: -1, +1 and -2, 0, +2; squares 2 + 8 over 1 + 2 degrees of freedom."""
    assert uncertainty.pooled([[1, 3], [8, 10, 12], [5]]) == (math.sqrt(10 / 3), 3)
    assert uncertainty.pooled([[1], [2]]) == (None, 0)
    assert uncertainty.interval([1, 3], None, 0) == (2, None)
    assert uncertainty.interval([1, 3], 2.0, 3) == (2, pytest.approx(3.182 * 2 / math.sqrt(2)))
    assert uncertainty.t95(1) == 12.706 and uncertainty.t95(30) == 2.042 and uncertainty.t95(99) == 1.96


def test_quantiles_hold_the_share():
    assert uncertainty.quantiles(list(range(101)), 0.9) == (5, 95)


def test_a_power_law_is_found_again():
    law = [3e4 * n**-0.7 for n in SIZES]
    ln_a, b, squares = power_law(SIZES, law, [1] * 5)
    assert (math.exp(ln_a), b) == (pytest.approx(3e4), pytest.approx(-0.7)) and squares < 1e-20
    assert at(5e6, ln_a, b) == pytest.approx(3e4 * 5e6**-0.7)


def test_weights_count():
    """A point of weight 0 may be anywhere."""
    law = [3e4 * n**-0.7 for n in SIZES[:-1]] + [1e6]
    assert power_law(SIZES, law, [1, 1, 1, 1, 0])[1] == pytest.approx(-0.7)


@pytest.mark.parametrize("c", (0.0, 5.0, -0.3))
def test_an_offset_is_found_again(c):
    law = [4e5 * n**-0.9 + c for n in SIZES]
    ln_a, b, found, profile = with_offset(SIZES, law, [1] * 5)
    step = 1.48 * min(law) / scaling.GRID
    assert found == pytest.approx(c, abs=step) and b == pytest.approx(-0.9, abs=0.1)
    assert len(profile) == scaling.GRID


def test_what_is_foretold_of_an_exact_law():
    truth = 3e4 * 5e6**-0.7
    said = foretold(cells(lambda n: 3e4 * n**-0.7), 5e6)
    assert said["M1"]["excess"] == pytest.approx(truth) and said["M1"]["b"] == pytest.approx(-0.7)
    assert said["the last two"] == pytest.approx(truth)
    assert said["as the largest"] == pytest.approx(3e4 * SIZES[-1]**-0.7)


def test_noise_widens_the_interval_and_the_truth_is_inside():
    truth = 3e4 * 5e6**-0.7
    narrow, wide = (foretold(cells(lambda n: 3e4 * n**-0.7, seeds=2, noise=noise), 5e6)["M1"]
                    for noise in (0.01, 0.1))
    for said in (narrow, wide):
        assert said["interval"][0] < truth < said["interval"][1]
    assert wide["interval"][1] / wide["interval"][0] > 1.5 * narrow["interval"][1] / narrow["interval"][0]


def test_a_prediction_names_what_it_is_made_of():
    done = outcomes(lambda n: 3e4 * n**-0.7)
    assert scaling.ready(done)
    said = predict(done)
    small = plan.ladder(done, "float", 48).name
    assert len(said["config"]["runs"]) == 10 and small in said["config"]["runs"]
    assert len(said["config"]["sha256"]) == 64
    assert said["arms"]["ternary"]["held out"]["N"] == 49 * plan.HELD_OUT**2
    rehearsal = said["arms"]["float"]["rehearsal"]
    assert rehearsal["M1"]["excess"] == pytest.approx(rehearsal["measured"][0])
    changed = {**done, small: {**done[small], "excess": {"mean": 99.0}}}
    assert predict(changed)["config"]["sha256"] != said["config"]["sha256"]
    del changed[small]
    assert not scaling.ready(changed)
