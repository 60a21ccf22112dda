"""Runs that are interrupted, killed or damaged, and runs whose text or tokenizer is not as it was."""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from minibitnet import train
from minibitnet.formats import checkpoint, safetensors
from running import SMALL, TEXT, command, fails

signals = pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")

# ---- interruption

def start_long(folder):
    """A run of 10,000 small steps, as a process; returns when it has made its first checkpoint."""
    train = [sys.executable, "-m", "minibitnet.train", "--data", "text.txt", "--out", "long", *SMALL,
             "--steps", "10000"]
    process = subprocess.Popen(train, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(500):
        if (folder / "long/prev.safetensors").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None, process.stderr.read()
    return process


@signals
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_finishes_the_step_and_saves(number, code, here):
    process = start_long(here)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in err
    step = checkpoint.load(here / "long/last.safetensors").step
    go_on = "python -m minibitnet.train --resume long"
    assert f"interrupted after step {step:,}; saved. Go on with: {go_on}" in err


@signals
def test_killed_runs_resume_to_the_bytes_of_the_uninterrupted_one(here):
    """Five kills -9 at different moments, a resume after each, then the rest of the way: the same file as
    without kills."""
    flags = ["--data", "text.txt", *SMALL, "--steps", "400", "--save-every", "1"]
    assert command("train", "--out", "whole", *flags, cwd=here).returncode == 0
    args, seen = ["--out", "killed", *flags], set()
    for pause in (0.02, 0.2, 0.35, 0.1, 0.25):
        process = subprocess.Popen([sys.executable, "-m", "minibitnet.train", *args], cwd=here,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        while process.stdout.readline().split()[:1] != [b"run"]:             # its first steps come next
            assert process.poll() is None
        time.sleep(pause)
        process.kill()
        process.communicate()
        if (here / "killed/config.json").exists():
            args = ["--resume", "killed"]
        if (here / "killed/last.safetensors").exists():
            seen.add(checkpoint.load(here / "killed/last.safetensors").step)
    assert seen - {400}, "no kill came between the first checkpoint and the end"
    result = command("train", *args, cwd=here)
    assert result.returncode == 0, result.stderr
    for name in ("last.safetensors", "best.safetensors"):
        assert (here / "killed" / name).read_bytes() == (here / "whole" / name).read_bytes()
    assert not list((here / "killed").glob("*.tmp-*"))


@signals
def test_a_signal_at_the_last_step_ends_a_run_that_is_all_there(here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    report = train.Progress.__call__

    def with_signal(self, line):
        report(self, line)
        if line["step"] == 8:
            signal.raise_signal(signal.SIGTERM)
    monkeypatch.setattr(train.Progress, "__call__", with_signal)
    assert train.main(["--data", "text.txt", "--out", "last", *SMALL]) == 143
    assert "interrupted after step 8; saved" in capsys.readouterr().err
    assert (here / "last/packed.safetensors").read_bytes() == (here / "run/packed.safetensors").read_bytes()


@pytest.mark.parametrize("reason", [KeyboardInterrupt, BrokenPipeError, OSError(28, "No space left")])
def test_a_run_that_ends_while_it_writes_its_sample_is_packed(reason, here, monkeypatch):
    monkeypatch.chdir(here)

    def sample(training):
        raise reason
    monkeypatch.setattr(train, "sample", sample)
    with pytest.raises(type(reason) if isinstance(reason, OSError) else reason):
        train.main(["--data", "text.txt", "--out", "cut", *SMALL])
    assert (here / "cut/packed.safetensors").read_bytes() == (here / "run/packed.safetensors").read_bytes()


@pytest.mark.parametrize("state", ["missing", "damaged", "of before", "no metrics either"])
def test_resume_makes_the_packed_file_that_a_finished_run_lacks(state, here):
    """One that was there before the run was made longer does not count."""
    run, missing = here / "run", ["packed.safetensors", "loss.png"]
    if state == "of before":
        old = (run / missing[0]).read_bytes()
        assert command("train", "--resume", "run", "--steps", 9, cwd=here).returncode == 0
    whole = (run / missing[0]).read_bytes()
    drawn = (run / "loss.png").exists()
    if state == "no metrics either":
        missing.append("metrics.jsonl")
    for name in missing:
        (run / name).unlink(missing_ok=True)
    if state == "of before":
        (run / missing[0]).write_bytes(old)
    elif state == "damaged":
        (run / missing[0]).write_bytes(whole[:-1] + b"x")
    result = command("train", "--resume", "run", cwd=here)
    assert result.returncode == 0 and "A sample" in result.stdout, result.stderr
    assert (run / missing[0]).read_bytes() == whole
    assert (run / "loss.png").exists() == drawn or state == "no metrics either"
    assert "Nothing to do" in command("train", "--resume", "run", cwd=here).stdout


def test_resume_draws_the_picture_that_a_finished_run_lacks(here):
    pytest.importorskip("matplotlib")
    (here / "run/loss.png").unlink()
    assert "Nothing to do" in command("train", "--resume", "run", cwd=here).stdout
    assert (here / "run/loss.png").stat().st_size > 5000


def test_a_file_that_was_packed_in_another_way_stays(here):
    command("pack", "--model", "run", "--checkpoint", "best", "--dtype", "float16", cwd=here)
    chosen = (here / "run/packed.safetensors").read_bytes()
    assert "Nothing to do" in command("train", "--resume", "run", cwd=here).stdout
    assert (here / "run/packed.safetensors").read_bytes() == chosen


def test_resuming_a_finished_run_says_so_and_exits_0(home):
    result = command("train", "--resume", "run", cwd=home)
    assert result.returncode == 0 and "run is finished: 8 steps of 8" in result.stdout


def test_a_resumed_run_keeps_its_configuration(home):
    fails(1, "--seed 9", "has 0", args=["--resume", "run", "--seed", "9"], cwd=home)
    fails(1, "--steps 7", "has 8", args=["--resume", "run", "--steps", "7"], cwd=home)
    assert command("train", "--resume", "run", "--steps", "8", "--threads", "1", cwd=home).returncode == 0


def test_a_second_process_may_not_write_to_the_same_run(here):
    process = start_long(here)
    try:
        fails(1, "long", "another process is writing", args=["--resume", "long"], cwd=here)
    finally:
        process.kill()
        process.communicate()


# ---- checkpoints

@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(damage, here):
    last = here / "run/last.safetensors"
    raw = last.read_bytes()
    last.write_bytes({"truncated": raw[:-5], "foreign": b"PK\x03\x04" + bytes(50), "empty": b""}[damage])
    write = ["--model", "run", "--prompt", "the"]
    result = command("train", "--resume", "run", cwd=here)
    assert result.returncode == 0 and "note: run/last.safetensors: " in result.stderr
    assert "using prev.safetensors of step 6" in result.stderr
    assert last.read_bytes() == raw, "steps 7 and 8 were made again"
    last.write_bytes(b"")
    assert "using prev.safetensors" in command("generate", *write, cwd=here).stderr
    (here / "run/prev.safetensors").write_bytes(b"")
    fails(1, "last.safetensors", module="generate", args=write, cwd=here)


@pytest.mark.parametrize("foreign", ["another run of the same shapes", "another model",
                                     "no optimizer state", "a step beyond the end"])
def test_a_checkpoint_of_another_run_is_not_resumed(foreign, here):
    """It is named, the previous one is used, and no metric is lost before that is known."""
    last = here / "run/last.safetensors"
    if foreign == "another run of the same shapes":
        command("train", "--data", "text.txt", "--out", "other", *SMALL, "--seed", 7, cwd=here)
        shutil.copy(here / "other/last.safetensors", last)
    elif foreign == "another model":
        command("train", "--data", "text.txt", "--out", "other", *SMALL, "--tokenizer", "byte", cwd=here)
        shutil.copy(here / "other/last.safetensors", last)
    elif foreign == "no optimizer state":
        shutil.copy(here / "run/best.safetensors", last)
    else:
        c = checkpoint.load(last)
        c.step = 9000
        checkpoint.save(last, c)
    before = (here / "run/last.safetensors").read_bytes()
    result = command("train", "--resume", "run", cwd=here)
    assert result.returncode == 0 and "using prev.safetensors of step 6" in result.stderr, result.stderr
    shutil.copy(last, here / "whole")
    assert (here / "whole").read_bytes() != before and checkpoint.load(last).step == 8
    last.write_bytes(before)
    (here / "run/prev.safetensors").unlink()
    metrics = (here / "run/metrics.jsonl").read_bytes()
    fails(1, "last.safetensors", args=["--resume", "run"], cwd=here)
    assert (here / "run/metrics.jsonl").read_bytes() == metrics


# ---- texts and tokenizers

def test_a_changed_corpus_is_not_resumed(here):
    (here / "text.txt").write_text(TEXT + "!", encoding="utf-8")
    fails(1, "text.txt", "sha256 differs", args=["--resume", "run"], cwd=here)
    fails(1, "'text'", "sha256 differs", "--data", module="evaluate", args=["--model", "run"], cwd=here)
    fails(1, "1 of 2,281 characters are unknown", "'!'",
          module="evaluate", args=["--model", "run", "--data", "text.txt"], cwd=here)


def test_a_run_goes_on_where_its_text_has_moved_to(here):
    (here / "run/last.safetensors").unlink()
    (here / "text.txt").rename(here / "moved.txt")
    fails(1, "text.txt", "name it with --data", args=["--resume", "run"], cwd=here)
    assert command("train", "--resume", "run", "--data", "moved.txt", cwd=here).returncode == 0


def test_a_model_is_scored_where_its_text_is_only_if_it_is_named(here):
    """The run remembers text.txt, which means another file in another folder; there too it is known by its
    sha256."""
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    fails(1, "'text.txt' does not exist", "name it with --data",
          module="evaluate", args=["--model", "../run"], cwd=elsewhere)
    result = command("evaluate", "--model", "../run", "--data", "../text.txt", "--json", cwd=elsewhere)
    assert json.loads(result.stdout)["split"] == "validation"


def test_a_tokenizer_of_another_run_is_refused(here):
    (here / "run/tokenizer.json").write_text('{"tokenizer": "byte"}')
    fails(1, "tokenizer.json", "not from one run", args=["--resume", "run"], cwd=here)


def other_characters(folder):
    """Another run's tokenizer.json of equal size: every letter is the next one of the alphabet; "z" is not
    among them."""
    saved = json.loads((folder / "run/tokenizer.json").read_text())
    saved["characters"] = "".join(chr(ord(c) + c.isalpha()) for c in saved["characters"])
    (folder / "run/tokenizer.json").write_text(json.dumps(saved))


def test_a_tokenizer_of_another_run_is_refused_also_if_it_has_as_many_tokens(here):
    sha256 = hashlib.sha256((here / "run/tokenizer.json").read_bytes()).hexdigest()
    config = json.loads((here / "run/config.json").read_text())
    assert config["corpus"]["tokenizer_sha256"] == sha256
    other_characters(here)
    fails(1, "run/tokenizer.json is not the tokenizer that the model was trained with",
          args=["--resume", "run"], cwd=here)
    for engine in ("float", "packed", "integer"):
        fails(1, "run/tokenizer.json is not the tokenizer", "sha256 differs",
              module="generate", args=["--model", "run", "--prompt", "word", "--engine", engine], cwd=here)


def test_a_run_without_the_tokenizers_sha256_is_read_as_before(here):
    """Early runs have none, in no file; which tokenizer is theirs cannot be told."""
    config = json.loads((here / "run/config.json").read_text())
    del config["corpus"]["tokenizer_sha256"], config["derived"]
    (here / "run/config.json").write_text(json.dumps(config))
    for path in (here / "run").glob("*.safetensors"):
        arrays, metadata = safetensors.load(path)
        safetensors.save(path, arrays, metadata | {"config": json.dumps(config)})
    resumed = command("train", "--resume", "run", cwd=here)
    assert resumed.returncode == 0 and "finished" in resumed.stdout and resumed.stderr == ""
    other_characters(here)
    for engine in ("float", "packed", "integer"):
        write = ["--model", "run", "--prompt", "xpse", "--tokens", 5, "--engine", engine]
        result = command("generate", *write, cwd=here)
        assert result.returncode == 0, result.stderr
