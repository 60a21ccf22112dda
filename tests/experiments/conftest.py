"""A folder to train in, with few stories, which are made once for all tests."""
import pytest

from minibitnet.experiments import plan, training_run
from minibitnet.experiments.plan import STORIES
from minibitnet.stories import walk


@pytest.fixture(scope="session")
def stories(tmp_path_factory):
    """{name: text}: of training and validation, and for the vocabulary."""
    folder = tmp_path_factory.mktemp("stories")
    for name, seed, size in (("few", 0, 40_000), ("stories-1", 1, 60_000), ("stories-2", 2, 8_000)):
        (folder / f"{name}.txt").write_text(walk.corpus(seed, size), encoding="utf-8", newline="")
    return folder


@pytest.fixture(scope="session")
def materials():
    """What training_run.material gave: {(text, context): Material}."""
    return {}


@pytest.fixture
def few(tmp_path, monkeypatch, stories, materials):
    """The folder; one story a step, of texts that are not made again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_run, "made", lambda seed, size: stories / f"stories-{seed}.txt")
    monkeypatch.setattr(training_run, "packaged", lambda name: stories / "few.txt")
    monkeypatch.setattr(training_run, "ITEMS", 8)
    monkeypatch.setitem(plan.RECIPES, STORIES, ({"context": 288}, {"batch": 1, "tokenizer": "bpe:512"}))
    make = training_run.material.__wrapped__

    def material(*key):
        if key not in materials:
            materials[key] = make(*key)
        return materials[key]
    monkeypatch.setattr(training_run, "material", material)
    training_run.items.cache_clear()
    yield tmp_path
    training_run.items.cache_clear()
