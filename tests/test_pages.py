"""Every figure of README and of the pages of data/results is the one that a command wrote."""
import json
import math
from pathlib import Path
from statistics import mean

import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import pages, plan, quality_page, trained_page
from plans import finished
from plans import results as made_up

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNS = json.loads((ROOT / "data/results/recipes.json").read_text(encoding="utf-8"))["result"]["runs"]


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_page_is_made_of_the_files_beside_it(name):
    """Made again, it has the same text: nothing in it was typed, and nothing is of an older file."""
    assert (ROOT / "data/results" / name).read_text(encoding="utf-8") == pages.PAGES[name]()


def test_a_page_changes_with_its_records(monkeypatch):
    record = quality_page.record

    def changed(name):
        found = json.loads(json.dumps(record(name)))
        if name == "recipes":
            found["result"]["runs"]["tiny-0"]["val_loss"] += 0.001
        return found
    before = quality_page.quality()
    monkeypatch.setattr(quality_page, "record", changed)
    assert quality_page.quality() != before


def test_the_papers_page_runs_nothing_that_depends_on_the_machine():
    """Joules by the processor's counters are measured where they are read: the page gives the command."""
    assert "| as your machine has it |" in next(line for line in pages.papers().splitlines()
                                                if line.startswith("| [joules]"))
    assert "## joules" not in pages.papers()


@pytest.mark.parametrize("variant", ["ternary", "float", "binary"])
def test_the_readme_has_the_mean_of_three_seeds(variant):
    line = next(line for line in README.splitlines() if line.startswith("| tinyshakespeare"))
    column = ["ternary", "float", "binary"].index(variant) + 2
    losses = [RUNS[f"tinyshakespeare-{variant}-{seed}"]["val_loss"] for seed in (0, 1, 2)]
    assert line.split("|")[column].strip() == f"{mean(losses):.3f}"


def test_the_readme_has_the_stories_perplexities():
    def ratio(name):
        return f"{math.exp(RUNS[name]['val_loss'] - RUNS[name]['floor']):.3f}"
    assert f"| `train --tiny`: perplexity | {RUNS['tiny-0']['val_ppl']:.3f} |" in README
    assert f"| `train --tiny`: perplexity / floor | {ratio('tiny-0')} |" in README
    assert f"that are all new it reaches {ratio('fresh-float')}." in README
    assert f"perplexity / floor | {ratio('stories-ternary')} | {ratio('stories-float')} |" in README


def test_the_readme_has_the_sizes_of_these_runs():
    parameters, tokens = (RUNS[name][key] / 1e6 for name, key in (("tinyshakespeare-ternary-0", "parameters"),
                                                                  ("stories-ternary", "tokens")))
    assert f"Tinyshakespeare by characters, {parameters:.2f} million parameters" in README
    assert f"| stories, {tokens:.1f} million tokens:" in README


def test_no_page_is_written_where_a_record_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(pages.results, "load", lambda name, *words: None)
    with pytest.raises(UserError, match="is not there"):
        pages.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_lacks_something_is_one_line_and_no_page_is_written(tmp_path, monkeypatch):
    """As of a benchmark with other rows: speed.md looks for contenders."""
    load = pages.results.load

    def changed(name, *words):
        found = json.loads(json.dumps(load(name, *words)))
        if name == "train":
            found["result"]["rows"] = [{"size": "S"}]
        return found
    monkeypatch.setattr(pages.results, "load", changed)
    with pytest.raises(UserError, match="speed.md: a record that it is made of lacks something .KeyError: "):
        pages.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_recorded_runs_are_those_that_every_machine_makes():
    """The tiny run's name is the one that the matrix of processors gave."""
    exact = json.loads((ROOT / "data/results/exact.json").read_text(encoding="utf-8"))["result"]["tiny"]
    for key in ("model_sha256", "val_loss"):
        assert RUNS["tiny-0"][key] == exact[key]


def test_the_page_of_trained_models_says_what_is_there_and_what_is_left(monkeypatch):
    """Of no run, of the first sweep, and of a ladder with two seeds, whose intervals are pooled."""
    whole, found = made_up(), {}
    monkeypatch.setattr(trained_page.runner, "done", lambda: found)
    assert "0 models of the plan" in trained_page.trained() and "## By size" not in trained_page.trained()
    for run, excess in zip(plan.sweep({}, "ternary", 64), (52.04, 51.0, 53.0)):
        found[run.name] = whole[run.name]
        found[run.name]["outcome"]["excess"]["mean"] = excess
    page = trained_page.trained()
    assert "| ternary | 52.0 | 51.0 | 53.0 | 0.0144 |" in page
    assert "| sweep 64 | each arm's best rate where the model is small | 3 of 10 |" in page
    whole, done = made_up(), finished()
    for run in [run for arm in plan.ARMS for d in plan.RATES for run in plan.sweep(done, arm, d)]:
        found[run.name] = whole[run.name]
    for seed, excess in ((0, 40.0), (1, 42.0)):
        run = plan.ladder(done, "float", 64, seed)
        found[run.name] = whole[run.name]
        found[run.name]["outcome"]["excess"]["mean"] = excess
    page = trained_page.trained()
    assert "## Who survives" not in page
    unstable = [run for run in plan.stability("both") if run.arm == "float"][:3]
    series = [0.8] * 60, [0.9] * 60, [0.5] * 54 + [2.0] * 6
    for run, excess, losses in zip(unstable, (40.0, 60.0, 90.0), series):
        found[run.name] = whole[run.name]
        found[run.name]["outcome"]["excess"]["mean"] = excess
        found[run.name]["outcome"]["series"] = {"step": list(range(10, 610, 10)), "loss": losses}
    page = trained_page.trained()
    assert "| both | float | 0.80 trains | 0.90 hurt | 2.00 diverged | 0.0057, 1.4 |" in page
    assert "| 64 | 200,704 | 41.0 ± 12.7 |" in page          # t of one freedom, sd sqrt(2), two seeds
