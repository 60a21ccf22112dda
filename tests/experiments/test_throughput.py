"""Tokens a second in equal memory: how many sequences it holds, and what the times make of them."""
import json

import pytest

from minibitnet.experiments import throughput
from minibitnet.experiments.lines import as_text
from minibitnet.experiments.throughput import DENSE, PACKED
from minibitnet.measure import results
from minibitnet.measure.costs import Shape
from minibitnet.nn.config import ModelConfig

SMALL = ModelConfig(n_layers=1, context=32, d_model=64, n_heads=4, d_ffn=128)


@pytest.fixture(scope="module")
def result():
    config = {"block": "tiny", "positions": 32, "model": "tiny", "threads": "1 BLAS thread", "rounds": 2}
    return {"config": config,
            "block": throughput.measure_block(SMALL, (1, 3), rounds=2, seconds=0),
            "model": {"float": {"1": {"median": 5.0}}}}


def test_memory_decides_the_batch(result):
    """Weights of 163,840 and 12,544 bytes; a sequence of 32 tokens takes 2 * 64 * 32 * 4 = 16,384. With 16
    sequences the dense block needs 425,984 bytes; beside the packed one (425,984 - 12,544) / 16,384 = 25.2
    fit."""
    b = result["block"]
    assert b["weights"] == {DENSE: 163_840, PACKED: 12_544}
    assert b["sequence"] == 16_384 and b["budget"] == 425_984
    assert b["largest"] == {DENSE: 16, PACKED: 25}


def test_every_batch_is_timed_with_both(result):
    for by_batch in result["block"]["rates"].values():
        assert list(by_batch) == ["1", "3", "16", "25"]
        assert all(0 < r["least"] <= r["median"] <= r["most"] for r in by_batch.values())


def test_tokens_a_second_of_times():
    """A batch of 4 in 1, 2 and 4 s: 2 tokens a second, from 1 to 4."""
    rates = throughput.rates({4: {"packed": [2, 1, 4]}})
    assert rates == {"packed": {"4": {"median": 2, "least": 1, "most": 4}}}


def test_in_equal_memory_more_tokens_come_from_more_sequences(monkeypatch):
    """If a packed step of 25 sequences took as long as a dense one of 16, it would make 25/16 as many tokens.
    If all steps take one second, and three at batch 25, a third of that; at equal batch 1."""
    def took(makers, batches, *_):
        return {n: dict.fromkeys(makers, [3.0 if n == 25 else 1.0] * 2) for n in batches}
    monkeypatch.setattr(throughput, "by_batch", took)
    b = throughput.measure_block(SMALL, (1,), rounds=2, seconds=0)
    assert b["in_equal_memory"]["median"] == pytest.approx(25 / 16 / 3)
    assert b["at_equal_batch"]["median"] == 1


def test_in_the_committed_run_equal_memory_makes_more_tokens_but_not_in_proportion_to_the_batch():
    """In every round."""
    b = results.load("throughput")["result"]["block"]
    assert b["largest"][PACKED] / b["largest"][DENSE] > b["in_equal_memory"]["most"]
    assert b["in_equal_memory"]["least"] > 1


def test_the_row_in_words_and_in_a_figure(result, tmp_path):
    assert json.loads(json.dumps(result)) == result
    lines = list(map(as_text, throughput.in_words(result)))
    assert lines[1].startswith("70B in 160 GB: batch 16 against 176, 11.0 x | "
                               "16 against 25, 1.6 x (differs) | ")
    assert lines[0].startswith("333 against 2,977 tokens/s, 8.9 x | ")
    pytest.importorskip("matplotlib")
    assert throughput.figure(result, tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_a_whole_model_is_timed_too(monkeypatch):
    monkeypatch.setitem(throughput.MODELS, "3B", Shape(1, 64, 64, 64, 128, 4, 1))
    r = throughput.measure("3B", "tiny", (1,), (1, 2), rounds=1, seconds=0)
    committed = results.load("throughput")["result"]["config"]
    assert set(r["config"]) == set(committed), "the committed run says all that this one does"
    assert list(r["model"]) == ["float", "packed"] and list(r["model"]["packed"]) == ["1", "2"]
    assert json.loads(json.dumps(r)) == r
