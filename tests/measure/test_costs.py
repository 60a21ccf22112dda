"""Parameters and bytes of a shape, by pencil."""
from dataclasses import replace

import pytest

from minibitnet.formats.packed import is_bitlinear
from minibitnet.measure.costs import MODELS, memory, weight_bytes
from minibitnet.nn.config import ModelConfig


def test_bytes_by_pencil():
    """d 4, d_ffn 6, 1 layer, 10 tokens, one key-value head of 2: q, o 4x4, k, v 2x4, gate, up 6x4, down 4x6
    are 120 weights. Rows go in fours: q, o 4 bytes, k, v 4, gate, up 8, down 6, in all 38. Gains 3 * 4 + 6
    and the last norm's 4; 40 embeddings, 40 of the head."""
    table = memory(ModelConfig(vocab_size=10, d_model=4, n_layers=1, n_heads=2, n_kv_heads=1, d_ffn=6))
    assert table["BitLinear weights"] == (120, 38, 240, 480) and table["BitLinear scales"] == (7, 28, 0, 0)
    assert table["norms"] == (22, 88, 44, 88) and table["embedding"] == table["head"] == (40, 160, 80, 160)
    assert table["total"] == (229, 38 + 28 + 88 + 320, 240 + 44 + 160, 480 + 88 + 320)
    assert table["KV cache, a token"] == (4, 16, 8, 16)


def test_a_tied_head_costs_nothing():
    assert memory(ModelConfig(tied=True))["head"] == (0, 0, 0, 0)


def test_2b4t_has_the_weights_that_its_report_counts():
    """2,412,820,480 parameters (the released file's), of which 2,084,044,800 are ternary; 16-bit
    embeddings."""
    c = ModelConfig(vocab_size=128_256, d_model=2560, n_layers=30, n_heads=20, n_kv_heads=5, d_ffn=6912,
                    activation="relu2", tied=True)
    table = memory(c, bytes_of_rest=2)
    assert table["total"][0] - table["BitLinear scales"][0] == 2_412_820_480
    assert table["BitLinear weights"][0] == 2_084_044_800 and table["BitLinear weights"][1] == 521_011_200


def test_the_shapes_have_the_parameters_of_the_published_models():
    """LLaMA 7B, 13B, 30B and LLaMA 2 70B have these, to the last one; so has 2B-4T."""
    published = {"7B": 6_738_415_616, "13B": 13_015_864_320, "30B": 32_528_943_616, "70B": 68_976_648_192}
    for name, n in published.items():
        assert replace(MODELS[name].config, linear="float").n_parameters == n
    assert weight_bytes("BitNet b1.58 2B")[1] == 2 * 2_412_820_480


@pytest.mark.parametrize("name", MODELS)
def test_a_configuration_has_the_shapes_matrices(name):
    """Also where heads together are not as wide as the model (Gemma-3: 4 of 256 in 1,152)."""
    shape = MODELS[name]
    projections = [size for key, size in shape.config.tensor_shapes().items() if is_bitlinear(key)]
    assert projections == shape.matrices * shape.n_layers
    assert shape.config.d_attention == shape.d_attention
