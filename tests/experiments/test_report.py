"""The page of all rows: what is in it, also where a result or a picture is missing."""
import json
import re
import sys

import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import claims
from minibitnet.experiments.catalogue import EXPERIMENTS
from minibitnet.experiments.claims import MEASURED, find
from minibitnet.experiments.lines import Line
from minibitnet.experiments.report import body, page, section
from minibitnet.measure import results

ROWS = claims.rows()
LATENCY = results.load("latency")["result"]


def rows_of(*experiments):
    return [row for row in ROWS if row.experiment in experiments]


def silent(name):
    """Told that an experiment runs, say nothing."""


def test_the_page_has_every_row_every_experiment_and_its_command(tmp_path, monkeypatch):
    live_names = []
    rows = [r for r in ROWS if r.experiment != "operations" and r.state != MEASURED]
    text, pictures, live = page(rows, tmp_path / "page.md", live_names.append)
    assert live == len(live_names) == len(set(live_names))
    assert set(live_names) <= set(EXPERIMENTS)
    overview = {line.split("`")[-2]: line for line in text.splitlines() if line.endswith("` |")}
    for row in (r for r in ROWS if r.state != MEASURED):
        line = overview[f"python -m minibitnet.reproduce {row.name}"]
        assert row.name in line.split(" | ")[0] and f" | {row.state}" in line, row.name
    of_71 = overview["python -m minibitnet.reproduce b158-71"]
    assert "| 71.4 x at 7 nm, 50.0 x at 45 nm | one weight and token |" in of_71
    assert text.count("leave out: reading the weights") == 1
    assert "These numbers leave out: see b1-table-1." in text
    assert "| paper | here | scale |" in text
    for name in (find(name).name for name in live_names):
        assert f"## {name}\n" in text and f"reproduce {name}`, run live" in text
    assert pictures == len(list(tmp_path.glob("page-*.png"))) == len(re.findall(r"!\[", text))


def test_without_matplotlib_the_page_has_no_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text, pictures, _ = page(rows_of("memory_ratios"), tmp_path / "page.md", silent)
    assert pictures == 0 and "![" not in text and "## b158-fig-2-memory" in text


def test_a_picture_of_a_page_whose_name_has_a_space_is_linked(tmp_path, replaced):
    """CommonMark ends the address of a picture at a space."""
    replaced("savings", figure=lambda result, path: True)
    text, _, _ = page(rows_of("savings"), tmp_path / "my page.md", silent)
    assert "![b1-fig-1](my%20page-savings.png)" in text


def test_an_experiment_that_cannot_run_here_is_told_and_the_page_goes_on(tmp_path, replaced):
    def no_model():
        raise UserError("runs/tiny is not there")
    replaced("contexts", quick=no_model)
    text, _, live = page(rows_of("contexts", "experts"), tmp_path / "page.md", silent)
    assert live == 1 and "## b158-long\n\nnot run: runs/tiny is not there" in text
    assert "46.7e9 parameters" in text


def test_lines_of_three_parts_become_a_table():
    lines = ["so it is", Line("8 x", "7 x*", "small"), "and so"]
    assert list(body(lines)) == [
        "so it is\n",
        "| paper | here | scale |\n|---|---|---|",
        r"| 8 x | 7 x\* | small |",
        "",
        "and so\n",
        ""]


def test_a_committed_result_is_told_with_its_command_and_machine():
    record = results.envelope("latency", {"config": {}}, seconds=61)
    machine = record["environment"]
    origin = f"`{record['command']}`, 61 s on {machine['processor']}, {machine['platform']}"
    assert origin in "\n".join(section(find("latency"), ["a"], record, None))
    del machine["processor"]                     # of a run before it was noted
    assert f"61 s on {machine['platform']}, NumPy " in results.origin(record)


def latency_json(**change):
    """The text of data/results/latency.json, but for this."""
    record = {"name": "latency", "command": "the command", "environment": {"platform": "", "numpy": ""},
              "seconds": 1, "result": {}}
    return json.dumps(record | change)


@pytest.mark.parametrize("text", [
    '"name command environment seconds result"',
    "[]",
    latency_json(),
    latency_json(result=None),
    latency_json(result=LATENCY | {"rows": []}),
    latency_json(result=LATENCY | {"rows": [{"size": "3B"}]}),
    latency_json(result=LATENCY, environment={}),
])
def test_a_result_of_another_version_is_told_in_one_line_and_the_page_goes_on(text, tmp_path, monkeypatch):
    """Not an object, without rows, a row without its times, without an environment."""
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    (tmp_path / "latency.json").write_text(text, encoding="utf-8")
    text, _, live = page(rows_of("latency", "equivalences", "experts"), tmp_path / "page.md", silent)
    not_run = re.findall("\nnot run: (.*)", text)
    assert live == 1 and len(not_run) == 2
    expected = "expected a record (data/README", "expected what the command writes"
    assert all("latency.json: " in line and any(words in line for words in expected) for line in not_run)
    assert "46.7e9 parameters" in text
