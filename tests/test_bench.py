"""The command bench: its flags, what it prints, and its records."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from minibitnet import bench
from minibitnet.errors import UserError
from minibitnet.measure import kernel_bench, results, step_profile


@pytest.fixture(autouse=True)
def nothing_pinned(monkeypatch):
    """``bench`` says so where one of these is set."""
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        monkeypatch.delenv(name, raising=False)


# ---- flags

@pytest.mark.parametrize("argv, words", [
    ("train --profile --rounds=3 --threads 2", ["--profile", "expected no --rounds and no --threads"]),
    ("train --profile --compile", ["no --compile"]),
    ("train --shapes 3x4", ["unknown argument --shapes"]),
    ("kernels --profile", ["unknown argument --profile"]),
    ("decode --tokens 7", ["unknown argument --tokens"]),
    ("decode --sizes S", ["unknown argument --sizes"]),
    ("prompt --tokens 0", ["--tokens", "0: expected"]),
    ("trian", ["'trian'", "'train'"]),
    ("train --threads 100000", ["--threads", "100000: expected at most"]),
    ("kernels --shapes 1x140000", ["1x140000: expected fewer inputs"]),
    ("kernels --shapes 200000x100000", ["expected at most 536,870,912 weights"]),
])
def test_a_flag_that_would_mean_nothing_is_refused(argv, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        bench.main(argv.split())
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(word in err for word in words), err


def test_shapes_are_outputs_x_inputs():
    assert bench.shape("2560x6912") == (2560, 6912)
    for bad in ("2560", "2560x", "0x5", "axb", "2x3x4"):
        with pytest.raises(bench.argparse.ArgumentTypeError, match=f"{bad}: expected outputs x inputs"):
            bench.shape(bad)


def test_a_variable_that_pins_a_kernel_is_named(monkeypatch, capsys):
    """One line before the figures, and none where nothing is set."""
    for pinned in ({}, {"OPENBLAS_CORETYPE": "Haswell"},
                   {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"}):
        for name, value in pinned.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(bench, "train", lambda argv: 0)
        assert bench.main(["train"]) == 0
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == bool(pinned)
        assert all(f"{name}={value}" in lines[0] for name, value in pinned.items())


def two_ms(size, linear):
    """The profile of a step, without a step."""
    return {"size": size, "linear": linear, "ms": 2.0, "system_ms": 0.0, "by_op": {"add": 1.0}}


def test_a_profile_is_a_table_or_one_object_a_row(monkeypatch, capsys):
    monkeypatch.setattr(step_profile, "profile", two_ms)
    argv = ["train", "--profile", "--sizes", "S", "L", "--linear", "float"]
    assert bench.main([*argv, "--json"]) == 0
    assert [json.loads(line)["size"] for line in capsys.readouterr().out.splitlines()] == ["S", "L"]
    assert bench.main(argv) == 0
    head, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == "ms a step, one thread S float L float".split()


@pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")
@pytest.mark.parametrize("after", [0.6, 2.0])
def test_ctrl_c_is_told_in_one_word(after):
    """A terminal sends it to the command and to every contender, here while they start and while they take
    turns."""
    run = "from minibitnet import _command, bench; print('ready', flush=True); _command.run(bench.main)"
    kernels = [sys.executable, "-c", run, "kernels", "--shapes", "64x64", "--rounds", "100000"]
    process = subprocess.Popen(kernels, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        assert process.stdout.readline() == "ready\n", "after all imports"
        time.sleep(after)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:                           # not heard: it has 100,000 rounds to go
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130 and out == ""
    assert [line for line in err.splitlines() if "PyTorch is not installed" not in line] == ["interrupted"]


# ---- records

OF_ONE = {"threads": 1, "ms": 1.0, "ns_per_weight": 1.0, "bytes_per_weight": 4.0, "to_dense": float("nan")}
ROW = {"shape": "64x64", "tokens": 1, "threads": 1, "rounds": 2,
       **dict.fromkeys(kernel_bench.KERNELS, OF_ONE)}
ARGV = ["kernels", "--shapes", "64x64", "--rounds", "2", "--threads", "1", "--record", "kernels-a"]


def test_a_record_says_what_was_typed_where_and_when(tmp_path, monkeypatch, capsys):
    """Beside what is printed, data/results/NAME.json; what a system does not tell (NaN) becomes null."""
    monkeypatch.setattr(results, "home", lambda: tmp_path / "results")
    monkeypatch.setattr(kernel_bench, "measure", lambda *args: ROW)
    assert bench.main(ARGV) == 0 and capsys.readouterr().out.startswith("64x64, 1 token, median of 2 rounds")
    record = results.load("kernels-a")
    assert record["name"] == "kernels-a"
    assert record["command"] == "python -m minibitnet.bench " + " ".join(ARGV)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"]) and record["seconds"] >= 0
    assert record["environment"].keys() >= {"numpy", "blas", "platform", "cpus"}
    assert record["result"]["config"] == {"shapes": [[64, 64]], "tokens": 1, "rounds": 2, "threads": 1}
    assert [row["shape"] for row in record["result"]["rows"]] == ["64x64"]
    assert record["result"]["rows"][0]["bit planes"] == ROW["bit planes"] | {"to_dense": None}
    assert results.origin(record).endswith(record["date"])
    assert bench.main(ARGV) == 0                             # a record of ours is replaced


def test_a_profile_is_recorded_as_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    monkeypatch.setattr(step_profile, "profile", two_ms)
    assert bench.main(["train", "--profile", "--sizes", "S", "M", "--linear", "float", "--record", "p"]) == 0
    record = results.load("p")["result"]
    assert [row["size"] for row in record["rows"]] == ["S", "M"]
    assert capsys.readouterr().out.count("ms a step") == 1
    assert record["config"]["profile"] is True and record["config"]["threads"] == 1


def test_a_record_takes_no_experiments_place(tmp_path, monkeypatch):
    """Said before anything is measured."""
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    results.save(tmp_path / "kernels-a.json", results.envelope("kernels-a", {"config": {}}, 1))
    message = "is what python -m minibitnet.reproduce kernels-a --full found: expected another"
    with pytest.raises(UserError, match=message):
        bench.main(ARGV)


def test_a_record_takes_no_other_benchmarks_place_and_no_experiments_name(tmp_path, monkeypatch):
    """A page would read rows of another kind from it; and joules has no file yet."""
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    command = "python -m minibitnet.bench decode --record kernels-a"
    results.save(tmp_path / "kernels-a.json", results.envelope("kernels-a", {"config": {}}, 1, command))
    with pytest.raises(UserError, match="is what python -m minibitnet.bench decode --record kernels-a found"):
        bench.main(ARGV)
    with pytest.raises(UserError, match="--record joules: the name of an experiment"):
        bench.main([*ARGV[:ARGV.index("--record")], "--record", "joules"])


@pytest.mark.parametrize("name", ["../x", "a/b", "", "A", "x.json", "-x"])
def test_a_record_has_a_name_and_no_path(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        bench.main(["kernels", f"--record={name}"])
    assert "expected a name of small letters" in capsys.readouterr().err
