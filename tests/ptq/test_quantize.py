"""quantize_model on a small model that was trained in floats."""
import numpy as np
import pytest

import minibitnet
from minibitnet.data_files import packaged
from minibitnet.errors import UserError
from minibitnet.ptq.quantize import METHODS, loss_of, quantize_model

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
    assert losses[0] < losses[2] < losses[3] < losses[5]


def test_looking_at_the_inputs_helps_where_bits_are_few(model):
    assert loss(model, 3, method="gptq") < loss(model, 3, method="nearest")


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
    assert np.isnan(untold.loss_before) and untold.method == "nearest"


def test_groups_cost_bytes_and_lose_less(model):
    whole, groups = (quantize_model(model, 2, calibration=CALIBRATION, text=FRESH, group=g).report
                     for g in (0, 8))
    assert groups.bytes_after > whole.bytes_after and groups.loss_after < whole.loss_after


@pytest.mark.parametrize("options, says", [
    ({"bits": 5}, "bits = 5: expected one of 1, 1.58"), ({"method": "awq"}, "method 'awq': expected one of"),
    ({"method": "gptq"}, "expected a calibration"), ({"activation_bits": 3}, "expected None, 8 or 4"),
    ({"group": 4}, "expected it of gptq alone"), ({"method": "gptq", "calibration": []}, "none empty"),
    ({"method": "gptq", "calibration": ["a", ""]}, "none empty")])
def test_what_cannot_be_done_is_said(model, options, says):
    with pytest.raises(UserError, match=says):
        quantize_model(model, **options)


def test_only_models_in_floats():
    with pytest.raises(UserError, match="its weights are quantized already"):
        quantize_model(minibitnet.fit("pets", d_model=16, n_layers=1, n_heads=2, context=16, steps=1, batch=1,
                                      progress=False).model)
    with pytest.raises(UserError, match="expected a model on the float engine"):
        quantize_model("runs/tiny")
