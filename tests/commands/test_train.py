"""What train makes: its runs, what they print, and what they derive."""
import json
from dataclasses import asdict

import pytest

from minibitnet import jobs, train
from minibitnet.formats import checkpoint
from minibitnet.measure import results
from running import SMALL, TEXT, command, fails


def test_train_prints_a_sample_and_where_everything_is(home):
    out = (home / "train.out").read_text(encoding="utf-8")
    assert "A sample" in out and "validation loss" in out and "last.safetensors" in out
    assert {p.name for p in (home / "run").iterdir()} >= {
        "config.json", "env.json", "metrics.jsonl", "tokenizer.json",
        "last.safetensors", "prev.safetensors", "best.safetensors"}
    assert set(json.loads((home / "run/env.json").read_text())) >= {"python", "numpy", "blas", "platform"}


def test_train_without_a_terminal_prints_plain_lines(home):
    err = (home / "train.err").read_text(encoding="utf-8")
    assert "step 8/8" in err and "ppl" in err and "tok/s" in err and "ETA 0 s" in err and "\r" not in err


def test_the_same_seed_writes_the_same_bytes_whatever_the_threads(home):
    command("train", "--data", "text.txt", "--out", "again", "--threads", 1, *SMALL, cwd=home)
    assert (home / "again/last.safetensors").read_bytes() == (home / "run/last.safetensors").read_bytes()


def test_bytes_that_are_not_utf8_are_reported(here):
    (here / "dirty.txt").write_bytes(TEXT.encode() + b"\xff\xfe")
    result = command("train", "--data", "dirty.txt", *SMALL, cwd=here)
    assert result.returncode == 0 and "2 places were not UTF-8" in result.stdout
    assert (here / "runs/dirty-ternary").is_dir()


@pytest.mark.parametrize("wild", ["--linear ternary --lr 1e9", "--linear float --lr 1e5",
                                  "--linear float --lr 1e9 --clip 0 --warmup 0 --steps 200"])
def test_a_loss_that_is_not_finite_exits_3_and_keeps_the_last_checkpoint(wild, here):
    """One line tells it after those of the steps, and no warning of NumPy's: the first overflows in the sum
    of the shards' gradients, the next in an evaluation."""
    result = command("train", "--data", "text.txt", "--out", "wild", *SMALL, "--steps", 12, *wild.split(),
                     cwd=here)
    *steps, last = result.stderr.strip().splitlines()
    assert result.returncode == 3 and last.startswith("error: step ") and "nothing was" in last
    assert [line for line in steps if not line.startswith("step ")] == []
    if (here / "wild/last.safetensors").exists():
        checkpoint.load(here / "wild/last.safetensors")


# ---- what a run derives

def test_a_config_file_makes_the_same_run_and_flags_win_over_it(here):
    assert command("train", "--config", "run/config.json", "--out", "two", cwd=here).returncode == 0
    assert (here / "two/last.safetensors").read_bytes() == (here / "run/last.safetensors").read_bytes()
    command("train", "--config", "run/config.json", "--seed", 5, "--out", "three", cwd=here)
    assert json.loads((here / "three/config.json").read_text())["train"]["seed"] == 5


def test_what_a_run_derived_is_derived_anew_with_other_flags(here):
    """The run's lr was 6e-3 sqrt(128/16), ternary's at width 16, and its d_ffn 11/4 16.

    A float model of width 32 gets its own: an lr of 3e-3 sqrt(128/32) = 6e-3, of whose peak the second half
    has two thirds, and a d_ffn of 11/4 32 = 88. What was chosen stays."""
    old = json.loads((here / "run/config.json").read_text())
    assert old["train"]["lr"] == pytest.approx(6e-3 * 8**0.5) and old["model"]["d_ffn"] == 44
    float_32 = ["--config", "run/config.json", "--linear", "float", "--d-model", 32]
    assert command("train", *float_32, "--steps", 12, "--out", "other", cwd=here).returncode == 0
    new = json.loads((here / "other/config.json").read_text())
    assert new["train"]["lr"] == pytest.approx(6e-3) and new["train"]["second_lr"] == pytest.approx(4e-3)
    assert new["model"]["d_ffn"] == 88
    assert new["train"]["eval_every"] == 4, "a quarter of 12 steps would be 3"
    assert new["train"]["batch"] == 4
    old["train"]["lr"], old["model"]["d_ffn"] = 0.01, 50
    (here / "run/config.json").write_text(json.dumps(old))
    assert command("train", *float_32, "--out", "third", cwd=here).returncode == 0
    third = json.loads((here / "third/config.json").read_text())
    assert third["train"]["lr"] == 0.01 and third["model"]["d_ffn"] == 50


def test_what_was_given_stays_what_it_was_also_where_it_is_what_would_be_derived(here):
    """config.json says what its run derived, so nothing has to be guessed. An early file, which does not say
    it, is read as if all of it had been chosen."""
    run = json.loads((here / "run/config.json").read_text())
    assert run["derived"]["train"].keys() >= {"lr", "second_lr"} and run["derived"]["model"]["d_ffn"] == 44
    assert "seed" not in run["derived"]["train"] and "d_model" not in run["derived"]["model"]
    wider = ["--linear", "float", "--d-model", 32, *SMALL[2:]]
    for name, change in (("given", {"derived": {"train": {}, "model": run["derived"]["model"]}}),
                         ("early", {"derived": {}})):
        (here / f"{name}.json").write_text(json.dumps(run | change))
        assert command("train", "--config", f"{name}.json", *wider, "--out", name, cwd=here).returncode == 0
        new = json.loads((here / f"{name}/config.json").read_text())
        assert new["train"]["lr"] == run["train"]["lr"]
        assert new["model"]["d_ffn"] == (88 if name == "given" else 44)


# ---- tiny runs

TINY = ["--tiny", "--data", "text.txt", *SMALL]


def test_a_finished_tiny_run_is_replaced_and_an_unfinished_one_is_not(here):
    for _ in range(2):
        assert command("train", *TINY, cwd=here).returncode == 0
    before = (here / "runs/tiny/last.safetensors").read_bytes()
    fails(1, "finished run", "--overwrite", args=[*TINY, "--seed", 1], cwd=here)       # it would be lost
    assert command("train", *TINY, "--linear", "float", cwd=here).returncode == 0
    assert (here / "runs/tiny-float/best.safetensors").exists()
    assert (here / "runs/tiny/last.safetensors").read_bytes() == before
    assert command("train", "--resume", "runs/tiny", "--steps", 9, cwd=here).returncode == 0
    longer = (here / "runs/tiny/last.safetensors").read_bytes()
    fails(1, "finished run", "--overwrite", args=TINY, cwd=here)      # eight steps are not nine
    assert (here / "runs/tiny/last.safetensors").read_bytes() == longer
    assert command("train", *TINY, "--overwrite", cwd=here).returncode == 0
    (here / "runs/tiny/last.safetensors").unlink()            # what prev holds is one save before the end
    fails(1, "unfinished run", "--resume", "--overwrite", args=TINY, cwd=here)
    assert command("train", *TINY, "--overwrite", cwd=here).returncode == 0


def test_the_tiny_runs_learning_rate_is_for_its_own_arm_and_width(here):
    """With --d-model 16 a --tiny run has the learning rate that any run of this width has; with its own
    width, its own."""
    rates = []
    for flags in (SMALL, ["--tiny", *SMALL], ["--tiny", *SMALL, "--d-model", 128, "--steps", 1]):
        out = f"rate-{len(rates)}"
        result = command("train", "--data", "text.txt", "--out", out, *flags, cwd=here)
        assert result.returncode == 0
        rates.append(json.loads((here / out / "config.json").read_text())["train"]["lr"])
    assert rates[0] == rates[1] != rates[2] == 8e-3


def test_the_recorded_tiny_run_is_known_by_its_settings():
    """Those of today, with fields that configurations did not have when it was recorded."""
    tiny = results.load("exact")["result"]["tiny"]
    settings = dict(tiny["settings"])
    for section, config_class in jobs.CONFIGS.items():
        assert jobs.TINY[section].items() <= settings[section].items()
        settings[section] = asdict(config_class(**settings[section]))
    assert train.known_name(settings, tiny["model_sha256"]) == ", as on every machine"
    assert "on other machines it is" in train.known_name(settings, 64 * "0")
    settings["train"]["seed"] = 1
    assert train.known_name(settings, tiny["model_sha256"]) == ""
