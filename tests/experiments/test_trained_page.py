"""The page of trained models: what it says of runs that were made up, and that every picture is drawn."""
import math

import pytest
from plans import results as made_up

from minibitnet.experiments import (equal_cost, plan, runner, scaling, trained_page, trained_parts,
                                    trained_quantized, trained_sizes, uncertainty)
from minibitnet.experiments.trained_sizes import slope
from minibitnet.measure import results


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """For intervals of what is made up."""
    monkeypatch.setattr(uncertainty, "DRAWS", 60)
    monkeypatch.setattr(equal_cost, "DRAWS", 60)


@pytest.fixture
def whole(monkeypatch):
    """{name: result} of the whole plan, and the prediction that was made of it. The ladder obeys
    E = 4e4 N^-0.6, ternary's 1.5 times that."""
    found = made_up()
    said = {"date": "2000-01-01", "result": scaling.predict(runner.outcomes(found))}
    usual = results.load
    monkeypatch.setattr(runner, "done", lambda: found)
    monkeypatch.setattr(results, "load",
                        lambda name, *rest: said if name == scaling.NAME else usual(name, *rest))
    return found


def law(d, factor=1.0):
    return factor * 4e4 * (49 * d**2)**-0.6


def lines_of(section):
    return list(section)


def test_the_table_of_sizes_and_its_gaps(whole):
    lines = lines_of(trained_sizes.sizes(whole))
    row = next(line for line in lines if line.startswith("| 128 | 802,816 |"))
    ternary, full = law(128, 1.5), law(128)
    assert f"| {ternary:.1f} ± 0.0 | {full:.1f} ± 0.0 | {full:.1f} ± 0.0 |" in row
    assert f"| {ternary - full:.1f} ± 0.0 |" in row
    assert f"{law(96, 1.5):.1f} beside {law(48):.1f} (widths 96 and 48)" in "\n".join(lines)


def test_one_seed_has_no_interval(whole):
    for name in [name for name in whole if not name.endswith("-0")]:
        del whole[name]
    lines = lines_of(trained_sizes.sizes(whole))
    assert any(line.startswith("| 320 | 5,017,600 |") and "±" not in line for line in lines)
    assert any("nobody can say whether that is more than chance" in line for line in lines)


@pytest.mark.parametrize("by_seed, says", [
    ((-0.1, 0.1), "the gap shrinks"), ((-2.0, 2.0), "is not resolved")])
def test_whether_the_gap_shrinks(whole, by_seed, says):
    """Ternary's excess is float's times N^-0.3 with seeds that differ by little, or by much."""
    done = runner.outcomes(whole)
    for d, runs in plan.trained(done, "ternary").items():
        for run in runs:
            noise = 0 if run.seed > 1 else by_seed[run.seed]
            done[run.name]["excess"]["mean"] = law(d, 30 * (49 * d**2)**-0.3) * math.exp(noise)
    assert any(says in line for line in trained_sizes.shrinking(whole))


def test_a_slope_by_hand():
    """ln N of e, e^2, e^3: heights 1, 2, 3 rise by 1 an e-fold."""
    exact = {math.exp(i): [float(i)] for i in (1, 2, 3)}
    assert slope(exact) == (pytest.approx(1), None) and slope({1: [1.0], 2: [2.0]}) == (None, None)
    steepness, (low, high) = slope({n: [y[0] - 0.1, y[0] + 0.1] for n, y in exact.items()})
    assert steepness == pytest.approx(1) and 0.8 < low < 0.95 < 1.05 < high < 1.2


def test_at_equal_bytes_ternary_is_the_better_buy(whole):
    """Here it takes an eighth of the bytes in the matrices and is 1.5 times as bad: less than the four sizes
    of float that it saves."""
    points = trained_sizes.at_equal(whole, "bytes")
    assert len(points) == 5 and all(p["ratio"] < 1 for p in points)
    assert any("better at 5 of the 5 sizes" in line for line in trained_page.same_bytes(whole))


def test_what_was_foretold_stands_beside_what_came(whole):
    text = "\n".join(trained_sizes.law(whole))
    assert "written down on 2000-01-01" in text
    assert f"| float | E = a N^b | b -0.60 | {law(320):.1f}" in text and "| +0% |" in text
    largest = [name for name in whole if "-320-" in name]
    for name in largest:
        del whole[name]
    assert "| not run |" in "\n".join(trained_sizes.law(whole))


def test_the_ablations_by_their_worth(whole):
    text = "\n".join(trained_parts.ablations(whole))
    assert "| ternary | average of the weights, 0.999 | -2.0 ± 0.0 | 3 | **better** |" in text
    assert text.index("0.999") < text.index("no norm before") < text.index("0.99 ")
    assert "one stage: a straight line to 0" in text and "no weight decay" in text
    [line] = trained_page.matters_most(whole)
    assert "at 0.25 of the rate" in line and "what helps most: average of the weights, 0.999" in line


def test_an_edge_in_words(whole):
    runs = {rate: {"excess": {"mean": excess}} for rate, excess in ((0.01, 9.0), (0.02, 8.0), (0.08, 20.0))}
    kinds = {0.01: "trains", 0.02: "trains", 0.08: "hurt"}
    assert trained_parts.edge_in_words(runs, kinds) == "0.04, 2.0"
    assert trained_parts.edge_in_words(runs, dict.fromkeys(runs, "trains")) == "above 0.08, 4.0"
    assert trained_parts.edge_in_words(runs, dict.fromkeys(runs, "diverged")) == "below all"


def test_questions_are_counted(whole):
    text = "\n".join(trained_parts.questions(whole))
    assert "| 128 | ternary | 50 ± 1 |" in text and "| 128 | +0.0 ± 0.9 |" in text
    assert "| guess |  |" in text and "| 32 | float |" in text


def test_zeros_by_matrix(whole):
    text = "\n".join(trained_parts.weights(whole))
    assert "stories-ternary-320-" in text
    assert "| q_proj | 36.0%, 36.0%, 36.0%, 36.0% | 0.200% | 0.85 |" in text


def test_the_page_is_made_at_every_stage_of_the_plan(monkeypatch):
    """With the runs of its first blocks, one block more at a time."""
    whole, found = made_up(), {}
    monkeypatch.setattr(runner, "done", lambda: found)
    for block in plan.blocks(runner.outcomes(whole)):
        found |= {run.name: whole[run.name] for run in block.runs}
        assert "# What the papers' trained rows need" in trained_page.trained()


def test_a_run_that_ended_early_is_left_out(whole):
    lost = plan.ladder(runner.outcomes(whole), "ternary", 96)
    whole[lost.name]["outcome"] = {"non_finite": 7, "series": {"step": [10], "loss": [9.0]}}
    row = next(line for line in trained_sizes.sizes(whole) if line.startswith("| 96 |"))
    assert f"| {law(96, 1.5):.1f} ± 0.0 |" in row
    assert scaling.predict(runner.outcomes(whole)) and trained_page.trained()


def test_nothing_is_said_of_what_is_not_there(monkeypatch):
    monkeypatch.setattr(runner, "done", dict)
    sections = (trained_sizes.sizes, trained_sizes.real_text, trained_parts.survival, trained_parts.ablations,
                trained_parts.questions, trained_parts.weights, trained_page.in_short)
    assert [line for section in sections for line in section({})] == []
    assert "## What is left" in trained_page.trained()


def test_a_whole_plan_leaves_nothing(whole, tmp_path, monkeypatch):
    (tmp_path / "scaling-prediction.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    assert lines_of(trained_page.left(whole))[-1] == "Nothing."
    lost = next(name for name in whole if "-128-" in name and "shakespeare" in name)
    del whole[lost]
    assert "| real text |" in "\n".join(trained_page.left(whole))


def test_every_picture_is_drawn(whole, tmp_path):
    for name, draw in trained_page.PICTURES.items():
        assert draw(tmp_path / name) and (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_every_picture_that_the_page_shows_is_one_of_them(whole):
    shown = {line.rpartition("(")[2].rstrip(")") for line in trained_page.trained().splitlines()
             if line.startswith("![")}
    assert shown == set(trained_page.PICTURES)


def test_what_quantizing_after_training_costs(whole):
    """The made-up ways of b bits are 2 (8 / b)^2 nats above the floats: +2, 8, 32, 51.3 and 128; ternary is
    half as much again as the floats. Two of three seeds are there, and the paper's numbers."""
    names = [name for name in whole if name.endswith(f"{plan.QUANTIZED}-2")]
    assert len(names) == 2
    for name in names:
        del whole[name]
    lines = lines_of(trained_quantized.quantized(whole))
    d, full = 96, law(96)
    said = next(line for line in lines if line.startswith(f"- Width {d}"))
    assert "8 bits +2.0, 4 bits +8.0, 2 bits +32.0, 1.58 bits +51.3, 1 bits +128.0" in said
    assert f"ternary {full / 2:+.1f}" in said
    two = f"{full + 32:.1f} ({full + 32:.1f} to {full + 32:.1f})"
    row = next(line for line in lines if line.startswith("| GPTQ, W2A16"))
    assert row.startswith("| GPTQ, W2A16 | 1032 |") and row.endswith(f"| {two} | 50% |")
    assert any(line.startswith("| binary, trained | 17.07 |") for line in lines)
    better = said.split("trained so: ")[-1]
    assert ("W8A8" in better) == (full / 2 > 2) and "W2A16" not in better


def test_without_quantized_runs_there_is_no_table(whole):
    for name in [name for name in whole if plan.QUANTIZED in name]:
        del whole[name]
    assert lines_of(trained_quantized.quantized(whole)) == []
    assert trained_quantized.draw_quantized("absent.png") is False
