"""Runs are made once, go on where they were, are the same again, and are told apart from others."""
import base64
import json
import math

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import plan, quantized_run, runner, training_run
from minibitnet.experiments.plan import CONTROL, STORIES, Run
from minibitnet.measure import results
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.nn.training import mean_loss
from minibitnet.reproduce import main
from minibitnet.text.batches import part_of
from minibitnet.threads import pool_of
from minibitnet.variants import VARIANTS
from plans import finished

SMALL = Run(STORIES, "ternary", 16, 8e-3, 30)


@pytest.fixture
def workplace(few, monkeypatch):
    """A folder to work in, with a plan of three runs."""
    monkeypatch.setattr(results, "home", lambda: few / "results")
    monkeypatch.setattr(runner.plan, "blocks", lambda done: [
        plan.Block("one", "a question", [SMALL, SMALL._replace(seed=1)]),
        plan.Block("two", "another", [SMALL._replace(arm="float")])])
    return few


def after(calls):
    """A function that is false so many times, and then true."""
    count = iter(range(calls))
    return lambda: next(count, None) is None


def test_a_run_that_was_interrupted_ends_like_one_that_was_not(workplace):
    assert training_run.carry_out(SMALL, workplace / "a", stopped=after(1)) is None
    broken = training_run.carry_out(SMALL, workplace / "a")
    whole = training_run.carry_out(SMALL, workplace / "b")
    assert broken["outcome"] == whole["outcome"]
    assert whole["outcome"]["series"]["step"] == [10, 20, 30]
    assert whole["outcome"]["matrices"]["step"] == [1, 2, 5, 10, 20, 30]
    assert json.loads(json.dumps(whole)) == whole | {"config": whole["config"] | {"train": []}}


def test_a_quantized_run_goes_on_with_its_floats(workplace, monkeypatch):
    """In the folder of the float model, which is trained first; each way is that of the library's call."""
    monkeypatch.setattr(quantized_run, "QUESTIONS", 3)
    monkeypatch.setattr(quantized_run, "CALIBRATION", 4)
    monkeypatch.setattr(quantized_run, "TABLE", {"Absmax, W8A8": ("absmax", 8, 8)})
    monkeypatch.setattr(quantized_run, "OURS", {"GPTQ, W1A16": ("gptq", 1, None)})
    run = SMALL._replace(arm="float", change=plan.QUANTIZED)
    found = quantized_run.carry_out(run, workplace)
    floats, told = quantized_run.carry_out(run._replace(change=""), workplace), []
    assert quantized_run.carry_out(run, workplace, report=told.append)["outcome"] == found["outcome"]
    assert told == [] and found["config"] == run._asdict() and runner.run_of(found) == run
    ways, sha256 = found["outcome"]["ways"], floats["outcome"]["model_sha256"]
    assert found["outcome"]["model_sha256"] == sha256 and list(ways) == ["Absmax, W8A8", "GPTQ, W1A16"]
    assert len({sha256, *(way["sha256"] for way in ways.values())}) == 3
    before, eight, one = (o["excess"]["mean"] for o in (floats["outcome"], *ways.values()))
    assert abs(eight - before) < 1 < abs(one - before) and ways["GPTQ, W1A16"]["excess"].keys() == {
        "mean", "sd", "n"}
    assert set(ways["Absmax, W8A8"]["right"].values()) <= {0, 1 / 3, 2 / 3, 1}
    assert quantized_run.carry_out(run._replace(seed=1), workplace, stopped=after(1)) is None


def test_a_finished_run_is_read_not_trained(workplace):
    first = training_run.carry_out(SMALL, workplace)
    told = []
    again = training_run.carry_out(SMALL, workplace, report=told.append)
    assert again["outcome"] == first["outcome"] and told == []


def test_what_a_run_says_of_itself(workplace, monkeypatch):
    monkeypatch.setattr(plan, "STEPS", 30)                    # so long a run answers questions
    found = training_run.carry_out(SMALL, workplace)
    o, counts = found["outcome"], found["counts"]
    assert counts["matrices"] == 49 * 16**2 and counts["parameters"] > counts["matrices"]
    assert counts["bytes"] < 2 * counts["parameters"]
    assert sum(o["weights"]["histogram"]) == counts["matrices"]
    assert all(q == sorted(q) for q in o["weights"]["quantiles"].values())
    assert len(o["matrices"]["zeros"]) == 28 == len(o["weights"]["quantiles"])
    assert {len(bits) for bits in o["answers"].values()} == {2}          # 8 questions, a bit each
    each = np.frombuffer(base64.b64decode(o["excess"]["stories"]), "<i2") / 10
    assert len(each) == o["excess"]["n"] and abs(each.mean() - o["excess"]["mean"]) < 0.05
    assert abs(each.std(ddof=1) - o["excess"]["sd"]) < 0.05
    assert o["ppl"] == pytest.approx(math.exp(o["loss"]))


def test_the_nats_of_stories_are_those_of_the_part(workplace):
    m = training_run.material(STORIES, 288)
    quantized = Transformer(ModelConfig(vocab_size=512, d_model=16, context=288), 3).quantized()
    nats = training_run.nats_of_stories(quantized.losses, m.validation, 576)
    with pool_of(1) as pool:
        assert math.fsum(nats) / m.validation.n_targets == pytest.approx(
            mean_loss(quantized.losses, m.validation, pool, 576), rel=1e-6)
    start, width = m.validation.windows.starts[2], m.validation.windows.widths[2]
    story = m.validation.stream.tokens[start:start + width + 1].astype(np.int32)[None]
    assert nats[2] == pytest.approx(float(quantized.losses(story[:, :-1], story[:, 1:]).sum()), rel=1e-6)
    assert 40 < m.floors[2] < nats[2]


def test_no_window_of_training_begins_within_a_story(workplace):
    whole = part_of(training_run.material(STORIES, 288).training.stream, context=100)
    assert len(whole.windows.starts) > len(whole.stream.starts), "most stories are longer"
    kept = training_run.firsts(whole)
    assert list(kept.windows.starts) == list(whole.stream.starts) and kept.windows.widths.max() == 100
    with pytest.raises(AssertionError, match="a validation story is cut"):
        training_run.material(STORIES, 100)


def test_a_run_whose_loss_is_no_number_says_when(workplace):
    found = training_run.carry_out(SMALL._replace(lr=1e9, train=(("clip", 0.0), ("warmup", 1))), workplace)
    assert found["outcome"]["non_finite"] <= 30 and "excess" not in found["outcome"]


def test_full_precision_with_sub_norms_is_a_variant_inside_alone(workplace):
    found = training_run.carry_out(SMALL._replace(arm=CONTROL), workplace)
    assert CONTROL not in VARIANTS
    assert found["counts"]["bytes"] > 2 * found["counts"]["matrices"] and "matrices" not in found["outcome"]
    plain = training_run.carry_out(SMALL._replace(arm="float"), workplace)
    assert found["counts"]["parameters"] - plain["counts"]["parameters"] == 4 * (16 + 44)     # the gains


def test_work_makes_each_run_once(workplace, capsys):
    assert main(["runs"]) == 0
    text = capsys.readouterr().out
    assert "one            0 of   2 runs" in text and "nothing is left to train" in text
    assert sorted(path.stem for path in runner.folder().glob("*.json")) == sorted(
        [SMALL.name, SMALL._replace(seed=1).name, SMALL._replace(arm="float").name])
    before = {path: path.read_bytes() for path in runner.folder().glob("*.json")}
    assert main(["runs"]) == 0 and main(["runs", "--list"]) == 0
    assert {path: path.read_bytes() for path in runner.folder().glob("*.json")} == before
    assert runner.run_of(runner.done()[SMALL.name]) == SMALL


def test_shares_are_parts_of_the_whole(workplace):
    runs = [SMALL._replace(seed=seed) for seed in range(60)]
    parts = [{run for run in runs if runner.part(run, 3) == i} for i in (1, 2, 3)]
    assert set.union(*parts) == set(runs) and sum(map(len, parts)) == 60 and min(map(len, parts)) > 5


def test_a_budget_begins_nothing_that_would_not_end(workplace, capsys):
    assert main(["runs", "--budget", "0.0000001"]) == 0
    assert "3 runs are left" in capsys.readouterr().out and not runner.done()


def test_another_process_has_a_run_and_the_rest_is_done(workplace, capsys, monkeypatch):
    """Then this one waits: the other may be interrupted, and what comes next may need its run."""
    from minibitnet.formats.rundir import RunDirectory
    theirs = RunDirectory(training_run.HOME / SMALL.name)
    theirs.path.mkdir(parents=True)
    theirs._take()
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            assert len(runner.done()) == 2 and runner.open_runs(runner.done()) == [SMALL]
            theirs.close()
    monkeypatch.setattr(runner.time, "sleep", sleep)
    assert main(["runs"]) == 0
    assert waited == 2 * [runner.LOOK_AGAIN] and len(runner.done()) == 3
    said = capsys.readouterr()
    assert said.err.count("waiting: other processes have what is left, runs: 1") == 1
    assert said.out.endswith("nothing is left to train\n")


def test_verify_finds_a_changed_digit(workplace, capsys, monkeypatch):
    monkeypatch.setattr(runner.plan, "blocks", lambda done: [plan.Block("one", "a question", [SMALL])])
    runner.work()
    assert main(["verify", SMALL.name]) == 0
    assert "the same to the last digit, model sha256" in capsys.readouterr().out
    path = runner.folder() / f"{SMALL.name}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["result"]["outcome"]["loss"] += 1e-15
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match="loss: .* in the file, .* here: expected the same"):
        main(["verify", SMALL.name])


def test_verify_takes_the_shortest_and_knows_what_there_is(workplace, monkeypatch):
    short = SMALL._replace(steps=10)
    monkeypatch.setattr(runner.plan, "blocks", lambda done: [plan.Block("one", "a question", [SMALL, short])])
    with pytest.raises(UserError, match="has no run: expected one to verify"):
        main(["verify"])
    runner.work()
    with pytest.raises(UserError, match="no run is named 'stories'"):
        main(["verify", "stories"])
    assert runner.to_verify()[0] == short and main(["verify"]) == 0


def test_a_damaged_file_is_named(workplace):
    runner.folder().mkdir(parents=True)
    for text in ("", "[]", '{"result": {}}', '{"result": {"outcome": {}, "config": {"train": [], "x": 1}}}'):
        (runner.folder() / "bad.json").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="bad.json: not the result of a run"):
            runner.done()


def test_what_the_stories_are_made_of_is_written_once(workplace):
    runner.work(budget=1e-9)
    path = workplace / "results" / "stories-text.json"
    found = json.loads(path.read_text(encoding="utf-8"))["result"]
    m = training_run.material(STORIES, 288)
    assert found["validation"]["stories"] == len(m.floors) and found["sha256"] == m.sha256
    assert found["validation"]["nats_a_story"] == pytest.approx(sum(m.floors) / len(m.floors))
    assert found["validation"]["nats_a_token"] < found["trigram"] < math.log(512)
    before = path.read_bytes()
    runner.work(budget=1e-9)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ("0/2", "3/2", "1", "a/b", "1/"))
def test_a_share_is_one_of_n(text, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["runs", "--shard", text])
    assert ended.value.code == 2 and "expected I/N" in capsys.readouterr().err


def test_the_law_is_written_down_before_the_held_out_size_begins(workplace, monkeypatch):
    law = {name: {"outcome": outcome} for name, outcome in finished().items()}
    lost = plan.ladder(runner.outcomes(law), "ternary", 48)
    for seed in (0, 1, 2):
        del law[lost._replace(seed=seed).name]
    path = workplace / "results" / "scaling-prediction.json"
    waiting = plan.Block("held out", "a question", [SMALL], "scaling-prediction")
    monkeypatch.setattr(runner.plan, "blocks", lambda done: [waiting])
    assert runner.open_runs({}) == []
    runner.foretell(law)
    assert not path.exists(), "a size is missing"
    whole = law | {lost.name: {"outcome": {"excess": {"mean": 30.0}}}}
    runner.foretell(whole)
    written = path.read_bytes()
    runner.foretell(law | {lost.name: {"outcome": {"excess": {"mean": 60.0}}}})
    assert path.read_bytes() == written, "it is not written again"
    assert runner.open_runs({}) == [SMALL]
