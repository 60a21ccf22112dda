"""Runs of several processes, started by mpiexec: the bytes of one process. (pip install mpi4py mpich)"""
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minibitnet
from minibitnet.errors import UserError
from minibitnet.measure.cluster import bytes_sent
from minibitnet.measure.train_bench import SIZES
from minibitnet.mpi import launcher
from minibitnet.nn.config import ModelConfig

OPTIONS = ("--data pets --tokenizer byte --d-model 16 --n-layers 1 --n-heads 2 --context 64 --batch 48 "
           "--steps 24 --save-every 4 --threads 1").split()
TRAIN = [sys.executable, "-m", "minibitnet.train"]


@pytest.fixture(scope="module")
def mpiexec():
    """The program; skips where it or mpi4py is absent."""
    pytest.importorskip("mpi4py", reason="mpi4py is not installed (extra 'mpi')")
    try:
        return launcher()
    except UserError as e:
        pytest.skip(str(e))


def started(mpiexec, n, *arguments):
    return subprocess.Popen([mpiexec, "-n", str(n), *TRAIN, *map(str, arguments)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def run(mpiexec, n, *arguments):
    """-> (exit code, output, errors)"""
    process = started(mpiexec, n, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process."""
    path = tmp_path_factory.mktemp("alone") / "run"
    subprocess.run([*TRAIN, *OPTIONS, "--out", str(path)], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("n, more", [(2, []), (3, []), (8, []), (2, ["--shard-optimizer"]),
                                     (3, ["--shard-optimizer"])], ids=str)
def test_any_number_of_ranks_gives_the_same_file(n, more, mpiexec, alone, tmp_path):
    """Six shards, so that three ranks have two each and of eight two have none."""
    code, out, err = run(mpiexec, n, *OPTIONS, *more, "--out", tmp_path / "run")
    assert code == 0, err
    for name in ("last.safetensors", "best.safetensors", "packed.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (alone / name).read_bytes()
    assert out.count("model sha256") == 1, "one rank speaks"


def test_a_run_of_three_that_was_killed_goes_on_with_two(mpiexec, alone, tmp_path):
    process = started(mpiexec, 3, *OPTIONS, "--out", tmp_path / "run")
    while not (tmp_path / "run" / "last.safetensors").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    ranks = subprocess.run(["pgrep", "-f", f"minibitnet.train.*{tmp_path}"], capture_output=True, text=True)
    os.kill(int(ranks.stdout.split()[-1]), signal.SIGKILL)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode != 0 and time.monotonic() - began < 10, "the others do not wait"
    code, _, err = run(mpiexec, 2, "--resume", tmp_path / "run", "--threads", "2")
    assert code == 0, err
    assert (tmp_path / "run/last.safetensors").read_bytes() == (alone / "last.safetensors").read_bytes()


def test_a_mistake_is_one_line_and_no_directory(mpiexec, tmp_path):
    for arguments, words in ((["--data", tmp_path / "nowhere"], "does not exist"),
                             (["--frobnicate"], "unknown argument --frobnicate")):
        code, out, err = run(mpiexec, 2, *arguments, "--out", tmp_path / "run")
        assert code in (1, 2) and out == "" and err.count("\n") == 1 and words in err
        assert not (tmp_path / "run").exists()


def test_what_differs_between_ranks_is_one_line(mpiexec, tmp_path):
    """Another text under the same name, another version of the package: said once, and no directory."""
    texts = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for k, path in enumerate(texts):
        path.write_text(f"the {k}th sea and its shells\n" * 2000, encoding="utf-8")
    shutil.copytree(Path(minibitnet.__file__).parent, tmp_path / "minibitnet",
                    ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "minibitnet/errors.py", "a", encoding="utf-8") as f:
        f.write("# another version\n")
    for folder, data, message in (
            (tmp_path.parent, texts, "rank 1: corpus .* is another text than rank 0's"),
            (tmp_path, ["pets", "pets"], "rank 1: minibitnet's own files differ from those of rank 0")):
        one, two = ([*TRAIN, *OPTIONS, "--out", str(tmp_path / "run"), "--data", str(of)] for of in data)
        done = subprocess.run([mpiexec, "-n", "1", *one, ":", "-n", "1", "-wdir", str(folder), *two],
                              capture_output=True, text=True, timeout=100, cwd=Path(__file__).parents[1])
        assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
        assert re.search(message, done.stderr) and not (tmp_path / "run").exists()


def test_ctrl_c_on_all_ranks_is_one_line_and_goes_on(mpiexec, alone, tmp_path):
    process = started(mpiexec, 2, *OPTIONS, "--out", tmp_path / "run")
    while not (tmp_path / "run" / "last.safetensors").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130 and err.count("interrupted after step") == 1
    code, _, err = run(mpiexec, 3, "--resume", tmp_path / "run")
    assert code == 0, err
    assert (tmp_path / "run/last.safetensors").read_bytes() == (alone / "last.safetensors").read_bytes()


def test_a_step_is_measured_on_ranks(mpiexec, tmp_path):
    """Of the smallest size; two ranks send, one does not."""
    done = subprocess.run([sys.executable, "-m", "minibitnet.bench", "train", "--ranks", "1", "2", "--sizes",
                           "S", "--linear", "ternary", "--rounds", "1", "--threads", "2", "--json"],
                          capture_output=True, text=True)
    row = json.loads(done.stdout)
    one, two = row["1 rank"], row["2 ranks"]
    assert (one["threads"], one["sent_mb"], one["in_communication"]) == (2, 0, 0) and two["threads"] == 1
    shapes = ModelConfig(**SIZES["S"][0]).tensor_shapes()
    expected = bytes_sent({name: math.prod(shape) for name, shape in shapes.items()}, 4, 2) / 1e6
    assert two["sent_mb"] == pytest.approx(expected) and 0 < two["in_communication"] < 1
    assert row["one process"]["to_one_process"]["median"] == 1


def test_the_runner_lists_the_plan_once(mpiexec):
    line = [sys.executable, "-m", "minibitnet.reproduce", "runs", "--list"]
    alone, both = (subprocess.run([*start, *line], capture_output=True, text=True).stdout
                   for start in ([], [mpiexec, "-n", "2"]))
    assert alone == both and alone


def test_a_loss_that_is_no_number_ends_all_with_one_line(mpiexec, tmp_path):
    code, _, err = run(mpiexec, 2, *OPTIONS, "--lr", "1e9", "--out", tmp_path / "run")
    assert code == 3 and err.strip().splitlines()[-1].startswith("error: step") and err.count("error") == 1
