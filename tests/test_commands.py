"""The commands as a user runs them: processes of their own, what they print, what they leave, how they
fail."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from minibitnet.formats import checkpoint, safetensors

SMALL = ["--d-model", "16", "--n-layers", "1", "--n-heads", "2", "--context", "16", "--batch", "4",
         "--steps", "8", "--save-every", "2",
         "--eval-every", "4"]
TEXT = "In the beginning was the word, and the word was ternary.\n" * 40


def command(module, *args, cwd, **options):
    return subprocess.run([sys.executable, "-m", f"minibitnet.{module}", *map(str, args)], cwd=cwd,
                          capture_output=True, text=True,
                          encoding="utf-8", timeout=100, **options)


def fails(code, *words, module="train", args=(), cwd):
    """The command ends with this exit code and one line on standard error, without traceback, that has all
    the words."""
    result = command(module, *args, cwd=cwd)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == code, result.stderr
    assert len(lines) == 1 and "Traceback" not in result.stderr, result.stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.fixture(scope="module")
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
    """A copy of that folder to spoil."""
    return shutil.copytree(home, tmp_path / "copy")


# ---- what they do

def test_train_prints_a_sample_and_where_everything_is(home):
    out = (home / "train.out").read_text(encoding="utf-8")
    assert "A sample" in out and "validation loss" in out and "last.safetensors" in out
    assert {"config.json", "env.json", "metrics.jsonl", "last.safetensors", "prev.safetensors",
            "best.safetensors", "tokenizer.json"} <= \
        {p.name for p in (home / "run").iterdir()}
    assert set(json.loads((home / "run/env.json").read_text())) >= {"python", "numpy", "blas", "platform"}


def test_train_without_a_terminal_prints_plain_lines(home):
    err = (home / "train.err").read_text(encoding="utf-8")
    assert "step 8/8" in err and "ppl" in err and "tok/s" in err and "ETA 0 s" in err and "\r" not in err


def test_evaluate_scores_the_validation_split_of_the_own_corpus(home):
    """2,280 characters: the last 228 are for validation, 227 of them can be predicted; one byte each."""
    result = json.loads(command("evaluate", "--model", "run", "--json", cwd=home).stdout)
    last = json.loads((home / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert result["split"] == "validation" and result["tokens"] == 227 and result["engine"] == "float"
    assert result["floor"] is None
    assert result["loss"] == pytest.approx(last["val_loss"], rel=1e-6)
    assert result["bits_per_byte"] == pytest.approx(result["loss"] / 0.6931471805599453)
    assert result["ppl"] == pytest.approx(2.718281828**result["loss"])


def test_evaluate_scores_all_of_another_text(home):
    (home / "other.txt").write_text("the word was in the beginning", encoding="utf-8")
    result = json.loads(command("evaluate", "--model", "run", "--data", "other.txt", "--json",
                                cwd=home).stdout)
    assert result["split"] == "all" and result["tokens"] == 28
    assert "other, all: loss" in command("evaluate", "--model", "run", "--data", "other.txt",
                                         "--checkpoint", "best", cwd=home).stdout


def test_generate_repeats_itself_with_the_same_seed(home):
    runs = [command("generate", "--model", "run", "--prompt", "the word", "--tokens", 40, "--seed", seed,
                    cwd=home) for seed in (1, 1, 2)]
    assert runs[0].stdout == runs[1].stdout != runs[2].stdout
    assert runs[0].stdout.startswith("the word") and len(runs[0].stdout) == 8 + 40 + 1
    assert "tokens/s" in runs[0].stderr


def test_the_same_seed_writes_the_same_bytes_whatever_the_threads(home):
    command("train", "--data", "text.txt", "--out", "again", "--threads", 1, *SMALL, cwd=home)
    assert (home / "again/last.safetensors").read_bytes() == (home / "run/last.safetensors").read_bytes()


def test_a_config_file_makes_the_same_run_and_flags_win_over_it(here):
    assert command("train", "--config", "run/config.json", "--out", "two", cwd=here).returncode == 0
    assert (here / "two/last.safetensors").read_bytes() == (here / "run/last.safetensors").read_bytes()
    command("train", "--config", "run/config.json", "--seed", 5, "--out", "three", cwd=here)
    assert json.loads((here / "three/config.json").read_text())["train"]["seed"] == 5


def test_what_a_run_derived_is_derived_anew_with_other_flags(here):
    """The run's lr was 6e-3 sqrt(128/16), ternary's at width 16, its d_ffn 11/4 16; a float model of width
    32 gets its own: 3e-3 sqrt(128/32) = 6e-3, of whose peak the second half has two thirds, and 11/4 32 =
    88. What was chosen stays."""
    old = json.loads((here / "run/config.json").read_text())
    assert old["train"]["lr"] == pytest.approx(6e-3 * 8**0.5) and old["model"]["d_ffn"] == 44
    float_32 = ["--config", "run/config.json", "--linear", "float", "--d-model", 32]
    assert command("train", *float_32, "--steps", 12, "--out", "other", cwd=here).returncode == 0
    new = json.loads((here / "other/config.json").read_text())
    assert new["train"]["lr"] == pytest.approx(6e-3) and new["train"]["second_lr"] == pytest.approx(4e-3)
    assert new["model"]["d_ffn"] == 88
    # a quarter of 12 steps would be 3
    assert new["train"]["eval_every"] == 4 and new["train"]["batch"] == 4
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


def test_bytes_that_are_not_utf8_are_reported(here):
    (here / "dirty.txt").write_bytes(TEXT.encode() + b"\xff\xfe")
    result = command("train", "--data", "dirty.txt", *SMALL, cwd=here)
    assert result.returncode == 0 and "2 places were not UTF-8" in result.stdout
    assert (here / "runs/dirty-ternary").is_dir()


def test_the_list_of_commands_is_complete(home):
    result = subprocess.run([sys.executable, "-m", "minibitnet"], capture_output=True, text=True, cwd=home)
    for name in ("train", "evaluate", "generate", "pack", "data", "tokenizer", "reproduce", "bench"):
        assert f"minibitnet.{name}" in result.stdout
        assert command(name, "--help", cwd=home).returncode == 0


# ---- the tokenizer

def test_a_vocabulary_is_trained_shown_used_and_trained_on(here):
    """"In the beginning was the word, and the word was ternary." 40 times: the whole of " beginning"
    becomes a token."""
    made = command("tokenizer", "train", "--data", "text.txt", "--vocab-size", 280, "--out", "v.tiktoken",
                   cwd=here)
    assert made.returncode == 0 and "v.tiktoken: 280 tokens," in made.stdout
    assert "bytes per token on text" in made.stdout and made.stderr == ""
    shown = command("tokenizer", "show", "v.tiktoken", cwd=here)
    assert "280 tokens, end token 279" in shown.stdout and "' the'" in shown.stdout
    assert command("tokenizer", "encode", "--tokenizer", "v.tiktoken", "the <|endoftext|>",
                   cwd=here).stdout.count("\n") == 2
    # after -- no flags
    assert "'-' '-' 'a'" in command("tokenizer", "encode", "--tokenizer", "v.tiktoken", "--", "--abc",
                                    cwd=here).stdout
    assert command("train", "--data", "text.txt", "--tokenizer", "v.tiktoken", "--out", "file", *SMALL,
                   cwd=here).returncode == 0
    assert command("train", "--data", "text.txt", "--tokenizer", "bpe:280", "--out", "spec", *SMALL,
                   cwd=here).returncode == 0
    assert (here / "file/tokenizer.json").read_bytes() == (here / "spec/tokenizer.json").read_bytes()
    assert json.loads((here / "file/config.json").read_text())["model"]["vocab_size"] == 280
    assert "280 tokens" in command("tokenizer", "show", "file/tokenizer.json", cwd=here).stdout
    assert command("generate", "--model", "file", "--prompt", "né 🙂", "--tokens", 5,
                   cwd=here).returncode == 0


def test_mistakes_with_a_vocabulary_are_one_line(here):
    (here / "v.tiktoken").write_text("AA== 0\n")
    train = ["train", "--data", "text.txt", "--vocab-size"]
    for code, words, args in [
        (1, ["v.tiktoken:1", "byte 0x01 is none of them"], ["show", "v.tiktoken"]),
        (1, ["text.txt:1", "expected a token in base64"], ["encode", "--tokenizer", "text.txt", "the"]),
        (1, ["tokenizer 'absent'", "No such file"], ["show", "absent"]),
        (1, ["v.tiktoken is there already", "--overwrite"], [*train, "300", "--out", "v.tiktoken"]),
        (1, ["folder/v.tiktoken", "is not a directory"], [*train, "300", "--out", "folder/v.tiktoken"]),
        (1, ["'bpe:many'", "expected a vocabulary size from 257"], [*train, "many", "--out", "new.tiktoken"]),
        (1, ["no pair of tokens twice", "expected more text, or a vocabulary of at most"],
         [*train, "5000", "--out", "new.tiktoken"]),
        (1, ["a text", "is a directory"], ["train", "--data", ".", "--vocab-size", "300", "--out",
                                           "new.tiktoken"]),
        (2, ["--vocab-siz", "did you mean --vocab-size?", "tokenizer train --help"],
         ["train", "--vocab-siz", "3"]),
        (2, ["invalid choice: 'trian'"], ["trian"]),
    ]:
        fails(code, *words, module="tokenizer", args=args, cwd=here)
    assert not (here / "new.tiktoken").exists() and (here / "v.tiktoken").read_text() == "AA== 0\n"
    assert command("tokenizer", *train, "280", "--out", "v.tiktoken", "--overwrite", cwd=here).returncode == 0


# ---- documents of a known source, and the engines

@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    """A folder with a corpus of stories and a small finished run on it, made once."""
    folder = tmp_path_factory.mktemp("stories")
    assert command("data", "make", "stories", "--seed", 5, "--size", 60_000, "--out", "s.txt",
                   cwd=folder).returncode == 0
    result = command("train", "--data", "s.txt", "--tokenizer", "bpe:300", "--out", "run", "--d-model", 32,
                     "--n-layers", 1, "--n-heads", 2,
                     "--context", 96, "--batch", 4, "--steps", 30, "--eval-every", 15, cwd=folder)
    assert result.returncode == 0, result.stderr
    (folder / "train.out").write_text(result.stdout, encoding="utf-8")
    return folder


def test_the_floor_of_stories_is_told_everywhere(stories):
    """Thirty steps end far above it; how near a model can come: test_floor.py."""
    out = (stories / "train.out").read_text(encoding="utf-8")
    assert "whose perplexity cannot be below" in out and "excess nats per story" in out
    assert "of 10 stories" in out
    lines = [json.loads(line) for line in (stories / "run/metrics.jsonl").read_text().splitlines()]
    result = json.loads(command("evaluate", "--model", "run", "--json", cwd=stories).stdout)
    assert lines[-1]["floor"] == result["floor"] and result["documents"] >= 10
    for line in (line for line in lines if "val_loss" in line):
        assert line["val_loss"] > line["floor"] > 0
    assert result["excess_per_document"] == pytest.approx((result["loss"] - result["floor"])
                                                          * result["tokens"] / result["documents"])


def test_documents_that_were_trained_on_have_an_entropy_but_no_floor(stories):
    """A model may know them by heart, and then needs fewer nats. So it is for the training split, and where
    documents come twice: in a text of 60,000 bytes of stories, written twice, the last half repeats the
    first."""
    r = json.loads(command("evaluate", "--model", "run", "--split", "train", "--json", cwd=stories).stdout)
    assert r["trained_on"] == r["documents"] > 0 and r["entropy"] > 0
    assert r["floor"] is r["floor_bits_per_byte"] is r["excess_per_document"] is None
    words = command("evaluate", "--model", "run", "--split", "train", cwd=stories).stdout
    assert "learnt by heart can cost less" in words and "the floor" not in words
    assert f"on {r['documents']} of the {r['documents']}," in words
    everything = json.loads(command("evaluate", "--model", "run", "--split", "all", "--json",
                                    cwd=stories).stdout)
    assert everything["trained_on"] == r["documents"] < everything["documents"]
    ordinary = json.loads(command("evaluate", "--model", "run", "--json", cwd=stories).stdout)
    assert ordinary["trained_on"] == 0 and ordinary["entropy"] == ordinary["floor"]

    (stories / "twice.txt").write_text((stories / "s.txt").read_text() * 2)
    out = command("train", "--data", "twice.txt", "--tokenizer", "bpe:300", "--out", "twice", *SMALL,
                  "--val-fraction", 0.5, cwd=stories).stdout
    n, of = map(int, re.search(r"has no floor: (\d+) of its (\d+) documents are in the training text too",
                               out).groups())
    assert n == of == everything["documents"] and "the floor is" not in out
    assert {line["floor"]
            for line in map(json.loads, (stories / "twice/metrics.jsonl").read_text().splitlines())
            if "val_loss" in line} == {None}


def test_a_model_of_documents_begins_and_ends_them(stories):
    """An empty prompt is the beginning of a document; of two drawn tokens in 300, one may be its end."""
    result = command("generate", "--model", "run", "--prompt", "", "--tokens", 50, cwd=stories)
    assert result.returncode == 0 and result.stdout.strip() and "<|endoftext|>" not in result.stdout
    fails(1, "empty prompt", module="generate", args=["--model", "char", "--prompt", ""],
          cwd=char_run(stories))


def char_run(folder):
    """A run without documents beside it."""
    (folder / "plain.txt").write_text(TEXT, encoding="utf-8")
    if not (folder / "char").exists():
        assert command("train", "--data", "plain.txt", "--out", "char", *SMALL, cwd=folder).returncode == 0
    return folder


def test_the_packed_engine_scores_as_the_float_engine_does(stories):
    float_engine = json.loads(command("evaluate", "--model", "run", "--json", cwd=stories).stdout)
    packed = json.loads(command("evaluate", "--model", "run", "--engine", "packed", "--compare", "--json",
                                cwd=stories).stdout)
    assert packed["engine"] == "packed" and packed["loss"] == float_engine["loss"]
    assert packed["step"] == float_engine["step"] == 30
    assert packed["against_float"]["identical"] == 1 and packed["against_float"]["moved"] == 0
    assert abs(packed["token_by_token"]["loss"] - packed["token_by_token"]["reference_loss"]) < 1e-3


def test_an_engine_is_compared_with_the_checkpoint_it_was_packed_from(stories, tmp_path):
    shutil.copytree(stories / "run", tmp_path / "run")
    fails(2, "--engine packed", "--checkpoint", module="evaluate",
          args=["--model", "run", "--engine", "packed", "--checkpoint", "best"], cwd=stories)
    assert command("pack", "--model", "run", cwd=tmp_path).returncode == 0
    compare = ["--model", "run", "--engine", "packed", "--data", str(stories / "s.txt"), "--compare"]
    last, prev, best = (tmp_path / f"run/{name}.safetensors" for name in ("last", "prev", "best"))
    # a run that went on: the checkpoint of step 30 is the one before
    os.replace(last, prev)
    later = checkpoint.load(prev)
    later.step = 33
    checkpoint.save(last, later)
    best.unlink()
    result = command("evaluate", *compare, "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["against_float"]["identical"] == 1, result.stderr
    prev.write_bytes(b"")                                              # and then one that went on for longer
    fails(1, "packed.safetensors is of step 30, and no checkpoint is (last.safetensors is of step 33; ",
          "prev.safetensors: the file is empty",
          module="evaluate", args=compare, cwd=tmp_path)
    last.unlink(), prev.unlink()
    fails(1, "packed.safetensors is of step 30, and no checkpoint is (there is none)", module="evaluate",
          args=compare, cwd=tmp_path)


def test_a_comparison_without_its_checkpoint_is_refused_before_the_text_is_scored(stories, monkeypatch):
    from minibitnet import evaluate
    monkeypatch.setattr(evaluate, "same_step", lambda path, model: 1 / 0)
    monkeypatch.setattr(evaluate, "mean_loss", lambda *args: pytest.fail("the text was scored first"))
    monkeypatch.chdir(stories)
    with pytest.raises(ZeroDivisionError):
        evaluate.main(["--model", "run", "--engine", "packed", "--compare", "--threads", "1"])


def test_the_integer_engine_is_compared_with_the_float_engine(stories):
    r = json.loads(command("evaluate", "--model", "run", "--engine", "integer", "--compare", "--json",
                           cwd=stories).stdout)
    a, t = r["against_float"], r["token_by_token"]
    assert abs(a["loss"] - a["reference_loss"]) < 0.01 and a["agree"] > 0.98 and a["agree_clear"] >= 0.999
    assert a["targets"] == r["tokens"]
    assert t["identical"] == 1 and t["loss"] == t["reference_loss"]
    words = command("evaluate", "--model", "run", "--engine", "integer", "--compare", cwd=stories).stdout
    assert "beside the float engine" in words and "move by more than 0.001 nats at 0.0%" in words
    assert "why they move: a value close to a rounding tie" in words


@pytest.mark.parametrize("engine", ["packed", "integer"])
def test_each_engine_writes(engine, stories):
    first, again = (command("generate", "--model", "run", "--prompt", "Once", "--tokens", 20, "--engine",
                            engine, "--top-k", 40,
                            "--top-p", 0.9, cwd=stories) for _ in "ab")
    assert first.returncode == 0 and first.stdout == again.stdout and first.stdout.startswith("Once")
    assert "tokens/s" in first.stderr


def test_generate_stops_before_the_stop_text(home):
    """Also where it comes in pieces, as it does from a character tokenizer."""
    whole = command("generate", "--model", "run", "--prompt", "the word", "--tokens", 60, cwd=home).stdout
    stop = whole[30:34]
    part = command("generate", "--model", "run", "--prompt", "the word", "--tokens", 60, "--stop", stop,
                   cwd=home).stdout
    assert part == "the word" + whole[8:8 + whole[8:].index(stop)] + "\n"


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_the_packed_engine_writes_with_smaller_caches(bits, stories):
    result = command("generate", "--model", "run", "--prompt", "Once", "--tokens", 20, "--engine", "packed",
                     "--kv-bits", bits, cwd=stories)
    assert result.returncode == 0 and len(result.stdout) > 10
    fails(2, "--kv-bits", "--engine packed", module="generate",
          args=["--model", "run", "--prompt", "a", "--kv-bits", bits], cwd=stories)


def test_a_packed_model_runs_without_its_checkpoints(stories, tmp_path):
    for name in ("packed.safetensors", "tokenizer.json"):
        shutil.copy(stories / "run" / name, tmp_path / name)
    assert command("generate", "--model", ".", "--prompt", "", "--engine", "integer", "--tokens", 5,
                   cwd=tmp_path).returncode == 0
    fails(1, "has no checkpoint (last.safetensors)", "--engine packed", module="generate",
          args=["--model", ".", "--prompt", "a"], cwd=tmp_path)


def test_questions_about_stories_are_answered(stories):
    r = json.loads(command("evaluate", "--model", "run", "--tasks", "stories", "--items", 8, "--json",
                           cwd=stories).stdout)
    assert r.keys() == {"pronoun", "owner", "place", "ending", "count"}
    for score in r.values():
        assert 0 <= score["accuracy"] <= 1 and score["chance"] == 0.25 and score["ceiling"] == 1
        assert score["n"] == 8 and 0 < score["named"] <= 1
    assert r["place"]["named"] == 1
    assert "a guess among the choices whose (last) word the story has said" in command("evaluate",
                                                                                       "--model", "run",
                                                                                       "--tasks", "stories",
                                                                                       "--items", 2,
                                                                                       cwd=stories).stdout


def test_questions_of_a_file_are_answered(stories):
    (stories / "q.jsonl").write_text('{"query": "Once upon a", "choices": ["time", "zxqj"], "gold": 0}\n',
                                     encoding="utf-8")
    r = json.loads(command("evaluate", "--model", "run", "--tasks", "q.jsonl", "--json", cwd=stories).stdout)
    assert r["q"]["n"] == 1 and r["q"]["chance"] == 0.5 and r["q"]["cut"] == 0 and r["q"]["ceiling"] is None
    assert r["q"]["named"] is None
    assert "named: " not in command("evaluate", "--model", "run", "--tasks", "q.jsonl", cwd=stories).stdout
    (stories / "bad.jsonl").write_text('{"query": "Once upon a", "choices": ["time", "zxqj"], "gold": 2}\n',
                                       encoding="utf-8")
    fails(1, "bad.jsonl, line 1", "none of the 2 choices", module="evaluate",
          args=["--model", "run", "--tasks", "bad.jsonl"], cwd=stories)


@pytest.mark.parametrize("item, word",
                         [('{"query": "Once", "choices": ["a", " "], "gold": 0}', "at least two choices"),
                                        ('{"query": "Once", "choices": {"text": ["a", "b"], "label": ["1", '
                                         '"2"]}, "answerKey": 3}',
                                         "none of the 2 choices"),
                                        ('{"query": "Once", "choices": ["a", "b"], "gold": true}',
                                         "none of the 2 choices")])
def test_odd_questions_are_one_line(item, word, stories):
    (stories / "odd.jsonl").write_text(item, encoding="utf-8")
    fails(1, "odd.jsonl, line 1", word, module="evaluate", args=["--model", "run", "--tasks", "odd.jsonl"],
          cwd=stories)


def test_questions_longer_than_the_context_or_without_one(stories):
    """The end of a long choice still counts, and that it was cut is told; a model without documents cannot
    begin with nothing."""
    (stories / "long.jsonl").write_text(json.dumps({"query": "",
                                                    "choices": ["Once upon a time " * 40, "zx " * 3],
                                                    "gold": 0}), encoding="utf-8")
    r = json.loads(command("evaluate", "--model", "run", "--tasks", "long.jsonl", "--json",
                           cwd=stories).stdout)["long"]
    assert r["n"] == r["cut"] == 1
    assert "long: 1 of 1 items are longer than the model's context" in command("evaluate", "--model", "run",
                                                                               "--tasks", "long.jsonl",
                                                                               cwd=stories).stdout
    (stories / "short.jsonl").write_text(json.dumps({"query": "", "choices": ["the word", "the"],
                                                     "gold": 0}), encoding="utf-8")
    fails(1, "empty context", module="evaluate", args=["--model", "char", "--tasks", "short.jsonl"],
          cwd=char_run(stories))
    fails(2, "--tasks", "do not go with it", module="evaluate",
          args=["--model", "run", "--tasks", "long.jsonl", "--trigram"], cwd=stories)


def test_a_number_of_questions_is_for_those_that_are_made(stories):
    for args in ([], ["--tasks", "q.jsonl"]):
        fails(2, "--items 8", "expected --tasks stories", module="evaluate",
              args=["--model", "run", "--items", 8, *args], cwd=stories)


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_comparison_shows_on_a_terminal_how_far_it_is(stories):
    import termios
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen([sys.executable, "-m", "minibitnet.evaluate", "--model", "run", "--engine",
                                "packed", "--compare"], cwd=stories,
                               stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1000):
            shown += part
    # how Linux says that the other end was closed
    except OSError:
        pass
    os.close(ours)
    assert process.wait(60) == 0
    for bar in (b"beside the float engine", b"token by token"):
        assert re.search(bar + rb": +0%.* 0/\d+ ", shown), shown


def test_a_trigram_model_is_counted_on_the_training_split(stories):
    r = json.loads(command("evaluate", "--model", "run", "--trigram", "--json", cwd=stories).stdout)
    assert 0 < r["trigram_loss"] < 5.8
    assert r["floor_bits_per_byte"] == pytest.approx(r["floor"] * r["bits_per_byte"] / r["loss"])
    fails(1, "--trigram", "validation split", module="evaluate",
          args=["--model", "run", "--trigram", "--split", "all"], cwd=stories)


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
    assert "2.00 bits for each" in command("pack", "--model", "run", "--dtype", "bfloat16",
                                           cwd=stories).stdout
    assert command("evaluate", "--model", "run", "--engine", "packed", cwd=stories).returncode == 0
    command("pack", "--model", "run", cwd=stories)                     # as the other tests expect it


def test_a_packed_file_of_another_run_is_refused(stories, tmp_path):
    shutil.copytree(stories / "run", tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["train"]["seed"] += 1
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    fails(1, "packed.safetensors is of another run", module="generate",
          args=["--model", "run", "--prompt", "a", "--engine", "packed"], cwd=tmp_path)


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
    score, write = ["--data", str(stories / "s.txt"), "--engine",
                    "packed"], ["--prompt", "Once", "--engine", "packed", "--tokens", 5]
    for module, args in (("evaluate", score), ("evaluate", [*score, "--json"]),
                         ("evaluate", [*score, "--tasks", "stories", "--items", 1][2:]),
                         ("generate", write), ("generate", [*write, "--kv-bits", 16]),
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
    assert command("train", "--data", "plain.txt", "--linear", "float", "--out", "dense", *SMALL,
                   cwd=folder).returncode == 0
    fails(1, "linear = 'float'", "expected ternary or binary", module="pack", args=["--model", "dense"],
          cwd=folder)
    fails(1, "linear = 'float'", "expected ternary or binary", module="generate",
          args=["--model", "dense", "--prompt", "a", "--engine", "packed"], cwd=folder)
    fails(1, "absent", module="pack", args=["--model", "absent"], cwd=folder)
    assert command("pack", "--model", "char", "--float16", cwd=folder).returncode == 0
    for module, *args in (["pack"], ["generate", "--prompt", "a"]):
        fails(1, "float16.safetensors is a file", "expected the directory of its run",
              "size of the papers' baseline", module=module,
              args=["--model", "char/float16.safetensors", *args], cwd=folder)
    for flag, value, word in (("--temperature", -1, "temperature"), ("--top-p", 0, "top_p"),
                              ("--top-p", 1.5, "top_p"), ("--top-k", -1, "top_k")):
        fails(1, word, module="generate", args=["--model", "run", "--prompt", "a", "--engine", "integer",
                                                flag, value], cwd=folder)
    packed = folder / "char/packed.safetensors"
    packed.write_bytes(packed.read_bytes()[:-9])
    fails(1, "packed.safetensors", "truncated", module="evaluate",
          args=["--model", "char", "--engine", "packed"], cwd=folder)
    shutil.rmtree(folder / "char")


# ---- interruption

def start_long(folder):
    """A run of 10,000 small steps, as a process; returns when it has made its first checkpoint."""
    process = subprocess.Popen([sys.executable, "-m", "minibitnet.train", "--data", "text.txt", "--out",
                                "long", *SMALL, "--steps", "10000"],
                               cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(500):
        if (folder / "long/prev.safetensors").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None, process.stderr.read()
    return process


@pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_finishes_the_step_and_saves(number, code, here):
    process = start_long(here)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in err
    step = checkpoint.load(here / "long/last.safetensors").step
    assert (f"interrupted after step {step:,}; saved. Go on with: "
            f"python -m minibitnet.train --resume long") in err


@pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")
def test_killed_runs_resume_to_the_bytes_of_the_uninterrupted_one(here):
    """Five kills -9 at different moments, a resume after each, then the rest of the way: the same file as
    without kills."""
    flags = ["--data", "text.txt", *SMALL, "--steps", "400", "--save-every", "1"]
    assert command("train", "--out", "whole", *flags, cwd=here).returncode == 0
    args, seen = ["--out", "killed", *flags], set()
    for pause in (0.5, 0.65, 0.8, 0.55, 0.7):
        process = subprocess.Popen([sys.executable, "-m", "minibitnet.train", *args], cwd=here,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(pause)
        process.kill()
        process.wait()
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


def test_resuming_a_finished_run_says_so_and_exits_0(home):
    result = command("train", "--resume", "run", cwd=home)
    assert result.returncode == 0 and "run is finished: 8 steps of 8" in result.stdout


def test_a_second_process_may_not_write_to_the_same_run(here):
    process = start_long(here)
    try:
        fails(1, "long", "another process is writing", args=["--resume", "long"], cwd=here)
    finally:
        process.kill()
        process.communicate()


def test_a_closed_pipe_ends_quietly(here):
    """`generate | head -c 1`: no traceback."""
    process = subprocess.Popen([sys.executable, "-m", "minibitnet.generate", "--model", "run", "--prompt",
                                "the", "--tokens", "2000"], cwd=here,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.read(1)
    process.stdout.close()
    assert "Traceback" not in process.stderr.read() and process.wait() == 141
    process.stderr.close()


# ---- tiny runs

TINY = ["--tiny", "--data", "text.txt", *SMALL]


def test_a_finished_tiny_run_is_replaced_and_an_unfinished_one_is_not(here):
    assert command("train", *TINY, cwd=here).returncode == 0
    assert command("train", *TINY, "--seed", 1, cwd=here).returncode == 0
    assert json.loads((here / "runs/tiny/config.json").read_text())["train"]["seed"] == 1
    (here / "runs/tiny/last.safetensors").unlink()            # what prev holds is one save before the end
    fails(1, "unfinished run", "--resume", "--overwrite", args=TINY, cwd=here)
    assert command("train", *TINY, "--overwrite", cwd=here).returncode == 0


def test_the_tiny_runs_learning_rate_is_for_its_own_arm_and_width(here):
    """With --d-model 16 a --tiny run has the learning rate that any run of this width has; with its own
    width, its own."""
    rates = []
    for flags in (SMALL, ["--tiny", *SMALL], ["--tiny", *SMALL, "--d-model", 128, "--steps", 1]):
        assert command("train", "--data", "text.txt", "--out", f"rate-{len(rates)}", *flags,
                       cwd=here).returncode == 0
        rates.append(json.loads((here / f"rate-{len(rates)}/config.json").read_text())["train"]["lr"])
    assert rates[0] == rates[1] != rates[2] == 8e-3


# ---- mistakes

MISTAKES = {
    "a corpus that is not there": (["--data", "absent.txt"], ["absent.txt", "does not exist"]),
    "a corpus that is a folder": (["--data", "."], ["is a directory"]),
    "an empty corpus": (["--data", "empty.txt"], ["empty.txt", "is empty"]),
    "a corpus shorter than the context": (["--data", "short.txt"],
                                          ["12 tokens", "10 of them", "at least 17"]),
    "heads that do not divide the width": (["--n-heads", "3"], ["n_heads = 3", "d_model = 16"]),
    "a run that is there": (["--out", "run"], ["run holds a finished run", "--resume run", "--overwrite"]),
    "a file where the run should go": (["--out", "text.txt/run"], ["text.txt/run", "a file is in the way"]),
    "a config that is not there": (["--config", "absent.json"], ["absent.json", "is not there"]),
    "a config with an unknown option": (["--config", "unknown.json"],
                                        ["unknown option 'd_modle'", "'d_model'"]),
    "a config with a word for a number": (["--config", "word.json"], ["d_model = \"big\"", "expected int"]),
    "a config that is no JSON": (["--config", "text.txt"], ["text.txt", "expected a JSON object"]),
    "an absent tokenizer file": (["--tokenizer", "bpe"], ["tokenizer 'bpe'", "expected char, byte"]),
    "a vocabulary that is not the tokenizer's": (["--vocab-size", "7"], ["vocab_size = 7"]),
    "a step beyond any memory": (["--batch", "1000000"], ["batch = 1,000,000", "mistyped"]),
    "a corpus without a name": (["--data", ""], ["no corpus was named"]),
    "a model beyond any memory": (["--d-model", "65536", "--n-layers", "1000"], ["parameters", "mistyped"]),
    "a resume of nothing": (["--resume", "absent"], ["absent/config.json is not there"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_1(mistake, here):
    (here / "empty.txt").write_bytes(b"")
    (here / "short.txt").write_text("a short text")
    (here / "unknown.json").write_text('{"model": {"d_modle": 3}}')
    (here / "word.json").write_text('{"model": {"d_model": "big"}}')
    args, words = MISTAKES[mistake]
    before = (here / "run/last.safetensors").read_bytes()
    small = [] if "--resume" in args or "--config" in args else SMALL
    data = [] if "--data" in args or "--resume" in args else ["--data", "text.txt"]
    fails(1, *words, args=[*data, *small, *args], cwd=here)
    assert (here / "run/last.safetensors").read_bytes() == before


def test_usage_errors_exit_2_and_name_the_nearest_flag(home):
    fails(2, "--d-modle", "did you mean --d-model?", args=["--d-modle", "8"], cwd=home)
    fails(2, "--modl", "did you mean --model?", module="generate", args=["--modl", "run"], cwd=home)
    fails(2, "--temp", "did you mean --temperature?", module="generate",
          args=["--model", "run", "--prompt", "a", "--temp", "0"], cwd=home)
    fails(2, "invalid choice: 'trinary'", args=["--linear", "trinary"], cwd=home)
    fails(2, "invalid int value: 'x'", args=["--steps", "x"], cwd=home)
    fails(2, "--tokens: 'x': expected a whole number from 1 upwards", module="generate",
          args=["--model", "run", "--prompt", "a", "--tokens", "x"], cwd=home)
    fails(2, "--tiny", "do not go with it", args=["--resume", "run", "--tiny"], cwd=home)


def test_a_resumed_run_keeps_its_configuration(home):
    fails(1, "--steps 99", "has 8", args=["--resume", "run", "--steps", "99"], cwd=home)
    assert command("train", "--resume", "run", "--steps", "8", "--threads", "1", cwd=home).returncode == 0


def test_a_changed_corpus_is_not_resumed(here):
    (here / "text.txt").write_text(TEXT + "!", encoding="utf-8")
    fails(1, "text.txt", "sha256 differs", args=["--resume", "run"], cwd=here)
    fails(1, "'text'", "sha256 differs", "--data", module="evaluate", args=["--model", "run"], cwd=here)
    fails(1, "1 of 2,281 characters are unknown", "'!'", module="evaluate",
          args=["--model", "run", "--data", "text.txt"], cwd=here)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(damage, here):
    last = here / "run/last.safetensors"
    raw = last.read_bytes()
    last.write_bytes({"truncated": raw[:-5], "foreign": b"PK\x03\x04" + bytes(50), "empty": b""}[damage])
    result = command("train", "--resume", "run", cwd=here)
    assert result.returncode == 0 and "note: run/last.safetensors: " in result.stderr
    assert "using prev.safetensors of step 6" in result.stderr
    assert last.read_bytes() == raw                                    # steps 7 and 8 were made again
    last.write_bytes(b"")
    assert "using prev.safetensors" in command("generate", "--model", "run", "--prompt", "the",
                                               cwd=here).stderr
    (here / "run/prev.safetensors").write_bytes(b"")
    fails(1, "last.safetensors", module="generate", args=["--model", "run", "--prompt", "the"], cwd=here)


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


def test_a_run_goes_on_where_its_text_has_moved_to(here):
    (here / "run/last.safetensors").unlink()
    (here / "text.txt").rename(here / "moved.txt")
    fails(1, "text.txt", "name it with --data", args=["--resume", "run"], cwd=here)
    assert command("train", "--resume", "run", "--data", "moved.txt", cwd=here).returncode == 0


def test_a_model_is_scored_where_its_text_is_only_if_it_is_named(here):
    """The run remembers text.txt, which means another file in another folder; there too it is known by its
    sha256."""
    (here / "elsewhere").mkdir()
    fails(1, "'text.txt' does not exist", "name it with --data", module="evaluate",
          args=["--model", "../run"], cwd=here / "elsewhere")
    result = command("evaluate", "--model", "../run", "--data", "../text.txt", "--json",
                     cwd=here / "elsewhere")
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
    assert hashlib.sha256((here / "run/tokenizer.json").read_bytes()).hexdigest() == \
        json.loads((here / "run/config.json").read_text())["corpus"]["tokenizer_sha256"]
    other_characters(here)
    fails(1, "run/tokenizer.json is not the tokenizer that the model was trained with",
          args=["--resume", "run"], cwd=here)
    for engine in ("float", "packed", "integer"):
        fails(1, "run/tokenizer.json is not the tokenizer", "sha256 differs", module="generate",
              args=["--model", "run", "--prompt", "word", "--engine", engine], cwd=here)


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
        result = command("generate", "--model", "run", "--prompt", "xpse", "--tokens", 5, "--engine",
                         engine, cwd=here)
        assert result.returncode == 0, result.stderr


def test_overwriting_onto_a_full_disk_keeps_the_old_run(here):
    import resource
    old = (here / "run/last.safetensors").read_bytes()
    result = subprocess.run([sys.executable, "-m", "minibitnet.train", "--data", "text.txt", "--out", "run",
                             "--overwrite", *SMALL], cwd=here,
                            capture_output=True, text=True,
                            preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                                                resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))))
    assert result.returncode == 1 and (here / "run/last.safetensors").read_bytes() == old


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_closed_streams_are_no_error(here):
    for closed in (">&-", "2>&-"):
        result = subprocess.run(f"{sys.executable} -m minibitnet.generate --model run --prompt the --tokens "
                                f"3 {closed}", shell=True, cwd=here,
                                capture_output=True)
        assert result.returncode == 0 and b"Traceback" not in result.stderr


def test_generate_and_evaluate_refuse_what_they_cannot_use(here):
    def refused(*args, words):
        fails(1, *words, module="generate", args=["--model", "run", *args], cwd=here)
    refused("--prompt", "Ünknown", words=["2 of 7 characters are unknown to this model's character "
                                          "tokenizer", "'Ü'"])
    refused("--prompt", "", words=["an empty prompt"])
    refused("--prompt", "the", "--temperature", "-1", words=["temperature = -1"])
    refused("--prompt", "the", "--top-p", "0", words=["top_p = 0"])
    refused("--prompt", "the", "--top-k", "-2", words=["top_k = -2"])
    refused("--prompt", "the", "--seed", "-1", words=["seed = -1"])
    fails(1, "absent is not there", module="generate", args=["--model", "absent", "--prompt", "x"], cwd=here)
    fails(1, "text.txt is not a directory", module="evaluate", args=["--model", "text.txt"], cwd=here)
    fails(2, "--prompt", module="generate", args=["--model", "run"], cwd=here)
    (here / "tokenizer.json").write_text("{}")
    shutil.copy(here / "tokenizer.json", here / "run/tokenizer.json")
    fails(1, "tokenizer.json", module="evaluate", args=["--model", "run"], cwd=here)


def test_a_text_without_text_is_not_said_to_be_for_training(here):
    (here / "empty.txt").write_bytes(b"")
    fails(1, "corpus 'empty.txt' is empty: expected text", module="evaluate",
          args=["--model", "run", "--data", "empty.txt"], cwd=here)
    assert "train on" not in command("evaluate", "--model", "run", "--data", "empty.txt", cwd=here).stderr


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


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX file-size limits")
def test_a_full_disk_is_one_line_and_keeps_what_was_saved(here):
    """Files may grow to 1 kB only: the first checkpoint fails; config and tokenizer, written before, stay."""
    import resource
    result = subprocess.run([sys.executable, "-m", "minibitnet.train", "--data", "text.txt", "--out",
                             "full", *SMALL], cwd=here,
                            capture_output=True, text=True,
                            preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                                                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))))
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "cannot write" in lines[-1] and "bytes needed" in lines[-1] and "safetensors" in lines[-1]
    assert (here / "full/config.json").exists() and not list((here / "full").glob("*.tmp-*"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that refuses this user")
def test_a_read_only_folder_is_one_line(here):
    (here / "locked").mkdir(mode=0o500)
    fails(1, "locked", args=["--data", "text.txt", "--out", "locked/run", *SMALL], cwd=here)
