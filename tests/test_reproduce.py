"""Every row of the papers is listed, what runs runs, and its full result is kept."""
import importlib
import json
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import claims, joules, latency, pages
from minibitnet.experiments.catalogue import EXPERIMENTS
from minibitnet.experiments.claims import EXACT, INFERRED, MEASURED, NEVER, NOT_YET, STATES, Row, find
from minibitnet.experiments.lines import Line, as_text
from minibitnet.experiments.report import page
from minibitnet.measure import results
from minibitnet.measure.costs import Shape
from minibitnet.reproduce import main

ROOT = Path(__file__).parent.parent
ROWS = claims.rows()
NAMES = [row.experiment for row in ROWS if row.experiment]
RECORDED = ["exact", "scaling-prediction",                               # by other commands
            *(name for name in pages.RECORDS if name not in NAMES)]


def numbered(**numbers):
    """eq=2, Table=1 -> {"eq. 1", "eq. 2", "Table 1"}"""
    return {f"{kind}{'.' * (kind != 'Table')} {i}" for kind, n in numbers.items() for i in range(1, n + 1)}


# The papers' own lists.
B1 = numbered(eq=19, Table=8, Fig=6)             # [bitnet]
B158 = numbered(eq=3, Table=4, Fig=3)            # [b158]
# What stands in their text: sections, and claims of the discussion.
NAMED = """
    b1-granularity b1-subln b1-precision b1-ste b1-latent b1-large-lr
    b1-inference-law b1-data b1-downstream b1-related
    b158-activations b158-llama b158-bits b158-zero b158-data b158-71 b158-equivalences
    b158-moe b158-long b158-kv-4 b158-edge b158-hardware b158-cache-precision
    repo-module repo-from-pretrained repo-quantize-model repo-w158a8
    repo-licence repo-90-percent repo-engine
    2b4t-costs 2b4t-scores
    components operations joules
"""


def reproduce(*args, cwd):
    return subprocess.run([sys.executable, "-m", "minibitnet.reproduce", *map(str, args)], cwd=cwd,
                          capture_output=True, text=True, encoding="utf-8", timeout=100)


def cited(rows, paper):
    """{"eq. 16", "eq. 17", "Fig. 2", ...}: what the sources of these rows name."""
    found = set()
    for row in (r for r in rows if r.source.startswith(paper)):
        for kind, first, last in re.findall(r"(eq|Table|Fig)s?\.? (\d+)(?:-(\d+))?", row.source):
            numbers = range(int(first), int(last or first) + 1)
            found |= {f"{kind}{'.' * (kind != 'Table')} {i}" for i in numbers}
    return found


def named(row):
    return row.name


# ---- nothing is missing

def test_every_equation_table_and_figure_of_the_papers_has_a_row():
    assert cited(ROWS, "[bitnet]") == B1 and cited(ROWS, "[b158]") == B158


def test_a_row_that_is_missing_would_show():
    assert B1 - cited([r for r in ROWS if r.name != "b1-eq-16"], "[bitnet]") == {"eq. 16", "eq. 17"}
    assert B158 - cited([r for r in ROWS if r.name != "b158-table-4"], "[b158]") == {"Table 4"}


def test_every_claim_of_the_text_has_a_row_and_the_list_shows_them_all(tmp_path):
    assert set(NAMED.split()) <= {row.name for row in ROWS}
    shown = reproduce("--list", cwd=tmp_path)
    lines = shown.stdout.splitlines()
    begins = [line for line in lines if not line.startswith(" ")]       # the others go on
    assert shown.returncode == 0 and max(map(len, lines)) <= 110
    assert [line.split()[0] for line in begins[:len(ROWS)]] == [row.name for row in ROWS]
    assert begins[len(ROWS)].startswith(f"{len(ROWS)} rows: ")
    assert [line.partition(": ")[0] for line in begins[-len(STATES):]] == list(STATES)
    text = " ".join(shown.stdout.split())
    assert all(f"{row.source}: {row.claim}" in text and row.because in text for row in ROWS)
    in_json = json.loads(reproduce("--list", "--json", cwd=tmp_path).stdout)
    assert in_json == [row.as_json() for row in ROWS] and in_json[0].keys() == set(Row._fields) - {"because"}


def test_names_are_unique_and_states_are_of_the_five():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names) and not {"report", "pages"} & set(names)
    assert len(set(NAMES)) == len(NAMES)
    for row in ROWS:
        done = row.state in (EXACT, INFERRED, MEASURED)
        reason = row.state == NEVER and row.because
        assert done or row.state == NOT_YET or reason, row.name
        assert not (row.experiment and row.home)
        has_a_place = bool(row.experiment or row.home)
        assert has_a_place == done or row.name == "joules", f"{row.name}: what is done, and no other, has one"


@pytest.mark.parametrize("row", [row for row in ROWS if row.home], ids=named)
def test_the_place_that_a_row_names_is_there(row):
    """"nn.layers.Module.quantized" is the attribute Module.quantized of minibitnet.nn.layers."""
    parts = row.home.split(".")
    module = max(i for i in range(1, len(parts))
                 if (ROOT / "minibitnet" / "/".join(parts[:i])).with_suffix(".py").is_file())
    place = importlib.import_module("minibitnet." + ".".join(parts[:module]))
    assert reduce(getattr, parts[module:], place).__doc__


# ---- what runs

@pytest.mark.parametrize("row", [row for row in ROWS if row.experiment and row.experiment != "joules"],
                         ids=named)
def test_what_differs_from_the_paper_is_marked_in_its_line_and_said_in_the_list(row):
    """In the lines of its committed result, if there is one."""
    experiment, record = EXPERIMENTS[row.experiment], results.load(row.experiment)
    lines = list(experiment.in_words(record["result"] if record else experiment.quick()))
    compared = [line for line in lines if isinstance(line, Line)]
    assert compared and any(line.differs for line in compared) == bool(row.departure)
    texts = [text for line in lines for text in (line[:3] if isinstance(line, Line) else [line])]
    assert not any("(differs)" in text for text in texts)


@pytest.mark.parametrize("name", [row.experiment for row in ROWS
                                  if row.experiment and row.state in (EXACT, INFERRED)])
def test_an_exact_experiment_gives_a_result_that_json_keeps_and_words_can_tell(name):
    experiment = EXPERIMENTS[name]
    result = experiment.quick()
    kept = json.loads(json.dumps(result, allow_nan=False))
    lines = list(experiment.in_words(kept))
    assert kept == result
    assert all(isinstance(line, (str, Line)) and "\n" not in as_text(line) for line in lines)


@pytest.mark.parametrize("name", dict.fromkeys([*NAMES, *EXPERIMENTS]))
def test_every_experiment_has_the_interface(name):
    """Those of the rows, and those of the catalogue: they are the same."""
    assert name in EXPERIMENTS and name in NAMES
    experiment = EXPERIMENTS[name]
    for needed in (experiment.quick, experiment.in_words):
        assert callable(needed) and needed.__doc__
    for optional in (experiment.full, experiment.figure, experiment.measured):
        assert optional is None or callable(optional)


def test_a_row_runs_as_a_command(tmp_path):
    shown = reproduce("b158-71", cwd=tmp_path)
    assert shown.returncode == 0 and "state: exact" in shown.stdout
    assert "71.4 x | 71.4 x at 7 nm" in shown.stdout
    assert json.loads(reproduce("one_product", "--json", cwd=tmp_path).stdout)["printed"] == "71.4"
    assert "see minibitnet.quant.sign_binary" in reproduce("b1-eq-2", cwd=tmp_path).stdout
    assert NEVER in reproduce("b158-hardware", cwd=tmp_path).stdout and list(tmp_path.iterdir()) == []


def test_a_picture_is_drawn_on_request_and_its_absence_is_told(tmp_path):
    pytest.importorskip("matplotlib")
    assert reproduce("b158-fig-3", "--out", "saving.png", cwd=tmp_path).stderr == ""
    assert (tmp_path / "saving.png").read_bytes().startswith(b"\x89PNG")
    without = reproduce("experts", "--out", "none.png", cwd=tmp_path)
    assert without.returncode == 0 and "no picture" in without.stderr
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("args, code, words", [
    (["b158-tabel-3"], 1, ["no row is named 'b158-tabel-3'", "did you mean b158-table-3?"]),
    (["b1-eq-1", "--full"], 1, ["b1-eq-1 has no experiment", "exact"]),
    (["energy_table", "--full"], 1, ["no longer form"]),
    (["--list", "b1-eq-1"], 2, ["--list shows every row and runs none"]),
    (["--list", "--full"], 2, ["--list shows every row and runs none"]),
    (["report", "--json"], 2, ["report", "goes with --out alone"]),
    (["report", "--full"], 2, ["report", "goes with --out alone"]),
    (["pages", "--full"], 2, ["pages goes alone"]),
    ([], 2, ["NAME or --list is missing"]),
    (["--lsit"], 2, ["did you mean --list?"]),
])
def test_mistakes_are_one_line(args, code, words, tmp_path):
    result = reproduce(*args, cwd=tmp_path)
    assert result.returncode == code and len(result.stderr.strip().splitlines()) == 1
    assert all(word in result.stderr for word in words), result.stderr


def test_joules_that_were_measured_are_not_called_out_of_reach(tmp_path, replaced, capsys):
    nothing = joules.quick(tmp_path)
    found = {"config": nothing["config"], "zones": ["package-0"], "why_none": None,
             "rows": {"idle": {"watts": 5.0}}}
    for result, state in ((nothing, NEVER), (found, MEASURED)):
        replaced("joules", quick=lambda result=result: result)
        main(["joules"])
        assert f"\nstate: {state}" in capsys.readouterr().out
        assert f"| {state}" in page([find("joules")], tmp_path / "page.md", tell=print)[0]


def test_names_of_experiments_lead_to_their_row():
    assert find("energy_table").name == "b1-table-1" and find("b1-table-1").experiment == "energy_table"
    with pytest.raises(UserError, match="did you mean energy_table"):
        find("energy_tabel")


# ---- full results

def test_a_full_run_is_written_and_is_what_the_page_shows(tmp_path, monkeypatch, replaced, capsys):
    """Outside a checkout it goes to results/ of the current folder."""
    def full(progress):
        return latency.measure(("13B",), prompt=0, rounds=1, seconds=0, progress=progress)
    assert results.home() == ROOT / "data/results"
    monkeypatch.setattr(results, "checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(latency, "MODELS", {"13B": Shape(1, 64, 64, 64, 128, 4, 1)})
    replaced("latency", full=full)
    assert main(["latency", "--full", "--json"]) == 0
    printed, record = capsys.readouterr(), results.load("latency", latency.in_words)
    assert json.loads(printed.out) == record["result"] and "13B" == record["result"]["rows"][0]["size"]
    assert printed.err == f"wrote {Path('results/latency.json')}\n"
    assert [path.name for path in Path("results").iterdir()] == ["latency.json"]


@pytest.mark.parametrize("args", [["latency", "--full"], ["report"], ["savings", "--out", "x.png"]])
def test_a_folder_that_takes_no_file_is_told_before_anything_runs(args, tmp_path, monkeypatch, replaced):
    """It is there, but a file cannot be created in it: read-only, or a full disk."""
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    def never(*_, **__):
        raise AssertionError("it ran")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    monkeypatch.setattr(Path, "touch", refused)
    replaced("latency", full=never)
    replaced("savings", quick=never)
    monkeypatch.setattr("minibitnet.reproduce.page", never)
    with pytest.raises(UserError, match="Permission denied: expected a folder that can be written to"):
        main(args)


def test_a_full_result_comes_back_with_all_that_is_needed_to_run_it_again(tmp_path, monkeypatch):
    result = {"config": {"seed": 0}, "rows": [1.5]}
    record = results.envelope("operations", result, seconds=2.3456)
    results.save(tmp_path / "data/results/operations.json", record)
    monkeypatch.setattr(results, "packaged", lambda name: tmp_path / "data" / name)
    loaded = results.load("operations")
    assert loaded == record and loaded["command"] == "python -m minibitnet.reproduce operations --full"
    assert loaded["seconds"] == 2.35
    assert set(loaded["environment"]) >= {"minibitnet", "python", "numpy", "platform"}
    assert loaded["result"]["config"] == {"seed": 0}


def test_a_full_result_that_cannot_be_kept_or_run_again_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no config"):
        results.envelope("latency", {"rows": []}, 1)
    not_a_number = results.envelope("x", {"config": {}, "rows": float("nan")}, 1)
    with pytest.raises(UserError, match="does not fit into JSON"):
        results.save(tmp_path / "x.json", not_a_number)
    assert not (tmp_path / "x.json").exists()
    monkeypatch.setattr(results, "packaged", lambda name: tmp_path / name)
    (tmp_path / "results").mkdir()
    of_another = json.dumps(results.envelope("other", {"config": {}}, 1))
    for text, message in (("{", "Expecting property name.*: expected a record"),
                          ('{"name": "y"}', "lacks"),
                          (of_another, "another")):
        (tmp_path / "results/y.json").write_text(text)
        with pytest.raises(UserError, match=message):
            results.load("y")


def test_there_is_no_result_where_none_was_committed():
    assert results.load("never-run") is None


@pytest.mark.parametrize("path", sorted((ROOT / "data/results").glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_are_whole_and_of_an_experiment_that_is_listed(path):
    assert results.load(path.stem)["name"] in {*NAMES, *RECORDED} and path.stat().st_size < 1_000_000
