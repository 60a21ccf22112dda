"""The plan: which runs there are, at which rates, and what waits for what."""
import math

import pytest

from minibitnet.experiments import plan
from minibitnet.experiments.plan import CONTROL, STORIES, Run, optimum, sweep
from plans import finished, outcome


def test_before_anything_is_there_the_sweeps_are_open_and_the_ladder_waits_for_them():
    small, large, ladder, survivors = plan.blocks({})
    assert [len(small.runs), len(large.runs), ladder.runs, len(survivors.runs)] == [10, 6, [], 42]
    assert ladder.waits == "the sweeps of ternary, float, binary"
    assert {run.seed for run in small.runs + large.runs} == {0}


def test_the_blocks_and_how_many_runs_each_has():
    done = finished()
    sizes = {block.name: len(block.runs) for block in plan.blocks(done)}
    assert sizes == {"sweep 64": 10, "sweep 128": 6, "ladder 0": 11, "held out": 2, "stability": 42,
                     "quantized 0": 2, "norms rates": 3, "norms": 4, "ablations": 54, "binary rates": 3,
                     "binary": 4, "ladder 1": 9, "real text": 14, "quantized": 4,
                     "other rate": 2, "ladder 2": 7, "seeds": 6, "largest": 4, "other arms": 2, "guards": 24,
                     "large text": 2}
    names = [run.name for block in plan.blocks(done) for run in block.runs]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {plan.ladder(done, CONTROL, 128).name}, "the control's best rate is one of its tries"


def test_the_ladder_waits_for_both_arms_and_control_for_its_own_sweep():
    done = finished()
    control = [run.name for run in sweep(done, CONTROL, 128)]
    without = {name: o for name, o in done.items() if name not in control}
    assert plan.ladder(without, CONTROL, 64) is None and plan.ladder(done, CONTROL, 64).steps == 4500
    blocks = {block.name: block for block in plan.blocks(without)}
    assert [run.name for run in blocks["norms rates"].runs] == control
    assert (blocks["norms"].runs, blocks["norms"].waits) == ([], "norms rates")
    lost = sweep(done, "ternary", 128)[0].name
    assert plan.ladder({name: o for name, o in done.items() if name != lost}, "float", 64) is None


def test_the_ladder_by_width_has_its_own_rates_alone():
    done = finished()
    widths = plan.by_width(done, "float")
    assert [(d, len(cell)) for d, cell in widths.items()] == [(32, 3), (48, 3), (64, 3), (96, 3), (128, 3),
                                                              (192, 3), (320, 2)]
    assert plan.halved(plan.ladder(done, "float", 320)).name in done, "and another rate is no seed"
    del done[plan.ladder(done, "float", 96, 1).name]
    assert len(plan.by_width(done, "float", (96,))[96]) == 2


def test_who_answers_questions():
    run = Run(STORIES, "ternary", 128, 4e-3, plan.STEPS)
    assert run.questions and not run._replace(change="ema").questions
    assert not run._replace(steps=3000).questions and not run._replace(text=plan.CHARACTERS).questions


def test_a_sweep_goes_on_outward_while_its_best_is_at_an_end():
    first = sweep({}, "ternary", 64)
    assert [run.lr for run in first] == [8e-3, 1.6e-2, 3.2e-2]
    falling = {run.name: outcome(100 - 1000 * run.lr) for run in first}
    longer = sweep(falling, "ternary", 64)
    assert [run.lr for run in longer] == [8e-3, 1.6e-2, 3.2e-2, 6.4e-2]
    assert optimum(falling, longer) is None, "the new one is missing"
    ended = falling | {longer[-1].name: outcome(None)}
    assert sweep(ended, "ternary", 64) == longer, "a run that ended early is worse than any"
    rising = {run.name: outcome(1000 * run.lr) for run in first}
    assert [run.lr for run in sweep(rising, "ternary", 64)][0] == 4e-3


@pytest.mark.parametrize("lowest", (0.011, 0.016, 0.02))
def test_the_optimum_is_the_parabolas(lowest):
    runs = [Run(STORIES, "float", 64, lr, 3000) for lr in (8e-3, 1.6e-2, 3.2e-2)]
    done = {run.name: outcome(math.exp(3 + math.log(run.lr / lowest)**2)) for run in runs}
    assert optimum(done, runs) == lowest


def test_an_optimum_by_hand_and_its_clamp():
    runs = [Run(STORIES, "float", 64, lr, 3000) for lr in (1e-2, 2e-2, 4e-2)]
    done = {run.name: outcome(math.exp(y)) for run, y in zip(runs, (2, 1, 2))}
    assert optimum(done, runs) == 2e-2                       # symmetric
    done = {run.name: outcome(math.exp(y)) for run, y in zip(runs, (1.5, 1, 4))}
    assert optimum(done, runs) == float(f"{2e-2 * 2 ** -(2.5 / 7):.3g}")    # slopes -0.5 and 3 by octave
    done = {run.name: outcome(math.exp(y)) for run, y in zip(runs, (3, 2, 1.1))}
    assert optimum(done, runs) == 4e-2, "between the three, in any case"


def test_the_rate_of_a_width():
    anchors = {64: 1.6e-2, 128: 4e-3}
    assert [plan.rate(anchors, d) for d in (32, 48, 64, 96, 128)] == [1.6e-2, 1.6e-2, 1.6e-2, 8e-3, 4e-3]
    assert plan.rate(anchors, 320) == 0.00253                # 4e-3 sqrt(128/320)


def test_the_length_is_half_as_long_again_as_the_later_drop():
    assert plan.length(finished(crosses=2000)) == 4500
    assert plan.length(finished(crosses=3100)) == 5000
    assert plan.drop(outcome(1, crosses=1234)) == 1234
    assert plan.drop({"series": {"step": [1, 2], "loss": [0.9, 0.4]}}) is None


@pytest.mark.parametrize("d, n", [(32, 50_176), (48, 112_896), (64, 200_704), (96, 451_584), (128, 802_816),
                                  (192, 1_806_336), (320, 5_017_600)])
def test_the_numbers_in_the_matrices(d, n):
    assert Run(STORIES, "float", d, 1, 1).matrices == n == 49 * d**2


def test_a_name_says_all_that_differs():
    run = Run(STORIES, "ternary", 64, 1.6e-2, 3000)
    others = [run._replace(text="tinyshakespeare"), run._replace(arm=CONTROL), run._replace(d=96),
              run._replace(lr=8e-3), run._replace(steps=600), run._replace(seed=1),
              run._replace(change="ema"),
              run._replace(train=(("clip", 0.0),)), run._replace(train=(("clip", 0.5),)),
              run._replace(train=(("schedule", "cosine"),))]
    assert len({one.name for one in (run, *others)}) == 11
    assert run.name == "stories-ternary-64-lr0.016-3000-0"
