"""Quantizing after training, in miniature: what the words say is what the numbers say."""
import json

import numpy as np
import pytest

from minibitnet.experiments import after_training, miniatures
from minibitnet.experiments.after_training import BY_SIZE, OURS, TABLE
from minibitnet.experiments.lines import as_text


def said(in_words, result):
    return list(map(as_text, in_words(json.loads(json.dumps(result)))))


def table(**others):
    """A result in which every way of few bits is lost, but for others."""
    means = {"Transformer": 2.0, "BitNet b1.58, trained": 5.0, "BitNet, trained": 9.0}
    means |= {what: 100.0 if bits <= 2 else 10.0 if bits == 4 else 2.1
              for what, (_, bits, _) in (TABLE | OURS).items()} | others
    return {"config": {"width": 32, "steps": 150, "seeds": [0]},
            "rows": [{"what": what, "excess": [mean], "right": [0.5]} for what, mean in means.items()]}


def test_the_words_of_the_table():
    first, *rest = said(after_training.ptq_in_words, table())
    assert "trained: binary 9.0, ternary 5.0 nats a story above the floor, floats 2.0" in first
    assert "binary is better than 4 of the 4 ways of 1 and 2 bits, and than 3 of the 3 of 4 bits" in first
    assert "(differs)" in first, "9.0 is not near 2.1"
    near = said(after_training.ptq_in_words, table(**{"BitNet, trained": 4.0}))
    assert "(differs)" not in near[0] and "costs 100 nats at best, ternary in training 5.0" in near[-1]
    for start in ("QuIP, W2A16: perplexity 70.43 | 100.0 nats a story; 50% right", "GPTQ, W1.58A16 | 100.0"):
        assert any(line.startswith(start) for line in rest)
    for better in ({"QuIP, W2A16": 3.0}, {"GPTQ, W4A16": 3.0}):
        assert "(differs)" in said(after_training.ptq_in_words, table(**{"BitNet, trained": 4.0} | better))[0]


def test_every_line_of_the_papers_table_is_there():
    printed = after_training.paper.table("b1_table_3").rows
    ours = set(after_training.PRINTED.values())
    assert ours <= set(printed) and set(printed) - ours == {("16", "Random")}


def test_the_words_of_sizes():
    def row(d, ternary, few):
        return {"d": d, "float": [1.0], "ternary": [ternary],
                **{what: [few if bits <= 2 else 1.1] for what, (_, bits, _) in BY_SIZE.items()}}
    result = {"config": {"steps": 150, "seeds": [0]}, "rows": [row(16, 9.0, 50.0), row(48, 2.0, 8.0)]}
    first, *rest = said(after_training.ptq_by_size_in_words, result)
    assert "below every way of 2 and 1.58 bits at 2 of 2 widths" in first and "(differs)" not in first
    assert "width 16 | nats a story above the floor: float 1.0; ternary 9.0; GPTQ, W4A16 1.1" in rest[0]
    result["rows"][0] = row(16, 60.0, 50.0)
    assert "(differs)" in said(after_training.ptq_by_size_in_words, result)[0]


@pytest.fixture
def short(monkeypatch):
    """Models that have hardly begun, so that what is tested is the counting."""
    def beginner(arm, d, lr, steps=150, seed=0, **options):
        return kept(arm, d, lr, 3, seed, **options)
    kept = miniatures.run
    monkeypatch.setattr(after_training, "run", beginner)
    after_training.quantized.cache_clear()
    yield
    after_training.quantized.cache_clear()


def test_the_excess_is_that_of_the_run(short):
    """Of a model that is not quantized: the validation loss of its training, less the floor."""
    trained = miniatures.run("float", 16, miniatures.own_rate(16), 3, seed=0)
    assert after_training.excess(after_training.language_model(trained.model)) == pytest.approx(
        trained.excess, rel=1e-4)


def test_what_is_quantized_is_the_float_model_of_the_seed(short):
    model = after_training.quantized(16, 1, "absmax", 8, 8)
    latent = miniatures.run("float", 16, miniatures.own_rate(16), 3, seed=1).model.arrays()
    for name, w in model.engine.transformer.arrays().items():
        half = np.abs(latent[name]).max(-1, keepdims=True) / 254 if name.endswith("_proj.weight") else 0
        assert (np.abs(w - latent[name]) <= 1.001 * half).all()
    assert model.report.activation_bits == 8 and len(after_training.texts()[0]) > after_training.CALIBRATION

