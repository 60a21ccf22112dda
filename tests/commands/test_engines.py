"""The engines: what they write, how their scores compare, and the packed file."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from minibitnet.api import load
from minibitnet.errors import UsageError
from minibitnet.formats import checkpoint, safetensors
from running import SMALL, char_run, command, evaluated, fails

# ---- beside each other

def test_the_packed_engine_scores_as_the_float_engine_does(stories):
    float_engine = evaluated(cwd=stories)
    packed = evaluated("--engine", "packed", "--compare", cwd=stories)
    assert packed["engine"] == "packed" and packed["loss"] == float_engine["loss"]
    assert packed["step"] == float_engine["step"] == 30
    assert packed["against_float"]["identical"] == 1 and packed["against_float"]["moved"] == 0
    assert abs(packed["token_by_token"]["loss"] - packed["token_by_token"]["reference_loss"]) < 1e-3


def test_an_engine_is_compared_with_the_checkpoint_it_was_packed_from(stories, tmp_path):
    shutil.copytree(stories / "run", tmp_path / "run")
    fails(2, "on the packed engine", "checkpoint best", module="evaluate",
          args=["--model", "run", "--engine", "packed", "--checkpoint", "best"], cwd=stories)
    assert command("pack", "--model", "run", cwd=tmp_path).returncode == 0
    compare = ["--model", "run", "--engine", "packed", "--data", str(stories / "s.txt"), "--compare"]
    last, prev, best = (tmp_path / f"run/{name}.safetensors" for name in ("last", "prev", "best"))
    os.replace(last, prev)                       # a run that went on: of step 30 is the one before
    later = checkpoint.load(prev)
    later.step = 33
    checkpoint.save(last, later)
    best.unlink()
    result = command("evaluate", *compare, "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["against_float"]["identical"] == 1, result.stderr
    prev.write_bytes(b"")                        # and then one that went on for longer
    fails(1, "packed.safetensors is of step 30, and no checkpoint is (last.safetensors is of step 33; ",
          "prev.safetensors: the file is empty", module="evaluate", args=compare, cwd=tmp_path)
    last.unlink(), prev.unlink()
    fails(1, "packed.safetensors is of step 30, and no checkpoint is (there is none)",
          module="evaluate", args=compare, cwd=tmp_path)


def test_a_comparison_without_its_checkpoint_is_refused_before_the_text_is_scored(stories, monkeypatch):
    from minibitnet import evaluate
    monkeypatch.setattr(evaluate, "same_step", lambda path, model: 1 / 0)
    monkeypatch.setattr(evaluate, "mean_loss", lambda *args: pytest.fail("the text was scored first"))
    monkeypatch.chdir(stories)
    with pytest.raises(ZeroDivisionError):
        evaluate.main(["--model", "run", "--engine", "packed", "--compare", "--threads", "1"])


def test_the_integer_engine_is_compared_with_the_float_engine(stories):
    r = evaluated("--engine", "integer", "--compare", cwd=stories)
    a, t = r["against_float"], r["token_by_token"]
    assert abs(a["loss"] - a["reference_loss"]) < 0.01 and a["agree"] > 0.98 and a["agree_clear"] >= 0.999
    assert a["targets"] == r["tokens"]
    assert t["identical"] == 1 and t["loss"] == t["reference_loss"]
    words = command("evaluate", "--model", "run", "--engine", "integer", "--compare", cwd=stories).stdout
    assert "beside the float engine" in words and "move by more than 0.001 nats at 0.0%" in words
    against, _, last = words.splitlines()[-3:]
    assert against.endswith(" nats/token") and "logits move by more than" in against
    assert last.startswith("that logits move is as it should be")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_comparison_shows_on_a_terminal_how_far_it_is(stories):
    import termios
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    evaluate = [sys.executable, "-m", "minibitnet.evaluate"]
    process = subprocess.Popen([*evaluate, "--model", "run", "--engine", "packed", "--compare"], cwd=stories,
                               stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1000):
            shown += part
    except OSError:                              # how Linux says that the other end was closed
        pass
    os.close(ours)
    assert process.wait(60) == 0
    for bar in (b"beside the float engine", b"token by token"):
        assert re.search(bar + rb": +0%.* 0/\d+ ", shown), shown


# ---- what they write

def test_generate_repeats_itself_with_the_same_seed(home):
    write = ["--model", "run", "--prompt", "the word", "--tokens", 40]
    runs = [command("generate", *write, "--seed", seed, cwd=home) for seed in (1, 1, 2)]
    assert runs[0].stdout == runs[1].stdout != runs[2].stdout
    assert runs[0].stdout.startswith("the word") and len(runs[0].stdout) == 8 + 40 + 1
    assert "tokens/s" in runs[0].stderr


def test_generate_stops_before_the_stop_text(home):
    """Also where it comes in pieces, as it does from a character tokenizer."""
    write = ["--model", "run", "--prompt", "the word", "--tokens", 60]
    whole = command("generate", *write, cwd=home).stdout
    stop = whole[30:34]
    part = command("generate", *write, "--stop", stop, cwd=home).stdout
    assert part == "the word" + whole[8:8 + whole[8:].index(stop)] + "\n"


@pytest.mark.parametrize("engine", ["packed", "integer"])
def test_each_engine_writes(engine, stories):
    write = ["--model", "run", "--prompt", "Once", "--tokens", 20, "--engine", engine, "--top-k", 40,
             "--top-p", 0.9]
    first, again = (command("generate", *write, cwd=stories) for _ in "ab")
    assert first.returncode == 0 and first.stdout == again.stdout and first.stdout.startswith("Once")
    assert "tokens/s" in first.stderr


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_the_packed_engine_writes_with_smaller_caches(bits, stories):
    write = ["--model", "run", "--prompt", "Once", "--tokens", 20, "--engine", "packed"]
    result = command("generate", *write, "--kv-bits", bits, cwd=stories)
    assert result.returncode == 0 and len(result.stdout) > 10
    fails(2, "kv_bits", "expected the packed one", module="generate",
          args=["--model", "run", "--prompt", "a", "--kv-bits", bits], cwd=stories)


def test_in_a_script_what_does_not_go_together_is_refused_as_well(stories):
    """The commands only say so with another exit code."""
    for options, word in (({"checkpoint": "best"}, "checkpoint best"), ({"kv_bits": 8}, "kv_bits = 8")):
        with pytest.raises(UsageError, match=word):
            load(stories / "run", engine="integer", **options)


def test_a_packed_model_runs_without_its_checkpoints(stories, tmp_path):
    for name in ("packed.safetensors", "tokenizer.json"):
        shutil.copy(stories / "run" / name, tmp_path / name)
    write = ["--model", ".", "--prompt", "", "--engine", "integer", "--tokens", 5]
    assert command("generate", *write, cwd=tmp_path).returncode == 0
    fails(1, "has no checkpoint (last.safetensors)", "--engine packed", module="generate",
          args=["--model", ".", "--prompt", "a"], cwd=tmp_path)


# ---- the packed file

def test_pack_tells_the_bytes_of_everything(stories):
    """d 32, 1 layer, d_ffn 88: 4 * 32^2 + 3 * 32 * 88 = 12,544 weights in 3,136 bytes, 7 scales, 3 * 32 +
    88 + 32 gains, 2 * 300 * 32 others."""
    result = command("pack", "--model", "run", "--float16", "--json", cwd=stories)
    table = json.loads(result.stdout)["components"]
    assert table["BitLinear weights"] == {"numbers": 12_544, "packed": 3_136, "float16": 25_088,
                                          "float32": 50_176}
    assert table["BitLinear scales"]["packed"] == 28 and table["norms"]["packed"] == 4 * 216
    assert table["head"]["packed"] == 4 * 9_600
    sizes = json.loads(result.stdout)["files"]
    assert 0 < sizes["packed.safetensors"] - table["total"]["packed"] < 4_000
    assert 0 < sizes["float16.safetensors"] - table["total"]["float16"] < 3_000
    in_bfloat16 = command("pack", "--model", "run", "--dtype", "bfloat16", cwd=stories).stdout
    assert "2.00 bits for each" in in_bfloat16
    assert command("evaluate", "--model", "run", "--engine", "packed", cwd=stories).returncode == 0
    command("pack", "--model", "run", cwd=stories)           # as the other tests expect it


def test_a_model_file_of_another_run_is_refused(stories, tmp_path):
    shutil.copytree(stories / "run", tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["train"]["seed"] += 1
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    for engine, file in (("packed", "packed.safetensors"), ("integer", "packed.safetensors"),
                         ("float", "last.safetensors")):
        fails(1, f"{file}: it is of another run", module="generate",
              args=["--model", "run", "--prompt", "a", "--engine", engine], cwd=tmp_path)
    for module, *args in (["evaluate"], ["evaluate", "--checkpoint", "best"], ["pack"]):
        fails(1, "it is of another run", module=module, args=["--model", "run", *args], cwd=tmp_path)


def test_an_engine_is_not_compared_with_a_checkpoint_of_another_run(stories, tmp_path):
    """One of the same sizes and of the same step, beside a packed file of the run's own."""
    shutil.copytree(stories / "run", tmp_path / "run")
    for name in ("last", "prev", "best"):
        path = tmp_path / f"run/{name}.safetensors"
        other = checkpoint.load(path)
        other.config["train"]["seed"] += 1
        checkpoint.save(path, other)
    fails(1, "packed.safetensors is of step 30, and no checkpoint is", "it is of another run",
          module="evaluate", args=["--model", "run", "--engine", "packed", "--compare", "--data",
                                   stories / "s.txt"], cwd=tmp_path)


def rescale(folder, name, change):
    """Change the scales of these matrices in the packed file."""
    path = folder / "run/packed.safetensors"
    arrays, metadata = safetensors.load(path)
    for key in arrays:
        if key.endswith(f"{name}_proj.weight_scale"):
            arrays[key] = change(arrays[key]).astype("float32")
    safetensors.save(path, arrays, metadata)


def test_logits_that_are_not_finite_are_no_result_and_exit_3(stories, tmp_path):
    shutil.copytree(stories / "run", tmp_path / "run")
    rescale(tmp_path, "down", lambda scale: 0 * scale + 3e38)
    data, packed = ["--data", str(stories / "s.txt")], ["--engine", "packed"]
    write = ["--prompt", "Once", *packed, "--tokens", 5]
    for module, args in (("evaluate", [*data, *packed]),
                         ("evaluate", [*data, *packed, "--json"]),
                         ("evaluate", [*packed, "--tasks", "stories", "--items", 1]),
                         ("generate", write),
                         ("generate", [*write, "--kv-bits", 16]),
                         ("generate", [*write, "--threads", 1])):
        fails(3, "the model's logits are not finite", "scales", module=module,
              args=["--model", "run", *args], cwd=tmp_path)
    fails(1, "activations may reach", module="generate",
          args=["--model", "run", "--prompt", "Once", "--engine", "integer"], cwd=tmp_path)


def test_a_cache_that_cannot_hold_a_value_says_so(stories, tmp_path):
    """Values times 1e7: float16 ends at 65,504. Of 32 bits no text changes, for the norm behind attention
    divides by the size."""
    shutil.copytree(stories / "run", tmp_path / "run")
    write = ["--model", "run", "--prompt", "Once", "--engine", "packed", "--tokens", 5, "--kv-bits"]
    before = command("generate", *write, 32, cwd=tmp_path).stdout
    rescale(tmp_path, "v", lambda scale: 1e7 * scale)
    assert command("generate", *write, 32, cwd=tmp_path).stdout == before
    for bits in (16, 4):
        fails(1, "float16, which ends at 65,504", "expected smaller keys and values", module="generate",
              args=[*write, bits], cwd=tmp_path)


def test_what_pack_and_the_engines_refuse(stories):
    folder = char_run(stories)
    train = ["--data", "plain.txt", "--linear", "float", "--out", "dense", *SMALL]
    assert command("train", *train, cwd=folder).returncode == 0
    fails(1, "linear = 'float'", "expected ternary or binary",
          module="pack", args=["--model", "dense"], cwd=folder)
    fails(1, "linear = 'float'", "expected ternary or binary",
          module="generate", args=["--model", "dense", "--prompt", "a", "--engine", "packed"], cwd=folder)
    fails(1, "absent", module="pack", args=["--model", "absent"], cwd=folder)
    assert command("pack", "--model", "char", "--float16", cwd=folder).returncode == 0
    for module, *args in (["pack"], ["generate", "--prompt", "a"]):
        fails(1, "float16.safetensors is a file", "expected the directory of its run",
              "size of the papers' baseline",
              module=module, args=["--model", "char/float16.safetensors", *args], cwd=folder)
    write = ["--model", "run", "--prompt", "a", "--engine", "integer"]
    for flag, value, word in (("--temperature", -1, "temperature"), ("--top-p", 0, "top_p"),
                              ("--top-p", 1.5, "top_p"), ("--top-k", -1, "top_k")):
        fails(1, word, module="generate", args=[*write, flag, value], cwd=folder)
    packed = folder / "char/packed.safetensors"
    packed.write_bytes(packed.read_bytes()[:-9])
    fails(1, "packed.safetensors", "truncated", module="evaluate",
          args=["--model", "char", "--engine", "packed"], cwd=folder)
    shutil.rmtree(folder / "char")
