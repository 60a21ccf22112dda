"""quantize_model on a small model that was trained in floats."""
import numpy as np
import pytest

import minibitnet
from minibitnet.data_files import packaged
from minibitnet.errors import NonFiniteError, UserError
from minibitnet.language_model import FloatEngine, LanguageModel
from minibitnet.nn.model import Transformer
from minibitnet.ptq import levels
from minibitnet.ptq.calibration import inputs_of
from minibitnet.ptq.gptq import damped, gptq
from minibitnet.ptq.quantize import METHODS, batches_of, in_batches, loss_of, quantize_model

DOCUMENTS = packaged("pets.txt").read_text(encoding="utf-8").split("\n<|endoftext|>\n")
CALIBRATION, FRESH = DOCUMENTS[:40], DOCUMENTS[-60:-1]


@pytest.fixture(scope="module")
def model():
    """Of floats, and no longer a beginner."""
    return minibitnet.fit("pets", linear="float", d_model=32, n_layers=2, n_heads=2, context=80, steps=120,
                          batch=8, lr=0.02, threads=1, progress=False).model


@pytest.fixture(scope="module")
def before(model):
    return loss_of(model, FRESH)


def loss(model, *arguments, **options):
    return quantize_model(model, *arguments, calibration=CALIBRATION, text=FRESH, **options).report.loss_after


@pytest.mark.parametrize("method", METHODS)
def test_eight_bits_lose_nothing_and_one_nearly_all(model, before, method):
    many, few = (loss(model, bits, method=method) for bits in (8, 1))
    assert abs(many - before) < 0.05 * before and few > 1.5 * before


def test_the_losses_of_fewer_bits_are_higher(model, before):
    losses = [loss(model, bits, method="gptq") for bits in (8, 4, 3, 2, 1.58, 1)]
    assert losses[0] < losses[2] < losses[3] < losses[4] and losses[1] < losses[2] and losses[3] < losses[5]


def with_weights(model, of):
    """A copy of a model in which each projection's matrix is of(it)."""
    twin = Transformer(model.config)
    for name, array in twin.arrays().items():
        w = model.engine.transformer.arrays()[name]
        array[:] = of(w) if name.endswith("_proj.weight") else w
    return LanguageModel(FloatEngine(twin), model.tokenizer, model.settings)


def test_looking_at_the_inputs_helps_where_bits_are_few(model):
    """Of the same levels, GPTQ's are better than the nearest."""
    nearest = loss_of(with_weights(model, lambda w: levels.between(w, 3).nearest(w)), FRESH)
    assert loss(model, 3, method="gptq") < 0.9 * nearest


def test_smoothing_helps_where_a_feature_is_loud(model):
    """A gain a hundred times as large, whose columns are as much smaller: the same function, but a token's
    4-bit scale is that feature's."""
    loud = with_weights(model, lambda w: w)
    for block in loud.engine.transformer.layers:
        for norm, readers in ((block.input_layernorm, (block.self_attn.q_proj, block.self_attn.k_proj,
                                                       block.self_attn.v_proj)),
                              (block.post_attention_layernorm, (block.mlp.gate_proj, block.mlp.up_proj))):
            norm.weight.data[3] *= 100
            for layer in readers:
                layer.weight.data[:, 3] /= 100
    loud = with_weights(loud, lambda w: w)
    smoothed, plain = (loss(loud, 8, method=of, activation_bits=4) for of in ("smoothquant", "absmax"))
    assert smoothed < 0.8 * plain


def test_the_inputs_are_those_of_the_texts(model):
    """Of each text alone, without padding, in float64: H = 2 X X^T of what the first norm gives, and k and v
    have q's."""
    block = model.engine.transformer.layers[0]
    texts = [CALIBRATION[0], CALIBRATION[1], "Eva has"]
    found = inputs_of(block, batches_of(model, texts))
    H, largest, n = np.zeros((32, 32)), np.zeros(32), 0
    for text in texts:
        [(ids, _)] = in_batches(model, [text])
        x = block.input_layernorm(model.engine.transformer.embed_tokens(ids)).data.reshape(32, -1)
        H, largest, n = H + 2 * x @ x.T.astype(float), np.maximum(largest, np.abs(x).max(1)), n + x.shape[1]
    assert set(found) == {"q_proj", "o_proj", "gate_proj", "down_proj"} and found["q_proj"].n == n
    assert np.allclose(found["q_proj"].H, H, rtol=1e-4, atol=1e-4 * np.abs(H).max())
    assert np.array_equal(found["q_proj"].largest, largest)


def test_a_matrix_is_what_gptq_makes_of_it(model):
    """The first block's v, by hand: from q's H."""
    transformer = model.engine.transformer
    H = inputs_of(transformer.layers[0], batches_of(model, CALIBRATION))["q_proj"].H
    w = transformer.arrays()["layers.0.self_attn.v_proj.weight"]
    q = gptq(w, damped(H), lambda columns: levels.between(columns, 3))
    found = quantize_model(model, 3, calibration=CALIBRATION).engine.transformer.arrays()
    assert np.array_equal(found["layers.0.self_attn.v_proj.weight"], q.astype(np.float32))


def test_activations_of_few_bits_cost_more(model, before):
    floats, eight, four = (loss(model, 8, method="nearest", activation_bits=a) for a in (None, 8, 4))
    assert abs(eight - floats) < 0.05 * before and four > eight


def test_the_model_stays_and_the_result_runs(model, before):
    arrays = {name: array.copy() for name, array in model.engine.transformer.arrays().items()}
    quantized = quantize_model(model, 4, calibration=CALIBRATION)
    assert quantized.report.method == "gptq" and loss_of(model, FRESH) == before
    assert all(np.array_equal(arrays[name], array)
               for name, array in model.engine.transformer.arrays().items())
    text = quantized.generate("Eva has", tokens=30, seed=1)
    assert len(text) > 10 and text == quantized.generate("Eva has", tokens=30, seed=1)
    ids = quantized.encode("Eva has an owl. She hides it.")
    assert np.array_equal(quantized.logits(ids)[:9], quantized.logits(ids[:9])), "no token hears a later one"


def test_the_levels_of_a_row_are_few(model):
    weights = quantize_model(model, 2, method="gptq", calibration=CALIBRATION).engine.transformer.arrays()
    for name, w in weights.items():
        if name.endswith("_proj.weight"):
            assert max(len(np.unique(row)) for row in w) <= 4
        elif "embed" in name or "head" in name:
            assert np.array_equal(w, model.engine.transformer.arrays()[name])


def test_it_is_the_same_again(model):
    first, again = (quantize_model(model, 2, method="quip", calibration=CALIBRATION, seed=3) for _ in "12")
    assert first.report == again.report
    for a, b in zip(first.engine.transformer.arrays().values(), again.engine.transformer.arrays().values()):
        assert np.array_equal(a, b)


def test_the_report_counts_bytes(model):
    report = quantize_model(model, 4, method="nearest", text=FRESH).report
    n = 2 * (4 * 32**2 + 3 * 32 * 88)
    rows = 2 * (5 * 32 + 2 * 88)
    assert report.bytes_before - report.bytes_after == 2 * n - n // 2 - 2 * rows
    assert str(report).startswith("nearest, 4 bits: loss 0.")
    untold = quantize_model(model, 4).report
    assert np.isnan(untold.loss_before) and untold.method == "nearest" and "loss" not in str(untold)


def test_groups_cost_bytes_and_lose_less(model):
    whole, groups = (quantize_model(model, 2, calibration=CALIBRATION, text=FRESH, group=g).report
                     for g in (0, 8))
    assert groups.bytes_after > whole.bytes_after and groups.loss_after < whole.loss_after


@pytest.mark.parametrize("options, says", [
    ({"bits": 5}, "bits = 5: expected one of 1, 1.58"), ({"method": "awq"}, "method 'awq': expected one of"),
    ({"method": "gptq"}, "expected a calibration"), ({"activation_bits": 3}, "expected None, 8 or 4"),
    ({"group": 4}, "expected it of gptq alone"), ({"group": -1}, "group = -1: expected a whole number"),
    ({"group": 2.5}, "expected a whole number"), ({"alpha": float("nan")}, "alpha = nan: expected a number"),
    ({"damping": -1}, "damping = -1: expected"), ({"damping": "x"}, "damping = 'x'"),
    ({"seed": None}, "seed = None: expected a whole number"),
    ({"text": 5}, "text 5: expected a text or a list"), ({"activation_bits": 8.0}, "expected None, 8 or 4"),
    ({"method": "gptq", "calibration": []}, "none empty"),
    ({"method": "gptq", "calibration": ["a", ""]}, "none empty")])
def test_what_cannot_be_done_is_said(model, options, says):
    with pytest.raises(UserError, match=says):
        quantize_model(model, **options)


def test_calibration_may_be_a_generator(model):
    a, b = (quantize_model(model, 4, calibration=texts).report
            for texts in (CALIBRATION, (text for text in CALIBRATION)))
    assert a == b


def test_rounded_activations_are_not_lost_in_silence(model, tmp_path):
    quantized = quantize_model(model, 8, activation_bits=8)
    with pytest.raises(UserError, match="which no file of a run can say"):
        quantized.save(tmp_path / "run")
    with pytest.raises(UserError, match="expected the one that it was made of"):
        quantize_model(quantized, 4)
    assert quantize_model(model, 4).save(tmp_path / "run")


def test_a_weight_that_is_no_number_is_refused(model):
    broken = with_weights(model, lambda w: w * np.float32(np.nan))
    with pytest.raises(NonFiniteError, match="is not finite everywhere"):
        quantize_model(broken, 4)


def test_a_text_of_one_token_says_nothing():
    plain = minibitnet.fit("words of a text that has no documents " * 30, linear="float", d_model=16,
                           n_layers=1, n_heads=2, context=16, steps=1, batch=1, progress=False).model
    with pytest.raises(UserError, match="texts of one token: expected at least two"):
        quantize_model(plain, 4, calibration="w")
    assert quantize_model(plain, 4, calibration="words of a text " * 9).report.loss_after > 0


def test_only_models_in_floats():
    with pytest.raises(UserError, match="its weights are quantized already"):
        quantize_model(minibitnet.fit("pets", d_model=16, n_layers=1, n_heads=2, context=16, steps=1, batch=1,
                                      progress=False).model)
    with pytest.raises(UserError, match="expected a model on the float engine"):
        quantize_model("runs/tiny")
