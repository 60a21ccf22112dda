"""packed.safetensors: the bytes of a model to run, and every way in which they can be wrong."""
import json
import tracemalloc
from dataclasses import asdict, replace

import numpy as np
import pytest

from minibitnet.formats import checkpoint, packed, safetensors
from minibitnet.formats.safetensors import FormatError
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.float16 import widen
from minibitnet.packing import unpack_ternary
from minibitnet.quant import absmean_ternary

C = ModelConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ffn=6, context=4)
CONFIG = {"model": asdict(C), "train": {}, "corpus": {}}
NAME = "model.layers.0.mlp.up_proj.weight"


def config_of(config):
    return ModelConfig(**config["model"])


@pytest.fixture
def parameters():
    return {name: p.data for name, p in Transformer(C, 3).parameters().items()}


@pytest.fixture
def path(tmp_path, parameters):
    packed.save(tmp_path / "packed.safetensors", CONFIG, 7, *packed.pack(parameters, C))
    return tmp_path / "packed.safetensors"


def test_what_is_written_is_read(path, parameters):
    config, step, c, matrices, arrays = packed.load(path, config_of)
    assert config == CONFIG and step == 7 and c == C
    assert matrices.keys() | arrays.keys() == parameters.keys()
    for name, (bits, n, scale) in matrices.items():
        codes, expected = absmean_ternary(parameters[name])
        assert np.array_equal(unpack_ternary(bits, n), codes) and scale == expected[0, 0]
    for name, a in arrays.items():
        assert np.array_equal(a, parameters[name])


def test_a_weight_takes_two_bits(path):
    """up_proj is (6, 8): two rows of bytes, for six rows of weights and two of padding."""
    tensors, metadata = safetensors.load(path)
    assert tensors[NAME].shape == (2, 8) and tensors[NAME].dtype == np.uint8
    assert tensors[f"{NAME}_scale"].shape == (1,)
    assert "lm_head.weight" in tensors and "model.embed_tokens.weight" in tensors
    assert metadata["format"] == packed.FORMAT


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_floats_are_kept_as_such(dtype, tmp_path, parameters):
    packed.save(tmp_path / "p", CONFIG, 7, *packed.pack(parameters, C), dtype)
    arrays = packed.load(tmp_path / "p", config_of).arrays
    head = arrays["lm_head.weight"]
    assert head.dtype == packed.FLOATS[dtype] and head.nbytes == 2 * head.size
    assert np.allclose(widen(head), parameters["lm_head.weight"],
                       rtol=2**-8 if dtype == "bfloat16" else 2**-10, atol=1e-7)


def test_the_dense_file_has_every_parameter_in_16_bits(tmp_path, parameters):
    packed.save_dense(tmp_path / "dense", CONFIG, parameters)
    tensors, _ = safetensors.load(tmp_path / "dense")
    assert {a.dtype for a in tensors.values()} == {np.dtype(np.float16)} and len(tensors) == len(parameters)
    for load, expected in ((lambda path: packed.load(path, config_of), "packed"),
                           (checkpoint.load, "checkpoint")):
        with pytest.raises(FormatError, match=f"no engine runs it\\)': expected 'minibitnet {expected} 1'"):
            load(tmp_path / "dense")


def spoil(path, change):
    tensors, metadata = safetensors.load(path)
    tensors = {name: a.copy() for name, a in tensors.items()}
    change(tensors, metadata)
    safetensors.save(path, tensors, metadata)


@pytest.mark.parametrize("change, message", [
    (lambda t, m: t[NAME].__setitem__((1, 2), 0b00110000),
     r"up_proj.*byte \[1, 2\] = 48 holds bits 11 for row 5: expected 00, 01 or 10"),
    (lambda t, m: t[NAME].__setitem__((1, 2), 0b01000000),
     r"up_proj.*byte \[1, 2\] = 64 holds bits 01 for row 7: expected 00, as in all padding"),
    (lambda t, m: t[f"{NAME}_scale"].__setitem__(0, np.nan),
     "up_proj.weight_scale is nan: expected a positive number"),
    (lambda t, m: t[f"{NAME}_scale"].__setitem__(0, 0), "up_proj.weight_scale is 0.0: expected a positive"),
    (lambda t, m: t[f"{NAME}_scale"].__setitem__(0, -1), "up_proj.weight_scale is -1.0: expected a positive"),
    (lambda t, m: t[f"{NAME}_scale"].__setitem__(0, np.inf),
     "up_proj.weight_scale is inf: expected a positive"),
    (lambda t, m: t.pop(NAME), "up_proj.weight' is missing"),
    (lambda t, m: t.pop(f"{NAME}_scale"), "up_proj.weight_scale' is missing"),
    (lambda t, m: t.__setitem__("model.extra", np.zeros(3, np.float32)),
     "'model.extra' is not of this model"),
    (lambda t, m: t.__setitem__("lm_head.wait", t.pop("lm_head.weight")), "'lm_head.weight' is missing"),
    (lambda t, m: t.__setitem__(NAME, t[NAME].astype(np.int8)), r"is I8 \(2, 8\): expected U8 \(2, 8\)"),
    (lambda t, m: t.__setitem__(NAME, t[NAME][:1]), r"is U8 \(1, 8\): expected U8 \(2, 8\)"),
    (lambda t, m: t["model.norm.weight"].__setitem__(0, np.inf),
     "norm.weight' holds values that are not finite"),
    (lambda t, m: t.__setitem__("lm_head.weight", t["lm_head.weight"].astype(float)),
     "is F64.*expected F32 or F16 or BF16"),
    (lambda t, m: m.__setitem__("config", json.dumps({**CONFIG, "model": {**asdict(C), "d_ffn": 10}})),
     r"is U8 \(2, 8\): expected U8 \(3, 8\)"),
    (lambda t, m: m.__setitem__("config", json.dumps({**CONFIG, "model": {**asdict(C), "linear": "float"}})),
     "linear = 'float': expected ternary or binary"),
    (lambda t, m: m.__setitem__("config", "[]"), "lacks a step or a config"),
    (lambda t, m: m.pop("config"), "lacks a step or a config"),
    (lambda t, m: m.pop("step"), "lacks a step or a config"),
    (lambda t, m: m.__setitem__("format", "minibitnet checkpoint 1"),
     "has format 'minibitnet checkpoint 1': expected 'minibitnet packed 1'"),
])
def test_a_wrong_file_is_one_line_that_names_the_place(change, message, path):
    spoil(path, change)
    with pytest.raises(FormatError, match=message) as e:
        packed.load(path, config_of)
    assert str(path) in str(e.value) and "\n" not in str(e.value)


def test_a_binary_matrix_without_its_two_codes_is_refused(tmp_path):
    """Row 5 of six is the third pair of byte row 1. Codes of 0 would run, and no binary model has them."""
    c = replace(C, linear="binary")
    parameters = {name: p.data for name, p in Transformer(c, 3).parameters().items()}
    packed.save(tmp_path / "p", CONFIG | {"model": asdict(c)}, 7, *packed.pack(parameters, c))
    assert packed.load(tmp_path / "p", config_of).c == c
    spoil(tmp_path / "p", lambda t, m: t[NAME].__setitem__((1, 2), 0b00010000))
    with pytest.raises(FormatError,
                       match=r"up_proj.*byte \[1, 2\] = 16 holds bits 01 for row 5: "
                             r"expected 00 or 10 \(-1, \+1\), as in all binary"):
        packed.load(tmp_path / "p", config_of)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_loading_takes_the_bytes_of_the_file_and_a_few_more(dtype, tmp_path):
    """A model that is almost all embedding, 6 million numbers: to look at it must not take another array of
    its size, 6 MB of truth values or more."""
    c = ModelConfig(vocab_size=100_000, d_model=60, n_layers=1, n_heads=2, d_ffn=8, context=4, tied=True)
    parameters = {name: p.data for name, p in Transformer(c).parameters().items()}
    packed.save(tmp_path / "p", CONFIG | {"model": asdict(c)}, 0, *packed.pack(parameters, c), dtype)
    tracemalloc.start()
    try:
        arrays = packed.load(tmp_path / "p", config_of).arrays
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert arrays["embed_tokens.weight"].size == 6_000_000
    assert peak < (tmp_path / "p").stat().st_size + 1_000_000


def test_a_bfloat16_that_is_not_finite_is_seen(tmp_path, parameters):
    packed.save(tmp_path / "p", CONFIG, 7, *packed.pack(parameters, C), "bfloat16")
    spoil(tmp_path / "p", lambda t, m: t["lm_head.weight"].view(np.uint16).__setitem__((0, 0), 0x7F80))
    with pytest.raises(FormatError, match="lm_head.weight' holds values that are not finite"):
        packed.load(tmp_path / "p", config_of)


def test_every_cut_of_the_file_is_one_line(path):
    raw = path.read_bytes()
    for size in range(0, len(raw), 97):
        path.write_bytes(raw[:size])
        with pytest.raises(FormatError):
            packed.load(path, config_of)
