import json

import pytest

from minibitnet.experiments.lines import as_text
from minibitnet.measure import results
from minibitnet.experiments import throughput
from minibitnet.measure.costs import Shape
from minibitnet.experiments.throughput import DENSE, PACKED
from minibitnet.nn.config import ModelConfig


@pytest.fixture(scope="module")
def result():
    c = ModelConfig(n_layers=1, context=32, d_model=64, n_heads=4, d_ffn=128)
    return {"config": {"block": "tiny", "positions": 32, "model": "tiny", "threads": "1 BLAS thread", "rounds": 2},
            "block": throughput.measure_block(c, (1, 3), rounds=2, seconds=0), "model": {"float": {"1": {"median": 5.0}}}}


def test_memory_decides_the_batch(result):
    """Weights of 163,840 and 12,544 bytes; a sequence of 32 tokens takes 2 * 64 * 32 * 4 = 16,384. With 16 sequences the dense block needs
    425,984 bytes; beside the packed one (425,984 - 12,544) / 16,384 = 25.2 fit."""
    b = result["block"]
    assert b["weights"] == {DENSE: 163_840, PACKED: 12_544} and b["sequence"] == 16_384 and b["budget"] == 425_984
    assert b["largest"] == {DENSE: 16, PACKED: 25}


def test_every_batch_is_timed_with_both(result):
    assert all(list(by) == ["1", "3", "16", "25"] for by in result["block"]["rates"].values())
    assert all(0 < r["least"] <= r["median"] <= r["most"] for by in result["block"]["rates"].values() for r in by.values())


def test_tokens_a_second_of_times():
    """A batch of 4 in 1, 2 and 4 s: 2 tokens a second, from 1 to 4."""
    assert throughput.rates({4: {"packed": [2, 1, 4]}}) == {"packed": {"4": {"median": 2, "least": 1, "most": 4}}}


def test_in_equal_memory_more_tokens_come_from_more_sequences(monkeypatch):
    """If a packed step of 25 sequences took as long as a dense one of 16, it would make 25/16 as many tokens; if all steps take one second,
    and three at batch 25, a third of that; at equal batch 1."""
    monkeypatch.setattr(throughput, "by_batch", lambda makers, batches, *_: {n: dict.fromkeys(makers, [3.0 if n == 25 else 1.0] * 2) for n in batches})
    b = throughput.measure_block(ModelConfig(n_layers=1, context=32, d_model=64, n_heads=4, d_ffn=128), (1,), rounds=2, seconds=0)
    assert b["in_equal_memory"]["median"] == pytest.approx(25 / 16 / 3) and b["at_equal_batch"]["median"] == 1


def test_in_the_committed_run_more_tokens_come_from_the_same_memory_in_every_round_but_not_in_proportion_to_the_batch():
    r = results.load("throughput")["result"]
    b = r["block"]
    assert b["largest"][PACKED] / b["largest"][DENSE] > b["in_equal_memory"]["most"] and b["in_equal_memory"]["least"] > 1


def test_the_row_in_words_and_in_a_figure(result, tmp_path):
    assert json.loads(json.dumps(result)) == result
    lines = list(map(as_text, throughput.in_words(result)))
    assert lines[1].startswith("70B in 160 GB: batch 16 against 176, 11.0 x | 16 against 25, 1.6 x (differs) | ")
    assert lines[0].startswith("333 against 2,977 tokens/s, 8.9 x | ")
    pytest.importorskip("matplotlib")
    assert throughput.figure(result, tmp_path / "t.png") and (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_a_whole_model_is_timed_too(monkeypatch):
    monkeypatch.setitem(throughput.MODELS, "3B", Shape(1, 64, 64, 64, 128, 4, 1))
    r = throughput.measure("3B", "tiny", (1,), (1, 2), rounds=1, seconds=0)
    assert set(r["config"]) == set(results.load("throughput")["result"]["config"]), "the committed run says all that this one does"
    assert list(r["model"]) == ["float", "packed"] and list(r["model"]["packed"]) == ["1", "2"] and json.loads(json.dumps(r)) == r
