"""The loss of a model with caches of fewer bits, and their bytes."""
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import kv_cache
from minibitnet.experiments.lines import as_text
from minibitnet.inference.cache import KVCache
from minibitnet.measure import results
from minibitnet.measure.costs import MODELS, cache_bytes

SIZES = ["--d-model", "32", "--n-layers", "2", "--n-heads", "2", "--context", "64", "--batch", "8",
         "--steps", "80"]
TEXT = "".join(f"{i} and {j} are {i + j}.\n" for i in range(40) for j in range(20))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small model that has learned something, made once."""
    folder = tmp_path_factory.mktemp("kv")
    (folder / "sums.txt").write_text(TEXT, encoding="utf-8")
    train = [sys.executable, "-m", "minibitnet.train", "--data", str(folder / "sums.txt"),
             "--out", str(folder / "run"), *SIZES]
    subprocess.run(train, check=True, capture_output=True)
    return folder / "run"


def test_a_differences_standard_error():
    """Two windows of 10 targets that need 1 and 3 nats more: 0.2 a target; they lie 1 to either side of it,
    and sqrt(2/1 (1 + 1)) / 20 = 0.1. Windows of 10 and 30 targets that need 1 and 3 more have the same 0.1 a
    target: no error."""
    nats = np.array([1.0, 3.0])
    of_equal_windows = kv_cache.difference(nats, np.array([10, 10]))
    in_proportion = kv_cache.difference(nats, np.array([10, 30]))
    assert of_equal_windows == pytest.approx({"difference": 0.2, "standard_error": 0.1})
    assert in_proportion == pytest.approx({"difference": 0.1, "standard_error": 0})


def test_bytes_of_a_token():
    """2B-4T: 30 layers, keys and values, 5 heads of 128 numbers: 38,400 numbers, two bytes each; or one, or
    half, and 2 for each of 300 scales."""
    c = MODELS["BitNet b1.58 2B"].config
    by_bits = {bits: kv_cache.bytes_per_token(c, bits) for bits in (32, 16, 8, 4)}
    assert by_bits == {32: 153_600, 16: 76_800, 8: 39_000, 4: 19_800}


@pytest.mark.parametrize("size", ["3B", "70B", "BitNet b1.58 2B"])
def test_the_counted_bytes_are_those_of_the_caches(size):
    shape = MODELS[size]
    for bits in (16, 8, 4):
        assert kv_cache.bytes_per_token(shape.config, bits) == cache_bytes(shape, bits)


def test_fewer_bits_cost_more_loss_and_8_next_to_none(run):
    """By one pass over what the model has not seen: the run is the same on every machine (exact.py), and so
    are these figures.

    2 layers of 2 heads of 16 numbers, keys and values: in 4 bits, 128 halves of a byte and 8 scales of 2."""
    r = kv_cache.quick(run)
    rows, c = r["losses"], r["config"]
    assert r["targets"] > 1000 and rows["32"]["difference"] == 0 == rows["32"]["standard_error"]
    assert rows["32"]["loss"] == pytest.approx(0.8604251978772383, rel=1e-12)
    for bits, difference, standard_error in (("16", 0.00002716342851, 0.0001137038824),
                                             ("8", -0.0001668065674, 0.0001632560913),
                                             ("4", 0.00278089999, 0.001268790073)):
        assert rows[bits]["difference"] == pytest.approx(difference, rel=1e-8)
        assert rows[bits]["standard_error"] == pytest.approx(standard_error, rel=1e-8)
    assert json.loads(json.dumps(r)) == r
    lines = list(map(as_text, kv_cache.in_words(r)))
    assert lines[3].startswith("cache of 4 bits: four times the context | 3.20 x: 80 bytes a token, "
                               "13,421,772 tokens in 1 GiB (differs) | ")
    assert f"{rows['4']['difference']:+.5f} ± " in lines[0]
    assert "no loss: average scores change by -0.20 to +0.26" in lines[0]
    committed = results.load("kv_cache")["result"]["config"]
    assert set(c) == set(committed), "the committed run says all that this one does"
    assert c["weights_sha256"] == sha256(run / "last.safetensors") and c["step"] == 80
    trained_with = c["trained_with"]
    assert trained_with["steps"] == 80 and trained_with["d_model"] == 32 and trained_with["seed"] == 0


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cut_short(path):
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize("damage", [cut_short, Path.unlink])
def test_the_sha256_is_of_the_weights_that_were_scored(run, tmp_path, damage):
    """Where the newest checkpoint is cut short or gone, the one before it is scored, and named."""
    shutil.copytree(run, tmp_path / "run")
    damage(tmp_path / "run/last.safetensors")
    with pytest.warns(UserWarning, match="using prev.safetensors"):
        config = kv_cache.quick(tmp_path / "run")["config"]
    assert config["weights_sha256"] == sha256(run / "prev.safetensors") and 0 < config["step"] < 80


def test_a_text_that_is_gone_is_told_without_a_flag_that_reproduce_does_not_have(run):
    (run.parent / "sums.txt").rename(run.parent / "moved.txt")
    message = "trained on it; python -m minibitnet.train --tiny makes runs/tiny anew$"
    try:
        with pytest.raises(UserError, match=message):
            kv_cache.quick(run)
    finally:
        (run.parent / "moved.txt").rename(run.parent / "sums.txt")


def test_on_the_committed_model_8_bits_lose_nothing_that_shows_and_4_bits_a_little():
    """Claims with two standard errors: 16 and 8 bits within them, 4 bits beyond them and under a hundredth of
    a nat."""
    rows = results.load("kv_cache")["result"]["losses"]
    assert all(abs(rows[bits]["difference"]) < 2 * rows[bits]["standard_error"] for bits in ("16", "8"))
    assert 2 * rows["4"]["standard_error"] < rows["4"]["difference"] < 0.01 - 2 * rows["4"]["standard_error"]


def test_a_cache_that_loses_its_keys_is_found_out(run, monkeypatch):
    class Forgetful(KVCache):
        def extend(self, k, v):
            return super().extend(0 * k, v)
    monkeypatch.setitem(kv_cache.KINDS, 4, Forgetful)
    row = kv_cache.quick(run)["losses"]["4"]
    assert row["difference"] > 5 * row["standard_error"] and row["difference"] > 0.05


def test_so_many_targets_and_no_more_are_read(run):
    r = kv_cache.measure_model(run, None, 100)
    assert r["targets"] == 16 * 64 and r["windows"] == 16
    assert kv_cache.full(model=run)["targets"] == kv_cache.quick(run)["targets"]


def test_one_window_has_no_standard_error(run, tmp_path):
    (tmp_path / "short.txt").write_text("1 and 1 are 2.", encoding="utf-8")
    with pytest.raises(UserError, match="1 windows has no standard error: expected at least 2"):
        kv_cache.quick(run, tmp_path / "short.txt")


def test_without_a_trained_model_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="python -m minibitnet.train --tiny makes runs/tiny"):
        kv_cache.quick()
