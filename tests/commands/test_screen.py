"""What is seen on a terminal of 80 columns: every bar can be read, and shows that something moves."""
import os
import re
import subprocess
import sys
import time

import pytest

from minibitnet import _command

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")


def seen(*words, cwd, columns=80, stdin=None):
    """What a command writes to a terminal of so many columns -> (what stood on a line, in order; its exit
    code)."""
    import fcntl
    import struct
    import termios
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(list(map(str, words)), cwd=cwd, stdout=subprocess.DEVNULL, stderr=theirs,
                               env={**os.environ, "TQDM_MININTERVAL": "0.01"})
    os.close(theirs)
    raw = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:                          # the other end is closed
            break
        if not piece:
            break
        raw += piece
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", raw.decode("utf-8", "replace"))
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()], process.wait()


def minibitnet(module, *args, cwd):
    lines, code = seen(sys.executable, "-m", f"minibitnet.{module}", *args, cwd=cwd)
    assert code == 0, lines
    return lines


def assert_readable(lines, *bars):
    """No line is longer than the terminal; each bar was there, at least eight characters of it."""
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    for name in bars:
        shown = [line for line in lines if name in line]
        assert shown, (name, lines)
        drawn = [re.search(r"\|(.*)\|", line) for line in shown]
        assert all(found is None or len(found[1]) >= 8 for found in drawn), shown


def test_training_and_its_evaluations_and_stories(stories):
    lines = minibitnet("train", "--data", "s.txt", "--out", "screen", "--d-model", 32, "--n-layers", 1,
                       "--n-heads", 2, "--context", 96, "--batch", 4, "--steps", 12, "--eval-every", 6,
                       "--tokenizer", "bpe:300", cwd=stories)
    assert_readable(lines, " tok/s", "vocabulary: ", "stories: ")
    steps = [line for line in lines if "/12 [" in line and "loss" in line]
    assert steps and all(line.rstrip().endswith(" tok/s]") for line in steps), lines


def test_scoring_comparing_and_answering(stories):
    engine = ["--model", "run", "--engine", "integer"]
    lines = minibitnet("evaluate", *engine, "--compare", cwd=stories)
    assert_readable(lines, "scored: ", "beside the float engine: ", "token by token: ")
    assert_readable(minibitnet("evaluate", *engine, "--tasks", "stories", "--items", 4, cwd=stories),
                    "pronoun: ", "ending: ")


def test_tokenizers_and_corpora(stories):
    lines = minibitnet("tokenizer", "train", "--data", "s.txt", "--vocab-size", 300, "--out", "v.tiktoken",
                       "--overwrite", cwd=stories)
    assert_readable(lines, "read: ", "vocabulary: ")
    info = minibitnet("data", "info", "s.txt", "--tokenizer", "bpe:300", cwd=stories)
    assert_readable(info, "vocabulary: ")


def test_an_experiment_tells_how_long_it_runs(stories):
    lines = minibitnet("reproduce", "variance", cwd=stories)
    assert_readable(lines, "running variance ... 00:00")


def test_a_wait_shows_its_seconds(tmp_path):
    code = "import time; from minibitnet._command import waiting\nwith waiting('running x'): time.sleep(2.5)"
    lines, _ = seen(sys.executable, "-c", code, cwd=tmp_path)
    assert [line.strip() for line in lines] == ["running x ... 00:00", "running x ... 00:01",
                                                "running x ... 00:02"]


def test_a_wait_without_a_terminal_is_silent(capfd):
    with _command.waiting("running x"):
        time.sleep(0.01)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("columns", [80, 200])
def test_the_list_of_rows_fits_the_terminal_and_110_columns(columns, tmp_path):
    done = subprocess.run([sys.executable, "-m", "minibitnet.reproduce", "--list"], capture_output=True,
                          text=True, encoding="utf-8", env={**os.environ, "COLUMNS": str(columns)},
                          cwd=tmp_path)
    assert max(map(len, done.stdout.splitlines())) <= min(columns, 110)
