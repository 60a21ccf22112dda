"""Files that are none, disks that lack something, streams that nobody reads: what a run needs."""
import errno
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from minibitnet import files, fit, jobs, train
from minibitnet.api import load
from minibitnet.errors import UserError
from minibitnet.formats import safetensors
from minibitnet.formats.rundir import RunDirectory
from minibitnet.stories.tasks import read_jsonl
from minibitnet.text.tokenizer import load_tokenizer
from running import SMALL, TEXT, command

posix = pytest.mark.skipif(os.name == "nt", reason="files and streams as on POSIX")
NEW = ["--data", "text.txt", "--out", "new", *SMALL]
WRITTEN = {"last.safetensors", "best.safetensors", "packed.safetensors", "metrics.jsonl", "config.json"}


def is_whole(run):
    return {path.name for path in run.iterdir()} >= WRITTEN


# ---- what is read

def test_json_with_a_byte_order_mark_is_read(here):
    """As Notepad saves it."""
    for name in ("config.json", "tokenizer.json", "metrics.jsonl"):
        path = here / "run" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (here / "q.jsonl").write_bytes(b'\xef\xbb\xbf{"query": "the", "choices": ["word", "sea."], "gold": 0}')
    for module, *args in (["generate", "--model", "run", "--prompt", "the", "--tokens", 3],
                          ["evaluate", "--model", "run"], ["pack", "--model", "run"],
                          ["train", "--resume", "run"], ["plot", "run"],
                          ["train", "--config", "run/config.json", "--out", "again"]):
        result = command(module, *args, cwd=here)
        assert result.returncode == 0, result.stderr
    assert (here / "again/last.safetensors").read_bytes() == (here / "run/last.safetensors").read_bytes()


@posix
@pytest.mark.parametrize("special", ["a FIFO", "an endless device", "a directory"])
def test_special_files_are_refused_at_once(special, here, monkeypatch):
    """A FIFO would be waited for, a device read without end."""
    monkeypatch.chdir(here / "run")
    Path("q.jsonl").touch()
    run = RunDirectory(".")
    for name, read in {"config.json": jobs.read_config, "./config.json": lambda path: load("."),
                       "tokenizer.json": load_tokenizer, "metrics.jsonl": lambda path: run.metrics(),
                       "last.safetensors": safetensors.load, "q.jsonl": read_jsonl,
                       ".lock": lambda path: run.resume({"corpus": {}})}.items():
        path = Path(name)
        path.rename("kept")
        match special:
            case "a FIFO":
                os.mkfifo(path)
            case "an endless device":
                path.symlink_to("/dev/zero")
            case _:
                path.mkdir()
        with pytest.raises(UserError, match=f"{path.name}.*expected"), at_once():
            read(path)
        path.rmdir() if path.is_dir() else path.unlink()
        Path("kept").rename(path)


@contextmanager
def at_once():
    def too_long(*_):
        pytest.fail("it waits")
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(5)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# ---- what a disk may lack

@posix
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_without_locks_is_a_note(number, here, monkeypatch, capsys):
    import fcntl

    def no_lock(file, how):
        raise OSError(number, os.strerror(number))
    monkeypatch.chdir(here)
    monkeypatch.setattr(fcntl, "flock", no_lock)
    for args, name in ((NEW, "new"), (["--resume", "run", "--steps", "9"], "run")):
        assert train.main(args) == 0 and is_whole(here / name)
        note = f"note: {name}: its disk has no locks ({os.strerror(number)}): start no second run in it"
        assert note in capsys.readouterr().err


@posix
def test_a_lock_that_another_process_has_is_none(here, monkeypatch):
    import fcntl

    def taken(file, how):
        raise OSError(errno.EWOULDBLOCK, "Resource temporarily unavailable")
    monkeypatch.chdir(here)
    monkeypatch.setattr(fcntl, "flock", taken)
    with pytest.raises(UserError, match="another process is writing"):
        train.main(NEW)


@posix
def test_a_disk_that_syncs_no_directory_and_tells_no_size_is_enough(here, monkeypatch):
    fsync = os.fsync

    def files_alone(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(fd)

    def nothing(path):
        raise OSError(errno.ENOSYS, "Function not implemented")
    monkeypatch.chdir(here)
    monkeypatch.setattr(files.os, "fsync", files_alone)
    monkeypatch.setattr(shutil, "disk_usage", nothing)
    assert train.main(NEW) == 0 and is_whole(here / "new")


# ---- what nobody reads, and what nobody needs

TRAIN = [sys.executable, "-m", "minibitnet.train"]


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_standard_error_that_cannot_be_written_ends_nothing(here):
    """Full, or a pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    for number, stderr in enumerate((os.open("/dev/full", os.O_WRONLY), write)):
        process = subprocess.run([*TRAIN, *NEW, "--out", f"new-{number}"], cwd=here, stderr=stderr,
                                 stdout=subprocess.DEVNULL)
        os.close(stderr)
        assert process.returncode == 0 and is_whole(here / f"new-{number}")


@posix
def test_a_terminal_that_goes_away_ends_nothing(here):
    """After the first words of its bar."""
    ours, theirs = os.openpty()
    process = subprocess.Popen([*TRAIN, *NEW, "--steps", "400", "--eval-every", "20"], cwd=here,
                               stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    os.read(ours, 10)
    os.close(ours)
    assert process.wait(60) == 0 and is_whole(here / "new")


def test_a_call_of_fit_needs_no_standard_error_either(monkeypatch):
    class Broken(io.StringIO):
        def write(self, text=""):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        flush = write
    monkeypatch.setattr(sys, "stderr", Broken())
    assert fit(TEXT, d_model=16, n_layers=1, n_heads=2, context=16, batch=4, steps=3).model.step == 3


@pytest.mark.parametrize("broken", ["raise RuntimeError('built for another NumPy')", "def use(name): 1 / 0",
                                    "import absent"])
def test_a_broken_matplotlib_ends_nothing(broken, here):
    (here / "site/matplotlib").mkdir(parents=True)
    (here / "site/matplotlib/__init__.py").write_text(broken)
    found_first = os.pathsep.join([str(here / "site"), os.environ.get("PYTHONPATH", "")])
    result = command("train", *NEW, cwd=here, env={**os.environ, "PYTHONPATH": found_first})
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    assert is_whole(here / "new") and not (here / "new/loss.png").exists()
    assert "loss.png" not in result.stdout
