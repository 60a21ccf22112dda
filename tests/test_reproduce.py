"""Every row of the papers is listed, what runs runs, and the page says it."""
import importlib
import json
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import joules, latency
from minibitnet.measure import results
from minibitnet.measure.costs import Shape
from minibitnet.experiments import pages
from minibitnet.experiments.report import body, page, section
from minibitnet.experiments import claims
from minibitnet.experiments.lines import Line, as_text
from minibitnet.experiments.claims import EXACT, INFERRED, MEASURED, NEVER, NOT_YET, Row, find
from minibitnet.reproduce import main

ROOT = Path(__file__).parent.parent
ROWS = claims.rows()
MEASURED_LATENCY = results.load("latency")["result"]
EXPERIMENTS = [row.experiment for row in ROWS if row.experiment]
RECORDED = ["exact", *(name for name in pages.RECORDS if name not in EXPERIMENTS)]      # by other commands

# The papers' own lists: [bitnet] eqs. 1-19, Tables 1-8, Figs. 1-6; [b158] eqs. 1-3, Tables 1-4, Figs. 1-3.
B1 = {*(f"eq. {i}" for i in range(1, 20)), *(f"Table {i}" for i in range(1, 9)), *(f"Fig. {i}" for i in range(1, 7))}
B158 = {*(f"eq. {i}" for i in range(1, 4)), *(f"Table {i}" for i in range(1, 5)), *(f"Fig. {i}" for i in range(1, 4))}
# What stands in their text: sections, and claims of the discussion.
NAMED = """b1-granularity b1-subln b1-precision b1-ste b1-latent b1-large-lr b1-inference-law b1-data b1-downstream b1-related
    b158-activations b158-llama b158-bits b158-zero b158-data b158-71 b158-equivalences b158-moe b158-long b158-kv-4 b158-edge b158-hardware
    b158-cache-precision repo-module repo-from-pretrained repo-quantize-model repo-w158a8 repo-licence repo-90-percent repo-engine 2b4t-costs 2b4t-scores
    components operations joules"""


def reproduce(*args, cwd):
    return subprocess.run([sys.executable, "-m", "minibitnet.reproduce", *map(str, args)], cwd=cwd, capture_output=True, text=True,
                          encoding="utf-8", timeout=100)


def cited(rows, paper):
    """{"eq. 16", "eq. 17", "Fig. 2", ...}: what the sources of these rows name."""
    found = set()
    for row in (r for r in rows if r.source.startswith(paper)):
        for kind, first, last in re.findall(r"(eq|Table|Fig)s?\.? (\d+)(?:-(\d+))?", row.source):
            found |= {f"{kind}{'.' * (kind != 'Table')} {i}" for i in range(int(first), int(last or first) + 1)}
    return found


# ---- nothing is missing

def test_every_equation_table_and_figure_of_the_papers_has_a_row():
    assert cited(ROWS, "[bitnet]") == B1 and cited(ROWS, "[b158]") == B158


def test_a_row_that_is_missing_would_show():
    assert B1 - cited([r for r in ROWS if r.name != "b1-eq-16"], "[bitnet]") == {"eq. 16", "eq. 17"}
    assert B158 - cited([r for r in ROWS if r.name != "b158-table-4"], "[b158]") == {"Table 4"}


def test_every_claim_of_the_text_has_a_row_and_the_list_shows_them_all(tmp_path):
    assert set(NAMED.split()) <= {row.name for row in ROWS}
    shown = reproduce("--list", cwd=tmp_path)
    assert shown.returncode == 0 and [line.split()[0] for line in shown.stdout.splitlines()[:-1]] == [row.name for row in ROWS]
    assert all(row.state in shown.stdout for row in ROWS) and f"{len(ROWS)} rows: " in shown.stdout
    assert [Row(**row) for row in json.loads(reproduce("--list", "--json", cwd=tmp_path).stdout)] == list(ROWS)


def test_names_are_unique_and_states_are_of_the_five():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names) and not {"report", "pages"} & set(names) and len(set(EXPERIMENTS)) == len(EXPERIMENTS)
    for row in ROWS:
        assert row.state in (EXACT, INFERRED, MEASURED, NOT_YET) or row.state.startswith(NEVER) and len(row.state) > len(NEVER), row.name
        assert not (row.experiment and row.home)
        done = row.state in (EXACT, INFERRED, MEASURED)
        assert bool(row.experiment or row.home) == done or row.name == "joules", f"{row.name}: what is done has a place, what is not has none"


@pytest.mark.parametrize("row", [row for row in ROWS if row.home], ids=lambda row: row.name)
def test_the_place_that_a_row_names_is_there(row):
    """"nn.layers.Module.quantized" is the attribute Module.quantized of minibitnet.nn.layers."""
    parts = row.home.split(".")
    modules = [i for i in range(1, len(parts)) if (ROOT / "minibitnet" / "/".join(parts[:i])).with_suffix(".py").is_file()]
    assert reduce(getattr, parts[modules[-1]:], importlib.import_module("minibitnet." + ".".join(parts[:modules[-1]]))).__doc__


# ---- what runs

def told(row):
    """The lines of a row, of its committed result if there is one."""
    experiment, record = importlib.import_module(f"minibitnet.experiments.{row.experiment}"), results.load(row.experiment)
    return list(experiment.in_words(record["result"] if record else experiment.quick()))


@pytest.mark.parametrize("row", [row for row in ROWS if row.experiment and row.experiment != "joules"], ids=lambda row: row.name)
def test_what_differs_from_the_paper_is_marked_in_its_line_and_said_in_the_list(row):
    lines = told(row)
    cells = [line for line in lines if isinstance(line, Line)]
    assert cells and any(line.differs for line in cells) == bool(row.departure)
    assert not any("(differs)" in text for line in lines for text in (line[:3] if isinstance(line, Line) else [line]))


@pytest.mark.parametrize("name", [row.experiment for row in ROWS if row.experiment and row.state in (EXACT, INFERRED)])
def test_an_exact_experiment_gives_a_result_that_json_keeps_and_words_can_tell(name):
    experiment = importlib.import_module(f"minibitnet.experiments.{name}")
    result = experiment.quick()
    kept = json.loads(json.dumps(result, allow_nan=False))
    lines = list(experiment.in_words(kept))
    assert kept == result and all(isinstance(line, (str, Line)) and "\n" not in as_text(line) for line in lines)
    assert experiment.__doc__


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_the_interface(name):
    experiment = importlib.import_module(f"minibitnet.experiments.{name}")
    assert callable(experiment.quick) and callable(experiment.in_words)


def test_a_row_runs_as_a_command(tmp_path):
    shown = reproduce("b158-71", cwd=tmp_path)
    assert shown.returncode == 0 and "state: exact" in shown.stdout and "71.4 x | 71.4 x at 7 nm" in shown.stdout
    assert json.loads(reproduce("one_product", "--json", cwd=tmp_path).stdout)["printed"] == "71.4"
    assert "see minibitnet.quant.sign_binary" in reproduce("b1-eq-2", cwd=tmp_path).stdout
    assert NEVER in reproduce("b158-hardware", cwd=tmp_path).stdout and list(tmp_path.iterdir()) == []


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


def test_joules_that_were_measured_are_not_called_out_of_reach(tmp_path, monkeypatch, capsys):
    found = {"config": joules.quick(tmp_path)["config"], "zones": ["package-0"], "why_none": None, "rows": {"idle": {"watts": 5.0}}}
    for result, state in ((joules.quick(tmp_path), NEVER), (found, MEASURED)):
        monkeypatch.setattr(joules, "quick", lambda result=result: result)
        main(["joules"])
        assert f"\nstate: {state}" in capsys.readouterr().out
        assert f"| {state}" in page([find("joules")], tmp_path / "page.md", lambda name: None)[0]


def test_names_of_experiments_lead_to_their_row():
    assert find("energy_table").name == "b1-table-1" and find("b1-table-1").experiment == "energy_table"
    with pytest.raises(UserError, match="did you mean energy_table"):
        find("energy_tabel")


# ---- full results

def test_a_full_run_is_written_and_is_what_the_page_shows(tmp_path, monkeypatch, capsys):
    """Outside a checkout it goes to results/ of the current folder."""
    assert results.home() == ROOT / "data/results"
    monkeypatch.setattr(results, "__file__", str(tmp_path / "lib/minibitnet/measure/results.py"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(latency, "MODELS", {"13B": Shape(1, 64, 64, 64, 128, 4, 1)})
    monkeypatch.setattr(latency, "full", lambda progress: latency.measure(("13B",), prompt=0, rounds=1, seconds=0, progress=progress))
    assert main(["latency", "--full", "--json"]) == 0
    told, record = capsys.readouterr(), results.load("latency", latency.in_words)
    assert json.loads(told.out) == record["result"] and "13B" == record["result"]["rows"][0]["size"]
    assert told.err == f"wrote {Path('results/latency.json')}\n" and [path.name for path in Path("results").iterdir()] == ["latency.json"]


@pytest.mark.parametrize("args", [["latency", "--full"], ["report"], ["savings", "--out", "x.png"]])
def test_a_folder_that_takes_no_file_is_told_before_anything_runs(args, tmp_path, monkeypatch):
    """It is there, but a file cannot be created in it: read-only, or a full disk."""
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    def never(*_, **__):
        raise AssertionError("it ran")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    monkeypatch.setattr(Path, "touch", refused)
    for thing in ("latency.full", "savings.quick"):
        monkeypatch.setattr(f"minibitnet.experiments.{thing}", never)
    monkeypatch.setattr("minibitnet.reproduce.page", never)
    with pytest.raises(UserError, match="Permission denied: expected a folder that can be written to"):
        main(args)


def test_a_full_result_comes_back_with_all_that_is_needed_to_run_it_again(tmp_path, monkeypatch):
    record = results.envelope("operations", {"config": {"seed": 0}, "rows": [1.5]}, seconds=2.3456)
    results.save(tmp_path / "data/results/operations.json", record)
    monkeypatch.setattr(results, "packaged", lambda name: tmp_path / "data" / name)
    loaded = results.load("operations")
    assert loaded == record and loaded["command"] == "python -m minibitnet.reproduce operations --full" and loaded["seconds"] == 2.35
    assert set(loaded["environment"]) >= {"minibitnet", "python", "numpy", "platform"} and loaded["result"]["config"] == {"seed": 0}


def test_a_full_result_that_cannot_be_kept_or_run_again_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no config"):
        results.envelope("latency", {"rows": []}, 1)
    with pytest.raises(UserError, match="does not fit into JSON"):
        results.save(tmp_path / "x.json", results.envelope("x", {"config": {}, "rows": float("nan")}, 1))
    assert not (tmp_path / "x.json").exists()
    monkeypatch.setattr(results, "packaged", lambda name: tmp_path / name)
    (tmp_path / "results").mkdir()
    for text, message in (("{", "Expecting property name.*: expected what"), ('{"name": "y"}', "lacks"), (json.dumps(results.envelope("other", {"config": {}}, 1)), "another")):
        (tmp_path / "results/y.json").write_text(text)
        with pytest.raises(UserError, match=message):
            results.load("y")


@pytest.mark.parametrize("text", ['"name command environment seconds result"', "[]", *(json.dumps(
    {"name": "latency", "command": "", "environment": {"platform": "", "numpy": ""}, "seconds": 1, "result": {}} | change) for change in (
        {}, {"result": None}, {"result": MEASURED_LATENCY | {"rows": []}}, {"result": MEASURED_LATENCY | {"rows": [{"size": "3B"}]}},
        {"result": MEASURED_LATENCY, "environment": {}}))])
def test_a_result_of_another_version_is_told_in_one_line_and_the_page_goes_on(text, tmp_path, monkeypatch):
    """Not an object, without rows, a row without its times, without an environment."""
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    (tmp_path / "latency.json").write_text(text, encoding="utf-8")
    text, _, live = page([r for r in ROWS if r.experiment in ("latency", "equivalences", "experts")], tmp_path / "page.md", lambda name: None)
    told = re.findall("\nnot run: (.*)", text)
    assert live == 1 and len(told) == 2 and all("latency.json: " in line and "latency --full writes" in line for line in told)
    assert "46.7e9 parameters" in text


def test_there_is_no_result_where_none_was_committed():
    assert results.load("never-run") is None


@pytest.mark.parametrize("path", sorted((ROOT / "data/results").glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_are_whole_and_of_an_experiment_that_is_listed(path):
    assert results.load(path.stem)["name"] in {*EXPERIMENTS, *RECORDED} and path.stat().st_size < 1_000_000


# ---- the page

def test_the_page_has_every_row_every_experiment_and_its_command(tmp_path, monkeypatch):
    told = []
    text, pictures, live = page([r for r in ROWS if r.experiment != "operations" and r.state != MEASURED], tmp_path / "page.md", told.append)
    assert live == len(told) == len(set(told)) and set(told) <= set(EXPERIMENTS)
    overview = {line.split("`")[-2]: line for line in text.splitlines() if line.endswith("` |")}
    for row in (r for r in ROWS if r.state != MEASURED):
        line = overview[f"python -m minibitnet.reproduce {row.name}"]
        assert row.name in line.split(" | ")[0] and f" | {row.state.split(',')[0]}" in line, row.name
    assert "| 71.4 x at 7 nm, 50.0 x at 45 nm | one weight and token |" in overview["python -m minibitnet.reproduce b158-71"]
    assert text.count("leave out: reading the weights") == 1 and "These numbers leave out: see b1-table-1." in text
    live_rows = [find(name).name for name in told]
    assert "| paper | here | scale |" in text and all(f"## {name}\n" in text and f"reproduce {name}`, run live" in text for name in live_rows)
    assert pictures == len(list(tmp_path.glob("page-*.png"))) == len(re.findall(r"!\[", text))


def test_without_matplotlib_the_page_has_no_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text, pictures, _ = page([r for r in ROWS if r.experiment == "memory_ratios"], tmp_path / "page.md", lambda name: None)
    assert pictures == 0 and "![" not in text and "## b158-fig-2-memory" in text


def test_a_picture_of_a_page_whose_name_has_a_space_is_linked(tmp_path, monkeypatch):
    """CommonMark ends the address of a picture at a space."""
    monkeypatch.setattr("minibitnet.experiments.savings.figure", lambda result, path: True)
    assert "![b1-fig-1](my%20page-savings.png)" in page([r for r in ROWS if r.experiment == "savings"], tmp_path / "my page.md", lambda name: None)[0]


def test_an_experiment_that_cannot_run_here_is_told_and_the_page_goes_on(tmp_path, monkeypatch):
    def no_model():
        raise UserError("runs/tiny is not there")
    monkeypatch.setattr("minibitnet.experiments.contexts.quick", no_model)
    text, _, live = page([r for r in ROWS if r.experiment in ("contexts", "experts")], tmp_path / "page.md", lambda name: None)
    assert live == 1 and "## b158-long\n\nnot run: runs/tiny is not there" in text and "46.7e9 parameters" in text


def test_lines_of_three_parts_become_a_table():
    assert list(body(["so it is", Line("8 x", "7 x*", "small"), "and so"])) == ["so it is\n", "| paper | here | scale |\n|---|---|---|", r"| 8 x | 7 x\* | small |",
                                                                         "", "and so\n", ""]


def test_a_committed_result_is_told_with_its_command_and_machine():
    record = results.envelope("latency", {"config": {}}, seconds=61)
    told = f"`{record['command']}`, 61 s on {record['environment']['processor']}, {record['environment']['platform']}"
    assert told in "\n".join(section(find("latency"), ["a"], record, None))
    del record["environment"]["processor"]       # of a run before it was noted
    assert f"61 s on {record['environment']['platform']}, NumPy " in results.origin(record)


def test_a_picture_is_drawn_on_request_and_its_absence_is_told(tmp_path):
    pytest.importorskip("matplotlib")
    assert reproduce("b158-fig-3", "--out", "saving.png", cwd=tmp_path).stderr == ""
    assert (tmp_path / "saving.png").read_bytes().startswith(b"\x89PNG")
    told = reproduce("experts", "--out", "none.png", cwd=tmp_path)
    assert told.returncode == 0 and "no picture" in told.stderr and not (tmp_path / "none.png").exists()
