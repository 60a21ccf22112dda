"""Runs that are made longer, and runs that begin with another's weights."""
import json
import os
import shutil

import numpy as np
import pytest

from minibitnet import files, fitting, train
from minibitnet.api import load
from minibitnet.formats import checkpoint
from minibitnet.formats.rundir import RunDirectory
from running import SMALL, command, evaluated, fails

LONGER = ["--resume", "run", "--steps", "12"]
MODELS = ["last.safetensors", "best.safetensors", "packed.safetensors"]


def bytes_of(run):
    return {name: (run / name).read_bytes() for name in MODELS}


# ---- longer

def test_a_run_goes_on_beyond_its_steps(here):
    """Its files so far carry the configuration of then, and are its own all the same."""
    result = command("train", *LONGER, cwd=here)
    assert result.returncode == 0, result.stderr
    note = result.stderr.splitlines()[0]
    for words in ("note: from step 8 on, learning rate and weight decay are those of a run of 12 steps",
                  "the model will not be that of 12 steps from the beginning"):
        assert words in note
    config = json.loads((here / "run/config.json").read_text())
    assert config["train"]["steps"] == 12 and [c["train"]["steps"] for c in config["before"]] == [8]
    assert [line["step"] for line in RunDirectory(here / "run").metrics() if "val_loss" in line] == [4, 8, 12]
    assert load(here / "run", "packed").step == load(here / "run").step == 12
    assert evaluated("--engine", "packed", "--compare", cwd=here)["against_float"]["identical"] == 1
    assert "run is finished: 12 steps of 12" in command("train", "--resume", "run", cwd=here).stdout
    fails(1, "--steps 8: the run in run has 12", "to train longer", args=[*LONGER[:3], 8], cwd=here)
    assert command("train", *LONGER[:3], 14, cwd=here).returncode == 0
    config = json.loads((here / "run/config.json").read_text())
    assert [c["train"]["steps"] for c in config["before"]] == [8, 12]


def test_until_its_first_new_files_a_longer_run_has_the_old_ones(here, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.setattr(train, "run", lambda job, *rest: 0)
    assert train.main(LONGER) == 0
    for how in ({}, {"checkpoint": "best"}, {"engine": "packed"}, {"engine": "integer"}):
        assert load("run", **how).step == 8
    assert not RunDirectory("run").is_finished()
    fails(1, "run holds an unfinished run", args=["--data", "text.txt", "--out", "run", *SMALL], cwd=here)


def test_a_run_made_longer_before_its_first_checkpoint_is_that_run(here):
    """Nothing of it was made with the shorter schedule, so there is nothing to say."""
    for path in (here / "run").glob("*.safetensors"):
        path.unlink()
    result = command("train", *LONGER, cwd=here)
    assert result.returncode == 0 and "note" not in result.stderr
    command("train", "--data", "text.txt", "--out", "whole", *SMALL, "--steps", 12, cwd=here)
    assert bytes_of(here / "run") == bytes_of(here / "whole")


class Crash(BaseException):
    """In place of kill -9."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_file_leaves_a_run_that_goes_on(after, here, monkeypatch):
    """Before or after every rename, from the first one of config.json to the last one of packed.safetensors;
    gone on with --steps 12 or, once config.json says it, without."""
    monkeypatch.chdir(here)
    monkeypatch.setattr(fitting, "save_loss", lambda history, path: False)
    shutil.copytree("run", "old")
    assert train.main(LONGER) == 0
    whole, replace, crashes = bytes_of(here / "run"), os.replace, 0

    def crash(old, new):
        nonlocal left
        left -= 1
        if left or after:
            replace(old, new)
        if not left:
            raise Crash
    while True:
        crashes += 1
        left = crashes
        shutil.rmtree("run")
        shutil.copytree("old", "run")
        with monkeypatch.context() as m:
            m.setattr(files.os, "replace", crash)
            try:
                train.main(LONGER)
                break                            # it had no rename more
            except Crash:
                pass
        for how in ({}, {"checkpoint": "best"}, {"engine": "packed"}):
            load("run", **how, warn=lambda note: None)
        lengthened = json.loads((here / "run/config.json").read_text())["train"]["steps"] == 12
        assert lengthened or crashes == 1
        assert train.main(LONGER[:2] if lengthened else LONGER) == 0
        assert bytes_of(here / "run") == whole, crashes
    assert crashes > 6


# ---- from another's weights

INIT = ["--init-from", "run", "--data", "text.txt", "--out", "new"]


def test_a_run_begins_with_the_weights_the_sizes_and_the_tokenizer_of_another(here, monkeypatch):
    """Before its first step its checkpoint is the other's model, so that it goes on from there even if it is
    killed at once."""
    monkeypatch.chdir(here)
    begun = ["--batch", "4", "--steps", "6", "--seed", "3"]
    with monkeypatch.context() as m:
        m.setattr(train, "run", lambda job, *rest: 0)
        assert train.main([*INIT, *begun]) == 0
    old, new = checkpoint.load("run/last.safetensors"), checkpoint.load("new/last.safetensors")
    assert new.step == 0 and new.parameters.keys() == old.parameters.keys()
    assert all(np.array_equal(old.parameters[name], a) for name, a in new.parameters.items())
    assert new.config["model"] == old.config["model"]
    assert new.config["corpus"]["start"] == checkpoint.parameters_sha256(old.parameters)
    assert (here / "new/tokenizer.json").read_bytes() == (here / "run/tokenizer.json").read_bytes()
    assert train.main(["--resume", "new"]) == 0
    assert train.main([*INIT[:-1], "second", *begun]) == 0
    assert bytes_of(here / "new") == bytes_of(here / "second")
    for path in (here / "new").glob("*.safetensors"):
        path.unlink()
    fails(1, "new began with another model's weights", "--init-from", args=["--resume", "new"], cwd=here)


def test_its_files_are_not_those_of_a_run_from_a_seed(here):
    """With the same settings otherwise."""
    command("train", *INIT, *SMALL[-8:], cwd=here)
    command("train", "--data", "text.txt", "--out", "seed", *SMALL, cwd=here)
    ours, theirs = (json.loads((here / name / "config.json").read_text()) for name in ("new", "seed"))
    assert ours["corpus"].pop("start") and {**ours, "derived": 0} == {**theirs, "derived": 0}
    shutil.copy(here / "seed/last.safetensors", here / "new/last.safetensors")
    result = command("generate", "--model", "new", "--prompt", "the", cwd=here)
    assert "note: new/last.safetensors: it is of another run" in result.stderr


def test_what_does_not_go_with_another_models_weights(here):
    for option, value, kept in (("--d-model", 32, "16"), ("--linear", "float", "ternary"),
                                ("--n-heads", 4, "2"), ("--tokenizer", "byte", "char")):
        name = option[2:].replace("-", "_")
        fails(1, f"{name} = {value}: the model to start from has {kept}", args=[*INIT, option, value],
              cwd=here)
    fails(1, "absent is not there", args=["--init-from", "absent"], cwd=here)
    fails(1, "run is the run to start from: expected another directory",
          args=[*INIT[:-1], "./run", "--overwrite"], cwd=here)
    (here / "other.txt").write_text("other LETTERS " * 200)
    fails(1, "characters are unknown to this model's character tokenizer",
          args=["--init-from", "run", "--data", "other.txt"], cwd=here)
    for flags in (["--tiny"], ["--config", "run/config.json"], ["--resume", "run"]):
        fails(2, "--init-from", "do not go with it", args=[*INIT[:2], *flags], cwd=here)
    assert not (here / "new").exists()
