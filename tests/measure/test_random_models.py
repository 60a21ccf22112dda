import itertools

import numpy as np
import pytest

from minibitnet.measure import random_models
from minibitnet.formats import packed
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.layers import BitLinear, Linear
from minibitnet.float16 import widen
from minibitnet.packing import unpack_ternary

C = ModelConfig(vocab_size=20, d_model=64, n_layers=2, n_heads=4, d_ffn=128, context=16)


def test_random_matrices_hold_all_three_codes_in_equal_parts():
    matrix = random_models.RandomModel(C)["layers.1.mlp.gate_proj.weight"]
    codes = unpack_ternary(matrix.packed, matrix.n)
    assert codes.shape == (128, 64)
    assert np.abs(np.bincount(codes.ravel() + 1) / codes.size - 1 / 3).max() < 0.03
    assert (random_models.RandomModel(C)["layers.1.mlp.gate_proj.weight"].packed.tolist()
            == matrix.packed.tolist())


@pytest.mark.parametrize("dtype", packed.FLOATS)
def test_a_random_model_is_written_as_a_file_that_loads(dtype, tmp_path):
    random_models.write_model(tmp_path / "p", C, dtype)
    _, _, c, matrices, arrays = packed.load(tmp_path / "p", lambda config: ModelConfig(**config["model"]))
    assert c == C and arrays["embed_tokens.weight"].dtype == packed.FLOATS[dtype]
    assert (widen(arrays["norm.weight"]) == 1).all()
    assert 0.9 < widen(arrays["lm_head.weight"]).std() < 1.1
    assert all(matrix.scale > 0 for matrix in matrices.values())


def test_the_bytes_of_a_block_dense_and_packed():
    """4 matrices of 64 x 64 and 3 of 64 x 128: 40,960 weights, 163,840 bytes in float32. Packed they take 2
    bits each, 10,240 bytes, and 4 for every row: 192 of q k v, 64 of o, 256 of gate and up, 64 of down,
    2,304 bytes."""
    assert random_models.dense_block(C)[1] == 163_840
    assert random_models.packed_block(C)[1] == 10_240 + 2_304


def test_the_dense_block_is_llamas():
    """No quantizer and no sub-norm: the BitNet block with 2 gains more would not be the papers' baseline."""
    block = random_models.dense_block(C)[0].block
    assert type(block.mlp.down_proj) is type(block.self_attn.q_proj) is Linear is not BitLinear
    assert sum(p.data.ndim == 1 for p in block.parameters().values()) == 2
    assert 0.9 < block.mlp.down_proj.weight.data.std() * 128**0.5 < 1.1


@pytest.mark.parametrize("make", [random_models.dense_block, random_models.packed_block])
def test_a_step_of_a_block_forgets_its_token_and_may_be_repeated(make):
    block, _ = make(C)
    step = random_models.decode_step(itertools.repeat(block), C, batch=3, past=5)
    first = step()
    assert first.shape == (64, 3, 1) and np.isfinite(first).all() and np.array_equal(first, step())
    assert random_models.prefill_step(itertools.repeat(block), C, tokens=7)().shape == (64, 1, 7)


def test_the_rotary_tables_go_on_where_the_cache_ends():
    (cos, _), (later, _) = random_models.rotary(C, 2, 0, 6), random_models.rotary(C, 2, 5, 1)
    assert cos.shape == (8, 2, 6) and np.array_equal(later, cos[..., 5:])


def test_both_engines_of_a_random_model_decode():
    """Bytes of the float engine: 4 for each of 2 * 40,960 weights, 2 * (3 * 64 + 128) + 64 gains, 2 * 20 *
    64 embeddings and head."""
    made = random_models.engines(C)
    assert made["float"][1] == 4 * (81_920 + 704 + 2_560) and made["packed"][1] == 2 * 12_544 + 4 * 2_560
    for engine, _ in made.values():
        step = random_models.model_step(engine, C, batch=3, past=5)
        assert step().shape == (20, 3, 1) and np.array_equal(step(), step())
