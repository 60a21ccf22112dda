"""4-bit activations: the classes by what they quantize, and the words."""
import json

import numpy as np
import pytest

from minibitnet import quant
from minibitnet.exact import Random
from minibitnet.experiments import few_bits, fewer_bits
from minibitnet.experiments.ablations import CHANGES
from minibitnet.experiments.lines import as_text
from minibitnet.experiments.plan import STORIES, Run
from minibitnet.nn import layers, ops, training
from minibitnet.nn.autograd import Tensor
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer


def tokens(m, seed=0):
    return Tensor(Random(seed).standard_normal((m, 2, 3)).astype(np.float32))


@pytest.mark.parametrize("kind, square, wide", [
    (few_bits.FourBits, "4", "4"), (few_bits.Hybrid, "half of 8", "8"),
    (few_bits.Rotated, "turned 4", "turned 4"), (few_bits.RotatedEight, "turned 8", "turned 8")])
def test_what_o_and_down_get(kind, square, wide):
    """o is square, down is wider than high; q's and gate's input has 4 bits but in the last one."""
    for n, m, what in ((16, 16, square), (16, 44, wide)):
        layer, x = kind(m, n, Random(1)), tokens(m)
        given = (ops.hadamard(x) if "turned" in what else x).data
        codes, scale = (quant.absmean_int4 if "4" in what else quant.absmax_int8)(given)
        if "half" in what:
            codes = codes * (np.abs(given) >= np.median(np.abs(given), axis=0))
        w = quant.absmean_ternary(layer.weight.data)
        expected = (w.codes @ codes.reshape(m, -1)).reshape(n, 2, 3) * (w.scale[..., None] * scale)
        assert np.allclose(layer(x).data, expected, rtol=1e-6)
        shared = (quant.absmax_int8 if kind.eight else quant.absmean_int4)(x.data)
        assert np.array_equal(layer.prepare_input(x).data.codes, shared.codes)
        assert np.array_equal(layer.quantized()(x).data, layer(x).data)


def test_the_first_stage_has_eight_bits(monkeypatch):
    """Of ten steps the last two have four; the finished model has four."""
    seen = []
    monkeypatch.setattr(training, "step", lambda model, *arguments, **options: seen.append(
        layers.PROJECTIONS["ternary"].eight))

    class Optimizer:
        t = 0
    run = Run(STORIES, "ternary", 16, 0.01, 10)
    with CHANGES["rotated_last"].apply(run):
        for Optimizer.t in range(10):
            training.step(None, None, Optimizer)
        assert layers.PROJECTIONS["ternary"].eight is False
        model = Transformer(ModelConfig(vocab_size=9, d_model=16, n_layers=1, context=8), 0)
        assert isinstance(model.layers[0].mlp.down_proj, few_bits.Rotated)
    assert seen == 8 * [True] + 2 * [False] and layers.PROJECTIONS["ternary"] is layers.BitLinear


def test_the_words():
    costs = {"8 bits": 5.0, "everywhere, last fifth": 25.0, "hybrid, last fifth": 8.0,
             "Hadamard, last fifth": 7.5}
    rows = [{"what": what, "change": change, "activation": activation, "excess": [costs.get(what, 7.0)]}
            for what, (change, activation, _) in fewer_bits.WAYS.items()]
    result = {"config": {"width": 32, "steps": 150, "seeds": [0]}, "rows": rows}

    def said():
        return list(map(as_text, fewer_bits.few_bits_in_words(json.loads(json.dumps(result)))))
    first, *rest = said()
    assert "everywhere +20.0, hybrid +1.0, Hadamard +0.5 nats a story" in first and "(differs)" not in first
    assert any(line.startswith("Hadamard, last fifth: perplexity 13.78 | 7.5 nats a story (+0.5 against "
                               "Hadamard, 8 bits)") for line in rest)
    rows[6]["excess"] = [9.0]
    assert "(differs)" in said()[0]
