"""The miniatures: the same to the last digit, and what their words say is what their numbers say."""
import json
import math

import pytest

from minibitnet.experiments import energy, miniature_costs, miniature_parts, miniatures
from minibitnet.experiments.lines import as_text
from minibitnet.experiments.miniatures import run
from minibitnet.stories import entropy, pets


def said(in_words, result):
    """The lines of a result as it is when it was written and read."""
    return list(map(as_text, in_words(json.loads(json.dumps(result)))))


def by_width(*rows, seeds=(0,)):
    """A result of ``miniatures.by_width``: (d, ternary's excesses, float's); float takes four times the
    bytes and twice the energy."""
    return {"config": {"steps": 150, "seeds": list(seeds)}, "rows": [
        {"d": d, "matrices": 49 * d**2 // 2, "ternary": {"bytes": d**2, "microjoules": d, "excess": ternary},
         "float": {"bytes": 4 * d**2, "microjoules": 2 * d, "excess": full}} for d, ternary, full in rows]}


def test_a_run_is_a_function_of_its_seed():
    first, again, other = (run.__wrapped__("ternary", 16, 0.01, 12, seed) for seed in (3, 3, 4))
    assert first[1:] == again[1:] != other[1:] and len(first.losses) == 12
    assert first.losses[-1] < first.losses[0] and first.excess > 0


def test_a_changed_run_is_another_one():
    usual, changed = (run("ternary", 16, 0.01, 3, change=change) for change in ("", "preln"))
    assert usual.losses != changed.losses
    assert any("sub_norm" in name for name in usual.model.parameters())
    assert not any("sub_norm" in name for name in changed.model.parameters())


def test_a_loss_that_is_no_number_ends_a_run():
    assert run("float", 16, 1e9, 12, clip=0.0, warmup=1).excess is None


def test_a_ladder_counts_what_its_models_have(monkeypatch):
    monkeypatch.setattr(miniatures, "WIDTHS", (8, 16))
    monkeypatch.setattr(miniatures, "STEPS", 2)
    monkeypatch.setattr(miniatures, "ladder", lambda arm, d, seeds: [float(d + seed) for seed in seeds])
    small, large = miniatures.by_width((0, 2), iter)["rows"]
    assert small["ternary"]["excess"] == [8.0, 10.0] and large["matrices"] == 2 * (4 * 256 + 3 * 16 * 44)
    model = run("float", 16, 0.01, 2).model
    assert large["matrices"] == sum(p.data.size for name, p in model.parameters().items() if "proj" in name)
    packed, full = (energy.of_model(miniatures.configuration(arm, 16))[0] for arm in ("ternary", "float"))
    scales = 2 * 7 * 4                                       # one in float32 for each matrix
    assert full - packed == large["matrices"] * 14 // 8 - scales
    assert (packed, full) == (large["ternary"]["bytes"], large["float"]["bytes"])


def test_the_words_of_sizes():
    result = by_width((16, [20.0, 22.0], [10.0, 12.0]), (64, [1.5, 1.5], [1.0, 1.0]), seeds=(0, 1))
    lines = said(miniatures.by_size_in_words, result)
    assert "worse by 10.0 ± 0.0 nats a story at width 16, by 0.5 ± 0.0 at width 64 (differs)" in lines[0]
    assert "width 16 | 20.00, 22.00 nats a story above the floor; float 10.00, 12.00" in lines[1]
    for unclear in ([0.5, 0.5], [1.0, 2.2]):                 # below; above by 0.6 ± 7.6
        result["rows"][1]["ternary"]["excess"] = unclear
        assert "(differs)" not in said(miniatures.by_size_in_words, result)[0]
    alone = said(miniatures.by_size_in_words, by_width((16, [2.0], [1.0])))
    assert "worse by 1.0 nats a story at width 16, by 1.0 at width 16 (differs)" in alone[0]


def test_the_words_of_own_rates():
    rows = [{"rate": lr, "ternary": [t], "float": [f]} for lr, t, f in ((0.01, 12.0, 8.0), (0.02, 6.0, 4.0),
                                                                      (0.04, 3.0, 5.0))]
    result = {"config": {"width": 32, "steps": 80, "seeds": [0]}, "rows": rows}
    first, *rest = said(miniatures.own_rates_in_words, result)
    assert ("best at 0.04 (ternary), 0.02 (float); from 0.01 to its best ternary's excess falls to 1/4.0, "
            "float's to 1/2.0 | pets") in first
    assert "rate 0.02 | ternary 6.0; float 4.0" in rest[1]
    rows[2]["ternary"] = [7.0]
    assert "(differs)" in said(miniatures.own_rates_in_words, result)[0], "both at 0.02"


def test_the_words_of_rates():
    def falling(to):
        return [3 + (to - 3) * i / 17 for i in range(18)] + [to, to]
    rows = [{"rate": 0.01, "ternary": [falling(0.5)], "float": [falling(0.3)]},
            {"rate": 0.1, "ternary": [falling(0.4)], "float": [[*falling(0.6)[:18], 2.0, 2.0]]}]
    result = {"config": {"width": 32, "steps": 80, "seeds": [0]}, "rows": rows}
    lines = said(miniatures.large_rates_in_words, result)
    assert "best rates 0.1 (ternary), 0.01 (float); ternary ends below float at 0.1 |" in lines[0]
    assert "training loss at the end: ternary 0.40; float 2.00 (rises)" in lines[2]


def test_stretches_are_means():
    assert miniatures.in_stretches([1.0, 3.0, 5.0, 7.0], n=2) == [2.0, 6.0]
    assert miniatures.in_stretches([1.0, 3.0], n=20) == [1.0, 3.0]


# ---- what a size costs

def on_laws(b_ternary, b_float, last=1.0):
    """Excesses on two power laws of N but for the last one of float, which is so many times as high."""
    widths = (16, 24, 32, 48)
    return by_width(*((d, [1e4 * d**(2 * b_ternary)], [1e3 * d**(2 * b_float) * (last if d == 48 else 1)])
                      for d in widths))


def test_a_law_foretells_what_obeys_it():
    found = miniature_costs.laws(on_laws(-1.0, -0.5))
    assert found["ternary"]["b"] == pytest.approx(-1) and found["float"]["b"] == pytest.approx(-0.5)
    assert found["ternary"]["foretold"] == pytest.approx(1e4 / 48**2) == found["ternary"]["found"]
    first, *rest = said(miniature_costs.laws_in_words, on_laws(-1.0, -0.5))
    assert "0% off (ternary), " in first and "0% off (float); ternary's falls faster with N" in first
    assert "(differs)" not in first
    assert "E = 2.45e+05 N^-1.00; foretold 4.34 nats a story, found 4.34" in rest[0]
    assert "(differs)" in said(miniature_costs.laws_in_words, on_laws(-0.5, -1.0))[0], "the gap grows"
    assert "-50% off (float)" in said(miniature_costs.laws_in_words, on_laws(-1.0, -0.5, last=2.0))[0]


def test_at_equal_cost_by_hand():
    """Ternary's largest, 48, costs 2,304 bytes, as much as float's of width 24: 3 against 6 nats; its 3 nats
    are float's of width 48, four times as large. Of the energy float takes twice as much."""
    result = by_width((24, [12.0], [6.0]), (48, [3.0], [3.0]))
    first = said(miniature_costs.equal_bytes_in_words, result)[0]
    assert "at 2,304 bytes of weights ternary's excess is 0.50 times float's; float needs 4.0 times" in first
    assert "(differs)" not in first
    worse = by_width((24, [12.0], [6.0]), (48, [9.0], [3.0]))
    assert "1.50 times float's" in said(miniature_costs.equal_bytes_in_words, worse)[0]
    assert "(differs)" in said(miniature_costs.equal_energy_in_words, worse)[0]
    energy_line = said(miniature_costs.over_cost_in_words, result)[0]
    assert "over N ternary is not below float at 2 of 2 widths; over energy: ternary's excess" in energy_line
    dear = by_width((24, [12.0], [6.0]))
    assert "no size of float costs so little" in said(miniature_costs.equal_bytes_in_words, dear)[0]


def test_seeds_make_an_interval():
    result = by_width((24, [12.0, 13.0], [6.0, 6.5]), (48, [3.0, 3.3], [3.0, 2.9]), seeds=(0, 1))
    assert "(95 %: 0." in said(miniature_costs.equal_bytes_in_words, result)[0]


def test_at_equal_bits():
    rows = [{"what": what, "d": 32, "bits": 100, "excess": [excess]} for what, excess in (
        ("ternary", 5.0), ("binary, as many weights", 9.0), ("binary, as many bits", 4.0))]
    result = {"config": {"steps": 150, "seeds": [0]}, "rows": rows, "zeros": 0.31}
    first, *_, last = said(miniature_costs.zeros_in_words, result)
    assert "ternary 5.00 nats a story above the floor; binary, as many weights: 9.00" in first
    assert "(differs)" in first and last.startswith("31% of the ternary weights are 0.")
    rows[2]["excess"] = [6.0]
    assert "(differs)" not in said(miniature_costs.zeros_in_words, result)[0]


def test_the_bits_of_models_are_those_that_are_compared(monkeypatch):
    monkeypatch.setattr(miniature_costs, "ladder", lambda arm, d, seeds: [1.0])
    monkeypatch.setattr(miniatures, "STEPS", 2)
    rows = {r["what"]: r["bits"] for r in miniature_costs.zeros()["rows"]}
    n = 2 * (4 * 32**2 + 3 * 32 * 88)
    assert rows["ternary"] == round(n * math.log2(3)) and rows["binary, as many weights"] == n
    assert rows["binary, as many bits"] == pytest.approx(rows["ternary"], rel=0.03)
    assert rows["binary, as many bytes"] == pytest.approx(2 * n, rel=0.06)


# ---- parts, and questions

def test_the_words_of_ablations():
    rows = [{"method": method, "change": "words", "excess": [excess]} for method, excess in (
        ("BitNet", 9.0), ("Elastic + Pre-LN", 12.0), ("Absmax + Pre-LN", 10.0), ("Absmax + BMT", 11.0))]
    result = {"config": {"width": 32, "steps": 150, "seeds": [0]}, "rows": rows}
    first, *rest = said(miniature_parts.ablated_in_words, result)
    assert "Elastic + Pre-LN +3.0; Absmax + Pre-LN +1.0; Absmax + BMT +2.0 nats a story" in first
    assert "(differs)" not in first and "Elastic + Pre-LN: perplexity 24.05 | 12.00" in rest[1]
    rows[2]["excess"] = [8.5]
    assert "(differs)" in said(miniature_parts.ablated_in_words, result)[0]


def test_what_is_asked_is_what_the_story_decides():
    assert len(miniature_parts.stories()) > 240 and len(set(miniature_parts.stories())) <= 256
    for kind in miniature_parts.QUESTIONS:
        asked = miniature_parts.asked(kind)
        assert len(asked) == len(miniature_parts.stories())
        for context, choices, right in asked[::40]:
            possible = [entropy.prefix_nats(context + choice, pets.LANGUAGE) < math.inf for choice in choices]
            assert possible == [i == right for i in range(4)]
        assert {right for _, _, right in asked} == {0, 1, 2, 3}


def test_who_is_right(monkeypatch):
    """A model that has read nothing answers about as many as chance; the examples reach it."""
    model = run("float", 16, 0.01, 1).model
    assert all(0.05 < share < 0.6 for share in miniature_parts.right(model, every=5).values())
    heard = []
    monkeypatch.setattr(miniature_parts.LanguageModel, "log_likelihoods",
                        lambda self, context, choices: heard.append(context) or [0.0, 1.0, 0.0, 0.0])
    shares = miniature_parts.right(model, shots=("A b.", "C d."))
    assert heard[0].startswith("A b. C d. ") and shares["colors"] == pytest.approx(0.25, abs=0.02)


def test_the_words_of_answers():
    def arm(share):
        return {"microjoules": 10.0, "animals": [share], "colors": [share]}
    rows = [{"d": d, "ternary": arm(ternary), "float": arm(full)} for d, ternary, full in (
        (16, 0.3, 0.5), (48, 0.75, 1.0))]
    result = {"config": {"steps": 150, "seeds": [0], "stories": 256}, "rows": rows}
    first, *rest = said(miniature_parts.answers_in_words, result)
    assert "ternary 75.0%, float 100.0% right at width 48; 30.0%, 50.0% at width 16 (differs)" in first
    assert "width 16 | ternary animals 30%, colors 30%; float animals 50%, colors 50%" in rest[0]


def test_the_words_of_examples():
    def shares(share):
        return {"animals": [share], "colors": [share]}
    rows = [{"arm": arm, "d": d, "microjoules": cost, "0": shares(zero), "4": shares(four)}
            for arm, d, cost, zero, four in (("ternary", 32, 17.1, 0.6, 0.7), ("float", 24, 16.2, 0.5, 0.8))]
    result = {"config": {"steps": 300, "seeds": [0], "shots": 4}, "rows": rows}
    first, *rest = said(miniature_parts.shots_in_words, result)
    assert "ternary 60.0% without, 70.0% with 4 examples, 17.1 µJ; float 50.0% without" in first
    assert "(differs)" in first and "float, width 24, 4 examples | animals 80%" in rest[3]
    rows[1]["4"] = shares(0.65)
    assert "(differs)" not in said(miniature_parts.shots_in_words, result)[0]


def test_a_reader_reads_lines_that_hold_the_examples(monkeypatch):
    monkeypatch.setattr(miniature_parts, "READ", 2)
    model = miniature_parts.reader("ternary", 16, 0)
    longest = max(map(len, miniature_parts.stories()))
    assert model.config.context >= miniature_parts.SHOTS * (longest + 1) + longest
