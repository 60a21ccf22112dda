"""What evaluate scores: texts, documents of a known source, questions."""
import json
import re

import pytest

from running import SMALL, char_run, command, evaluated, fails

# ---- texts

def test_evaluate_scores_the_validation_split_of_the_own_corpus(home):
    """2,280 characters: the last 228 are for validation, 227 of them can be predicted; one byte each."""
    result = evaluated(cwd=home)
    last = json.loads((home / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert result["split"] == "validation" and result["tokens"] == 227 and result["engine"] == "float"
    assert result["floor"] is None
    assert result["loss"] == pytest.approx(last["val_loss"], rel=1e-6)
    assert result["bits_per_byte"] == pytest.approx(result["loss"] / 0.6931471805599453)
    assert result["ppl"] == pytest.approx(2.718281828**result["loss"])


def test_evaluate_scores_all_of_another_text(home):
    (home / "other.txt").write_text("the word was in the beginning", encoding="utf-8")
    result = evaluated("--data", "other.txt", cwd=home)
    assert result["split"] == "all" and result["tokens"] == 28
    of_best = ["--model", "run", "--data", "other.txt", "--checkpoint", "best"]
    assert "other, all: loss" in command("evaluate", *of_best, cwd=home).stdout


def test_a_trigram_model_is_counted_on_the_training_split(stories):
    r = evaluated("--trigram", cwd=stories)
    assert 0 < r["trigram_loss"] < 5.8
    assert r["floor_bits_per_byte"] == pytest.approx(r["floor"] * r["bits_per_byte"] / r["loss"])
    fails(1, "--trigram", "validation part",
          module="evaluate", args=["--model", "run", "--trigram", "--split", "all"], cwd=stories)


# ---- documents

def test_the_floor_of_stories_is_told_everywhere(stories):
    """Thirty steps end far above it; how near a model can come: test_floor.py."""
    out = (stories / "train.out").read_text(encoding="utf-8")
    assert "whose perplexity cannot be below" in out and "excess nats per story" in out
    assert "of 10 stories" in out
    lines = [json.loads(line) for line in (stories / "run/metrics.jsonl").read_text().splitlines()]
    result = evaluated(cwd=stories)
    assert lines[-1]["floor"] == result["floor"] and result["documents"] >= 10
    for line in (line for line in lines if "val_loss" in line):
        assert line["val_loss"] > line["floor"] > 0
    excess = (result["loss"] - result["floor"]) * result["tokens"] / result["documents"]
    assert result["excess_per_document"] == pytest.approx(excess)


def test_documents_that_were_trained_on_have_an_entropy_but_no_floor(stories):
    """A model may know them by heart, and then needs fewer nats. So it is for the training split, and where
    documents come twice: in a text of 60,000 bytes of stories, written twice, the last half repeats the
    first."""
    r = evaluated("--split", "train", cwd=stories)
    assert r["trained_on"] == r["documents"] > 0 and r["entropy"] > 0
    assert r["floor"] is r["floor_bits_per_byte"] is r["excess_per_document"] is None
    words = command("evaluate", "--model", "run", "--split", "train", cwd=stories).stdout
    assert "learnt by heart can cost less" in words and "the floor" not in words
    assert f"on {r['documents']} of the {r['documents']}," in words
    everything = evaluated("--split", "all", cwd=stories)
    assert everything["trained_on"] == r["documents"] < everything["documents"]
    ordinary = evaluated(cwd=stories)
    assert ordinary["trained_on"] == 0 and ordinary["entropy"] == ordinary["floor"]

    (stories / "twice.txt").write_text((stories / "s.txt").read_text() * 2)
    train = ["--data", "twice.txt", "--tokenizer", "bpe:300", "--out", "twice", *SMALL, "--val-fraction", 0.5]
    out = command("train", *train, cwd=stories).stdout
    no_floor = r"has no floor: (\d+) of its (\d+) documents are in the training text too"
    n, of = map(int, re.search(no_floor, out).groups())
    assert n == of == everything["documents"] and "the floor is" not in out
    lines = [json.loads(line) for line in (stories / "twice/metrics.jsonl").read_text().splitlines()]
    assert {line["floor"] for line in lines if "val_loss" in line} == {None}


def test_a_model_of_documents_begins_and_ends_them(stories):
    """An empty prompt is the beginning of a document; of two drawn tokens in 300, one may be its end."""
    result = command("generate", "--model", "run", "--prompt", "", "--tokens", 50, cwd=stories)
    assert result.returncode == 0 and result.stdout.strip() and "<|endoftext|>" not in result.stdout
    fails(1, "empty prompt",
          module="generate", args=["--model", "char", "--prompt", ""], cwd=char_run(stories))


# ---- questions

def test_questions_about_stories_are_answered(stories):
    r = evaluated("--tasks", "stories", "--items", 8, cwd=stories)
    assert r.keys() == {"pronoun", "owner", "place", "ending", "count"}
    for score in r.values():
        assert 0 <= score["accuracy"] <= 1 and score["chance"] == 0.25 and score["ceiling"] == 1
        assert score["n"] == 8 and 0 < score["named"] <= 1
    assert r["place"]["named"] == 1
    words = command("evaluate", "--model", "run", "--tasks", "stories", "--items", 2, cwd=stories).stdout
    assert "a guess among the choices whose (last) word the story has said" in words


def test_questions_of_a_file_are_answered(stories):
    (stories / "q.jsonl").write_text('{"query": "Once upon a", "choices": ["time", "zxqj"], "gold": 0}\n',
                                     encoding="utf-8")
    score = evaluated("--tasks", "q.jsonl", cwd=stories)["q"]
    assert score["n"] == 1 and score["chance"] == 0.5 and score["cut"] == 0
    assert score["ceiling"] is None and score["named"] is None
    assert "named: " not in command("evaluate", "--model", "run", "--tasks", "q.jsonl", cwd=stories).stdout
    (stories / "bad.jsonl").write_text('{"query": "Once upon a", "choices": ["time", "zxqj"], "gold": 2}\n',
                                       encoding="utf-8")
    fails(1, "bad.jsonl, line 1", "none of the 2 choices", module="evaluate",
          args=["--model", "run", "--tasks", "bad.jsonl"], cwd=stories)


@pytest.mark.parametrize("item, word", [
    ('{"query": "Once", "choices": ["a", " "], "gold": 0}', "at least two choices"),
    ('{"query": "Once", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": 3}',
     "none of the 2 choices"),
    ('{"query": "Once", "choices": ["a", "b"], "gold": true}', "none of the 2 choices"),
])
def test_odd_questions_are_one_line(item, word, stories):
    (stories / "odd.jsonl").write_text(item, encoding="utf-8")
    fails(1, "odd.jsonl, line 1", word, module="evaluate", args=["--model", "run", "--tasks", "odd.jsonl"],
          cwd=stories)


def test_questions_longer_than_the_context_or_without_one(stories):
    """The end of a long choice still counts, and that it was cut is told; a model without documents cannot
    begin with nothing."""
    for file, choices in (("long", ["Once upon a time " * 40, "zx " * 3]), ("short", ["the word", "the"])):
        item = {"query": "", "choices": choices, "gold": 0}
        (stories / f"{file}.jsonl").write_text(json.dumps(item), encoding="utf-8")
    score = evaluated("--tasks", "long.jsonl", cwd=stories)["long"]
    assert score["n"] == score["cut"] == 1
    words = command("evaluate", "--model", "run", "--tasks", "long.jsonl", cwd=stories).stdout
    assert "long: 1 of 1 items are longer than the model's context" in words
    fails(1, "empty context",
          module="evaluate", args=["--model", "char", "--tasks", "short.jsonl"], cwd=char_run(stories))
    fails(2, "--tasks", "do not go with it",
          module="evaluate", args=["--model", "run", "--tasks", "long.jsonl", "--trigram"], cwd=stories)


def test_a_number_of_questions_is_for_those_that_are_made(stories):
    for args in ([], ["--tasks", "q.jsonl"]):
        fails(2, "--items 8", "expected --tasks stories", module="evaluate",
              args=["--model", "run", "--items", 8, *args], cwd=stories)
