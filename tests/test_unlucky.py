"""What an unlucky user does to what is there: nothing is lost, and it is said in one line."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import minibitnet
from minibitnet import files
from minibitnet.errors import UserError
from minibitnet.fitting import History, fit
from minibitnet.formats.rundir import RunDirectory
from minibitnet.jobs import read_config
from minibitnet.variants import VARIANTS

TEXT = "to be or not to be, that is the question.\n" * 40
SMALL = {"d_model": 16, "n_layers": 1, "n_heads": 2, "context": 16, "batch": 4, "steps": 2, "progress": False}


@pytest.fixture(scope="module")
def model():
    return fit(TEXT, **SMALL).model


def test_a_device_is_not_replaced_by_a_file():
    """A rename over /dev/null would, for root."""
    if not Path(os.devnull).is_char_device():
        pytest.skip("no device to try it on")
    with pytest.raises(OSError, match="this is a device"):
        files.write_atomically(Path(os.devnull), [b"x"], 1)
    assert Path(os.devnull).is_char_device()


def test_a_model_is_not_lost_to_one_that_does_not_fit_on_the_disk(model, tmp_path, monkeypatch):
    model.save(tmp_path / "run")
    before = (tmp_path / "run/last.safetensors").read_bytes()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match="the disk has 1,000 free"):
        model.save(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run/last.safetensors").read_bytes() == before


@pytest.mark.parametrize("path", ["", None, 123])
def test_an_empty_name_is_not_the_current_folder(path, model):
    with pytest.raises(UserError, match="expected the name of a directory to write to"):
        model.save(path)
    if path is not None:
        with pytest.raises(UserError, match="expected the name of a directory to write to"):
            fit(TEXT, out=path, **SMALL)


def test_a_picture_of_the_users_is_not_replaced(model, tmp_path):
    pytest.importorskip("matplotlib")
    fit(TEXT, out=tmp_path / "run", **SMALL)
    (tmp_path / "mine.svg").write_text("mine")
    plot = [sys.executable, "-m", "minibitnet.plot", "run", "--out", "mine.svg"]
    done = subprocess.run(plot, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "replace it with --overwrite" in done.stderr
    assert (tmp_path / "mine.svg").read_text() == "mine"
    assert subprocess.run([*plot, "--overwrite"], cwd=tmp_path).returncode == 0


def test_a_quantizer_that_works_in_place_is_refused(monkeypatch):
    """Every latent weight would become -1, 0 or +1, without a word."""
    monkeypatch.setattr(minibitnet.variants, "VARIANTS", dict(VARIANTS))
    with pytest.raises(UserError, match="changes the weights that it is given"):
        minibitnet.register_variant("in_place", lambda w: (np.sign(w, out=w), np.float32([[0.1]])))


@pytest.mark.parametrize("continuations", ["king", ["a", ""], [1], None])
def test_continuations_are_texts_in_a_list(continuations, model):
    with pytest.raises(UserError, match="expected texts in a list, none empty"):
        model.log_likelihoods("to", continuations)
    assert len(model.log_likelihoods("to", [])) == 0


def test_a_long_line_is_no_name_of_a_file():
    with pytest.raises(UserError, match="is no name of a file: expected one, or a text of more than"):
        fit("a b" * 300, **SMALL)


@pytest.mark.parametrize("config", [{"model": {}, "train": {}, "derived": None}, {"derived": []}])
def test_a_config_whose_sections_are_no_objects_is_one_line(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="expected the parts model and train, each an object"):
        read_config(tmp_path / "config.json")


def test_lines_of_metrics_that_are_none_of_ours_are_passed_over(tmp_path):
    good = {"step": 2, "tokens": 20, "loss": 1.5, "floor": None}
    bad = [{"step": 6, "tokens": "x", "loss": 1}, {"step": 7, "tokens": 1, "loss": {}}, {"loss": 1}, [], 3]
    lines = [good, *bad]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert RunDirectory(tmp_path).metrics() == [good]


def test_a_history_without_a_step_has_no_picture():
    for nothing in (History([]), {}, None, [1, 2]):
        with pytest.raises(UserError, match="expected the history of a fit that logged a step"):
            minibitnet.draw_loss(nothing)
