"""Every change changes what it says, is undone, and leaves the model causal."""
from functools import partial

import numpy as np
import pytest

from minibitnet.experiments import ablations, training_run
from minibitnet.experiments.ablations import CHANGES, DECAYS
from minibitnet.experiments.plan import STORIES, Run
from minibitnet.experiments.replacing import replaced
from minibitnet.exact import Random
from minibitnet.nn import layers, ste, training
from minibitnet.nn.autograd import backward, record
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.gradcheck import vjp_error
from minibitnet.nn.layers import BinaryLinear, BitLinear
from minibitnet.nn.model import Transformer
from minibitnet.quant import Quantized, absmean_ternary
from minibitnet.variants import VARIANTS

ARMS = {"bmt": ("binary",), "elastic": ("binary",), "preln": ("ternary", "binary"),
        "ema": ("ternary", "float")}
CASES = [(name, arm) for name in CHANGES for arm in ARMS.get(name, ("ternary",))]


def run_of(name, arm, steps=20):
    return Run(STORIES, arm, 16, 1.6e-2, steps, change=name)


def state():
    """What a change may replace."""
    return (dict(VARIANTS), dict(layers.PROJECTIONS), vars(BitLinear)["quantize_weight"],
            vars(BinaryLinear)["quantize_weight"], training.step, training.schedule)


@pytest.mark.parametrize("name, arm", CASES)
def test_a_change_is_undone_also_after_a_failure(name, arm):
    before = state()
    with CHANGES[name].apply(run_of(name, arm)):
        assert (state() != before) == (name != "")
    assert state() == before
    with pytest.raises(ZeroDivisionError), CHANGES[name].apply(run_of(name, arm)):
        raise ZeroDivisionError
    assert state() == before


def test_each_changed_model_is_another_one_and_causal(few):
    """``carry_out`` refuses one that is not causal."""
    def sha256_of(name, arm):
        return training_run.carry_out(run_of(name, arm, steps=10), few)["outcome"]["model_sha256"]
    plain = {arm: sha256_of("", arm) for arm in ("ternary", "float", "binary")}
    found = {(name, arm): sha256_of(name, arm) for name, arm in CASES}
    same = {case for case, sha in found.items() if sha == plain[case[1]]}
    assert same == {("", "ternary"), ("ema", "ternary"), ("ema", "float")}, "averages change no training"
    assert len(set(found.values()) - set(plain.values())) == len(CASES) - len(same)


def test_a_model_that_sees_ahead_is_refused(few, monkeypatch):
    """Activation scales of a whole sequence, as b1 trains: they hear of later tokens."""
    monkeypatch.setattr(BinaryLinear, "quantize_input", staticmethod(partial(ste.int8_activation, axis=None)))
    with pytest.raises(AssertionError, match="later tokens"):
        training_run.carry_out(run_of("", "binary"), few)


def test_a_switch_in_mid_run_survives_an_interruption(few):
    for name in ("warm_up", "floats_anew", "elastic"):
        run = run_of(name, ARMS.get(name, ("ternary",))[0], steps=30)
        stops = iter([True])
        assert training_run.carry_out(run, few / "a", stopped=lambda: next(stops, False)) is None
        assert (training_run.carry_out(run, few / "a")["outcome"]
                == training_run.carry_out(run, few / "b")["outcome"])


def test_averages_by_hand(few):
    """Of one number that is 1, 2, 3 after three steps: the first is where the average begins."""
    class Parameter:
        data = np.float32([0])
    averages, p = ablations.Averages(), Parameter()
    for value in (1, 2, 3):
        p.data = np.float32([value])
        averages.after({"w": p})
    assert averages.of[0.99]["w"] == pytest.approx([0.99 * (0.99 * 1 + 0.01 * 2) + 0.01 * 3])
    outcome = training_run.carry_out(run_of("ema", "ternary"), few)["outcome"]
    assert list(outcome["averages"]) == [str(decay) for decay in DECAYS]
    assert outcome["averages"]["0.999"] > outcome["excess"]["mean"], "hardly anything of 20 steps"


def test_the_quantizers_by_hand():
    w = np.float32([[0.5, -0.25, 1.5, -0.125]])              # mean 0.59375, median 0.375
    assert ablations.unscaled(w).scale == 1 and ablations.fixed_scale(w).scale == 0.5
    assert ablations.unscaled(w).codes.tolist() == absmean_ternary(w).codes.tolist() == [[1, 0, 1, 0]]
    assert ablations.median_ternary(w).scale == 0.375
    assert ablations.median_ternary(w).codes.tolist() == [[1, -1, 1, 0]]
    assert ablations.zero_one(np.float32([[0.5, -2.5]])).codes.tolist() == [[0, 0]]
    assert ablations.zero_one(w).codes.tolist() == [[1, 0, 1, 0]]


def test_blends_end_where_their_parts_begin():
    """Shares of 1 are the BitLinear, shares of 0 the Linear, bit for bit."""
    x = layers.Tensor(Random(1).standard_normal((12, 1, 5)).astype(np.float32))
    outputs = {}
    for shares in ((1.0, 1.0), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        kind = type("Kind", (ablations.Blended,), {"of_weights": shares[0], "of_activations": shares[1]})
        layer = kind(12, 8, Random(2)).quantized()
        outputs[shares] = layer(layer.prepare_input(x)).data
    plain, bits = layers.Linear(12, 8, Random(2)).quantized(), BitLinear(12, 8, Random(2)).quantized()
    assert np.array_equal(outputs[1.0, 1.0], bits(bits.prepare_input(x)).data)
    assert np.array_equal(outputs[0.0, 0.0], plain(plain.prepare_input(x)).data)
    assert len({a.tobytes() for a in outputs.values()}) == 4


def test_the_learned_scale_and_its_gradient():
    """alpha = 0.5: x = 0.3 is code 1 (ratio 0.6), 100 is cut off. d alpha = sum g (q - x / alpha inside,
    +-127 outside) / sqrt(127 * size)"""
    x, alpha = np.float32([0.3, 100]).reshape(2, 1, 1), np.float32([0.5])
    (codes, scale), vjp = ablations.elastic_activation.__wrapped__(x, alpha)
    assert codes.ravel().tolist() == [1, 127] and scale == 0.5
    dx, dalpha = vjp(np.float32([2, 3]).reshape(2, 1, 1))
    assert dx.ravel().tolist() == [2, 0]
    assert dalpha == pytest.approx((2 * (1 - 0.6) + 3 * 127) / np.sqrt(127 * 2), rel=1e-6)
    assert vjp_error(ablations.elastic_activation, x, alpha) > 1e-3, "chosen, not derived"


def test_four_scales_a_layer_are_learned():
    run = run_of("elastic", "binary")
    with CHANGES["elastic"].apply(run):
        model = Transformer(ModelConfig(vocab_size=9, linear="binary", d_model=16, n_layers=2, context=8), 1)
        names = [name for name in model.parameters() if name.endswith("alpha")]
        assert names == [f"layers.{i}.{name}.alpha" for i in (0, 1) for name in (
            "self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")]
        with record() as tape:
            loss = model.quantized(training=True).loss(np.arange(8)[None], np.arange(1, 9)[None])
        grads = backward(tape, loss)
        assert all(grads[model.parameters()[name].key].any() for name in names)
        assert all(model.parameters()[name].data > 0 for name in names), "the first batch has set them"


def test_replaced_restores_a_table_and_a_class():
    table = {"a": 1}
    with replaced(table, "a", 2):
        assert table == {"a": 2}
    assert table == {"a": 1}
    with replaced(BitLinear, "quantize_weight", staticmethod(lambda w: Quantized(w, w))):
        assert BitLinear.quantize_weight(1) == (1, 1)
    assert isinstance(vars(BitLinear)["quantize_weight"], staticmethod)
