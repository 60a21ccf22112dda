"""The model that comes along: the file that its recipe makes, and it tells stories."""
import hashlib
import json
import re
import shlex

import pytest

import minibitnet
from minibitnet.data_files import packaged
from minibitnet.stories.entropy import of_document
from minibitnet.train import is_story

FOLDER = packaged("storyteller/config.json").parent
TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_packed_file_is_the_one_that_its_page_names():
    raw = (FOLDER / "packed.safetensors").read_bytes()
    assert f"packed.safetensors {hashlib.sha256(raw).hexdigest()}\n" in TEXT and len(raw) <= 10**6


def test_the_recipe_is_that_of_its_configuration():
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    words = shlex.split(re.search(r"^python -m minibitnet.train (.+)$", TEXT, re.M)[1])
    for flag, value in zip(words[::2], words[1::2], strict=True):
        name = flag.removeprefix("--").replace("-", "_")
        if name != "out":
            [kept] = [section[name] for section in (config["model"], config["train"]) if name in section]
            assert type(kept)(value) == kept, flag
    lines = (FOLDER / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["step"] == config["train"]["steps"]


@pytest.mark.parametrize("engine", ["packed", "integer"])
def test_it_tells_whole_stories(engine):
    """About half of what it tells are stories to the last letter. (The others forget a word.)"""
    model = minibitnet.load("storyteller", engine)
    assert sum(is_story(model.generate("", 288, seed=seed)) for seed in range(5)) >= 2


def test_it_is_near_the_floor_and_not_below():
    model, documents = minibitnet.load("storyteller", "packed"), packaged("stories.txt")
    stories = documents.read_text(encoding="utf-8").split("\n<|endoftext|>\n")[:8]
    excess = [sum(model.along(story)[0]) - of_document(story) for story in stories]
    assert 0 < sum(excess) / 8 < 8


def test_a_folder_of_this_name_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "storyteller").mkdir()
    with pytest.raises(minibitnet.UserError, match="storyteller/last.safetensors: expected"):
        minibitnet.load("storyteller")
