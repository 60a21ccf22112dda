import shutil
from pathlib import Path

import pytest

from running import SMALL, TEXT, command


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with a text and a finished run, made once."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    result = command("train", "--data", "text.txt", "--out", "run", *SMALL, cwd=folder)
    assert result.returncode == 0, result.stderr
    (folder / "train.out").write_text(result.stdout, encoding="utf-8")
    (folder / "train.err").write_text(result.stderr, encoding="utf-8")
    return folder


@pytest.fixture
def here(home, tmp_path):
    """A copy of that folder, as it was made, to spoil."""
    return shutil.copytree(home, tmp_path / "copy", ignore=lambda folder, names: (
        {*names} - {"text.txt", "run"} if Path(folder) == home else ()))


@pytest.fixture(scope="session")
def stories(tmp_path_factory):
    """A folder with a corpus of stories and a small finished run on it, made once."""
    folder = tmp_path_factory.mktemp("stories")
    made = command("data", "make", "stories", "--seed", 5, "--size", 60_000, "--out", "s.txt", cwd=folder)
    assert made.returncode == 0
    result = command("train", "--data", "s.txt", "--tokenizer", "bpe:300", "--out", "run",
                     "--d-model", 32, "--n-layers", 1, "--n-heads", 2, "--context", 96, "--batch", 4,
                     "--steps", 30, "--eval-every", 15, cwd=folder)
    assert result.returncode == 0, result.stderr
    (folder / "train.out").write_text(result.stdout, encoding="utf-8")
    return folder
