import json

import numpy as np
import pytest

from minibitnet.formats import checkpoint, safetensors
from minibitnet.formats.checkpoint import Checkpoint, FormatError, copy_into, load, load_latest, save

CONFIG = {"model": {"d_model": 8}, "train": {"steps": 5}, "corpus": {}}


def example(step=3):
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Checkpoint(step, 1.5, CONFIG, {"w": w}, {"w": w + 1}, {"w": w + 2})


def test_round_trip(tmp_path):
    save(tmp_path / "c", example())
    c = load(tmp_path / "c")
    assert (c.step, c.best_val_loss, c.config) == (3, 1.5, CONFIG)
    assert np.array_equal(c.parameters["w"] + 1, c.m["w"]) and np.array_equal(c.parameters["w"] + 2, c.v["w"])


def test_infinity_is_a_best_loss_like_any_other(tmp_path):
    """Before the first evaluation nothing was best."""
    c = example()
    c.best_val_loss = float("inf")
    save(tmp_path / "c", c)
    assert load(tmp_path / "c").best_val_loss == float("inf")


def write(path, metadata, a=np.zeros(2, np.float32)):
    safetensors.save(path, {"w": a}, metadata)


GOOD = {"format": checkpoint.FORMAT, "step": "1", "best_val_loss": "2.0", "config": json.dumps(CONFIG)}
FOREIGN = {
    "no format": {},
    "another format": GOOD | {"format": "pt"},
    "no step": {k: v for k, v in GOOD.items() if k != "step"},
    "a step that is no number": GOOD | {"step": "x"},
    "a config that is not JSON": GOOD | {"config": "{"},
    "a config that is a list": GOOD | {"config": "[]"},
    "a config without its parts": GOOD | {"config": "{}"},
    "a config whose model is a number": GOOD | {"config": json.dumps(CONFIG | {"model": 1})},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_refused(what, tmp_path):
    write(tmp_path / "c", FOREIGN[what])
    with pytest.raises(FormatError, match="its metadata"):
        load(tmp_path / "c")


@pytest.mark.parametrize("a", [np.array([1, np.nan], np.float32), np.array([np.inf], np.float32),
                               np.zeros(2)], ids=["nan", "inf", "float64"])
def test_tensors_must_be_finite_float32(a, tmp_path):
    write(tmp_path / "c", GOOD, a)
    with pytest.raises(FormatError, match="expected finite float32"):
        load(tmp_path / "c")


def test_a_damaged_last_falls_back_to_prev_and_says_so(tmp_path):
    last, prev = tmp_path / "last.safetensors", tmp_path / "prev.safetensors"
    save(last, example(3))
    save(last, example(4), keep=prev)
    assert load_latest(last, prev)[0].step == 4
    last.write_bytes(last.read_bytes()[:-1])
    c, path, note = load_latest(last, prev)
    assert c.step == 3 and path == prev
    assert "last.safetensors: its tensors end at" in note
    assert note.endswith("using prev.safetensors of step 3")
    prev.unlink()
    with pytest.raises(FormatError, match="last.safetensors"):
        load_latest(last, prev)


def test_copy_into_names_what_does_not_fit():
    w = np.zeros((2, 2), np.float32)
    with pytest.raises(FormatError, match="f: tensor 'b' is missing"):
        copy_into({"a": w, "b": w}, {"a": w}, "f")
    with pytest.raises(FormatError, match="f: tensor 'b' is not of this model"):
        copy_into({"a": w}, {"a": w, "b": w}, "f")
    with pytest.raises(FormatError, match=r"f: tensor 'a' has shape \(2,\): expected \(2, 2\)"):
        copy_into({"a": w}, {"a": np.ones(2, np.float32)}, "f")
    copy_into({"a": w}, {"a": np.ones((2, 2), np.float32)}, "f")
    assert w.all()
