"""Devices that share a model, against one machine with the same groups."""
import json

import numpy as np
import pytest

from minibitnet.experiments import groups
from minibitnet.experiments.groups import ACTIVATIONS, OUTPUTS, WEIGHTS, Network
from minibitnet.experiments.lines import as_text
from minibitnet.nn import ops
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer

C = ModelConfig(vocab_size=20, linear="binary", d_model=48, n_layers=2, n_heads=6, d_ffn=132, context=11)


def on_one(c, G):
    """A block on one machine, as ``groups.logits`` runs it."""
    return lambda w, x, rotary: groups.block(w, x, rotary, c, G)


def on_devices(c, G):
    """The same on G devices."""
    return lambda w, x, rotary: groups.split_block(groups.split(w, G), x, rotary, c, Network())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("G, tokens", [(1, 11), (2, 11), (3, 5), (6, 11), (2, 1)])
def test_devices_that_agree_on_no_scale_give_the_numbers_of_groups_to_the_last_bit(G, tokens, seed):
    model, ids = Transformer(C, seed), np.random.default_rng(seed).integers(0, 20, (2, tokens))
    whole, parted = groups.logits(model, ids, on_one(C, G)), groups.logits(model, ids, on_devices(C, G))
    assert np.array_equal(whole, parted)


def test_one_group_is_the_model_itself(rng):
    """To the last bit where means of weights are exact in any order: weights in steps of 2^-10, 16 x 16 and
    64 x 16 of them."""
    c = ModelConfig(vocab_size=20, linear="binary", d_model=16, n_layers=2, n_heads=2, d_ffn=64, context=11)
    model, ids = Transformer(c), rng.integers(0, 20, (2, 11))
    for p in model.parameters().values():
        p.data[:] = np.rint(p.data * 1024) / 1024
    assert np.array_equal(groups.logits(model, ids, on_one(c, 1)), model.quantized()(ids).data)


def test_more_groups_are_another_model(rng):
    """So that the equality above says something: with other groups the numbers differ."""
    model, ids = Transformer(C), rng.integers(0, 20, (2, 11))
    one, three = (groups.logits(model, ids, on_one(C, G)) for G in (1, 3))
    assert np.abs(one - three).max() > 0.01 * one.std()


def test_a_device_with_wrong_columns_is_found_out(monkeypatch):
    split = groups.split

    def shifted(w, G):
        return [shard | {"o": np.roll(shard["o"], 1, axis=1)} for shard in split(w, G)]
    monkeypatch.setattr(groups, "split", shifted)
    assert [row["equal"] for row in groups.measure(C, (1, 2), batch=1, seed=0)["rows"]] == [False, False]


def test_what_a_block_exchanges(rng):
    """Two devices, one sequence of 3 tokens, width 48: each of the 2 outputs is 48 * 3 * 4 = 576 bytes, sent
    2 (G - 1) = 2 times. Scales, with groups: nothing.

    Scales per tensor: alpha and beta of 7 matrices, 14 numbers of 4 bytes; mean, variance and gamma of 2
    inputs, each 3 numbers, or 12 bytes."""
    c = ModelConfig(vocab_size=20, linear="binary", d_model=48, n_layers=2, n_heads=6, d_ffn=132, context=3)
    one, two = groups.measure(c, (1, 2), batch=1, seed=0)["rows"]
    outputs = [2, 2 * 576 * 2]
    assert two["groups"] == {OUTPUTS: outputs, WEIGHTS: [0, 0], ACTIVATIONS: [0, 0]}
    assert two["per_tensor"] == {OUTPUTS: outputs, WEIGHTS: [14, 14 * 4 * 2], ACTIVATIONS: [6, 6 * 12 * 2]}
    assert one["groups"] == one["per_tensor"] == {what: [0, 0] for what in (OUTPUTS, WEIGHTS, ACTIVATIONS)}


def test_what_per_tensor_scales_exchange_is_enough_to_know_them(rng):
    """The all-reduced numbers are those of the whole tensors (up to the rounding of means)."""
    names = *groups.BY_ROWS, *groups.BY_COLUMNS
    w = {name: rng.standard_normal((12, 8)).astype(np.float32) for name in names}
    x = rng.standard_normal((8, 1, 5)).astype(np.float32)
    found = groups.agree(groups.split(w, 2), "o", np.split(x, 2), C, Network())
    assert np.allclose(found["q"], (w["q"].mean(), np.abs(w["q"]).mean()), atol=1e-6)
    assert np.allclose(found["o"][1], np.abs(w["o"]).mean(), atol=1e-6)
    assert np.allclose(found["gamma"], np.abs(ops.layer_norm.forward(x, eps=C.norm_eps)).max(0), rtol=1e-5)


def test_the_row_in_words():
    r = groups.measure(C, (2,), batch=1, seed=0)
    lines = list(map(as_text, groups.in_words(r)))
    assert json.loads(json.dumps(r)) == r
    assert "2 groups, to the last bit; scales: 0 all-reduces, 0 bytes and 0 all-reduces, 0 bytes" in lines[1]
    assert "22 all-reduces in place of 2" in lines[-1]
    r["rows"][0]["equal"] = False
    assert "not reproduced" in list(map(as_text, groups.in_words(r)))[1]
