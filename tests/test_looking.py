"""What is shown of a model is what it computes."""
import numpy as np
import pytest

from minibitnet.formats.packed import pack
from minibitnet.inference.packed_engine import PackedModel
from minibitnet.looking import layers, packed_layers, trace
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer

SMALL = {"vocab_size": 11, "d_model": 16, "n_layers": 2, "n_heads": 4, "context": 70}
VARIANTS = [{}, {"linear": "binary"}, {"linear": "float"}, {"tied": True}, {"n_kv_heads": 2},
            {"linear": "binary", "tied": True, "n_kv_heads": 1, "activation": "relu2"},
            {"linear": "float", "tied": True, "n_kv_heads": 2}]
IDS = np.arange(69) * 7 % 11                     # more than a block of queries

# of a block, in order
OF_ALL = """input_layernorm self_attn.q_proj self_attn.rope(q_proj) self_attn.k_proj self_attn.rope(k_proj)
    self_attn.v_proj self_attn.attention self_attn.probabilities self_attn.o_proj add(self_attn)
    post_attention_layernorm mlp.gate_proj mlp.up_proj mlp.swiglu(gate_proj,up_proj) mlp.down_proj
    add(mlp)""".split()
OF_BITLINEARS = """codes(input_layernorm) scale(input_layernorm) self_attn.attn_sub_norm
    self_attn.codes(attn_sub_norm) self_attn.scale(attn_sub_norm) codes(post_attention_layernorm)
    scale(post_attention_layernorm) mlp.ffn_sub_norm mlp.codes(ffn_sub_norm)
    mlp.scale(ffn_sub_norm)""".split()


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def model(request):
    return Transformer(ModelConfig(**SMALL | request.param))


@pytest.fixture(scope="module")
def found(model):
    return trace(model, IDS)


def test_the_last_of_a_trace_are_the_logits(model, found):
    assert list(found)[-1] == "logits"
    assert np.array_equal(found["logits"], model.quantized()(IDS[None]).data[:, 0])


def test_a_trace_has_every_name_of_every_block(model, found):
    """The same names in all variants, but for what BitLinears have beside."""
    expected = OF_ALL if model.config.linear == "float" else OF_ALL + OF_BITLINEARS
    names = {f"layers.{i}.{name}" for i in (0, 1) for name in expected} | {"embed_tokens", "norm", "logits"}
    assert {name.replace(", ", ",").replace("relu2_gate", "swiglu") for name in found} == names
    assert all(a.shape[-1] == 69 for a in found.values())


def test_a_trace_is_what_the_operations_make_of_each_other(model, found):
    """Residual stream, embedding, and what a BitLinear reads and gives."""
    assert np.array_equal(found["embed_tokens"], model.embed_tokens.weight.data[IDS].T)
    for i, before in enumerate(("embed_tokens", "layers.0.add(mlp)")):
        h = found[f"layers.{i}.add(self_attn)"]
        assert np.array_equal(h, found[before] + found[f"layers.{i}.self_attn.o_proj"])
        assert np.array_equal(found[f"layers.{i}.add(mlp)"], h + found[f"layers.{i}.mlp.down_proj"])
    for layer in layers(model):
        reads = {"q": "codes(input_layernorm)", "k": "codes(input_layernorm)", "v": "codes(input_layernorm)",
                 "o": "self_attn.codes(attn_sub_norm)", "g": "codes(post_attention_layernorm)",
                 "u": "codes(post_attention_layernorm)", "d": "mlp.codes(ffn_sub_norm)"}
        name = f"{layer.name[:9]}{reads[layer.name.split('.')[3][0]]}"
        codes, scale = found[name], found[name.replace("codes", "scale")]
        assert codes.dtype == np.int8 and scale.shape == (69,)
        y = layer.codes.astype(int) @ codes.astype(int)
        assert np.array_equal(found[layer.name], y.astype(np.float32) * (np.float32(layer.scale) * scale))


def test_probabilities_are_a_causal_softmax(model, found):
    """Each row sums to 1 and sees no later key; by hand, head by head; and times the values they are
    attention's output."""
    c = model.config
    for i in (0, 1):
        P = found[f"layers.{i}.self_attn.probabilities"]
        q, k, v = (found[f"layers.{i}.self_attn.{name}"].reshape(-1, c.head_dim, 69)
                   for name in ("rope(q_proj)", "rope(k_proj)", "v_proj"))
        assert P.shape == (4, 69, 69) and (np.triu(P, 1) == 0).all() and (P >= 0).all()
        assert np.allclose(P.sum(-1), 1, rtol=0, atol=1e-6)
        for head in range(4):
            of = head // (4 // c.n_kv_heads)
            for t in (0, 1, 40, 68):
                e = np.exp(q[head, :, t].astype(float) @ k[of, :, :t + 1] / np.sqrt(c.head_dim))
                assert np.allclose(P[head, t, :t + 1], e / e.sum(), rtol=1e-4, atol=1e-7)
            out = found[f"layers.{i}.self_attn.attention"].reshape(-1, c.head_dim, 69)[head]
            assert np.allclose(out, v[of] @ P[head].T, rtol=1e-4, atol=1e-5)


def test_layers_are_codes_and_what_they_stand_for(model):
    """int8, so that no zero has a sign; codes * scale is as near to the latent weights as the variant's
    codes can be: ternary rounds, by half a scale at most where it does not clip."""
    found = layers(model)
    assert len(found) == (0 if model.config.linear == "float" else 14)
    for layer in found:
        assert layer.codes.dtype == np.int8 and "-0" not in str(layer.codes[:8, :8].tolist())
        assert layer.codes.shape == layer.latent.shape == model.config.tensor_shapes()[f"{layer.name}.weight"]
        assert layer.zeros == (layer.codes == 0).mean()
        error = np.abs(layer.codes * layer.scale - layer.latent)
        inside = np.abs(layer.latent) < 1.5 * layer.scale
        assert (error[inside] <= (0.5001 if model.config.linear == "ternary" else 1.6) * layer.scale).all()
        n, m = layer.codes.shape
        assert repr(layer) == (f"<Layer {layer.name}: {n} x {m}, scale {layer.scale:.4g}, "
                               f"{layer.zeros:.1%} zeros>")
        with pytest.raises(ValueError, match="read-only"):
            layer.latent[0, 0] = 1


def test_a_packed_model_has_the_same_layers(model):
    """From its bits; without latent weights."""
    if not model.config.variant.has_codes:
        return
    packed = packed_layers(PackedModel(model.config, *pack(model.arrays(), model.config)))
    ours = layers(model)
    assert [layer.name for layer in packed] == [layer.name for layer in ours]
    for one, other in zip(ours, packed):
        assert np.array_equal(one.codes, other.codes) and other.codes.dtype == np.int8
        assert one.scale == other.scale and other.latent is None


def test_a_long_trace_takes_the_memory_of_what_it_gives():
    """512 tokens, 4 heads of 32: the products of every query with every key, feature by feature, would be 134
    MB of float32."""
    import tracemalloc
    model = Transformer(ModelConfig(vocab_size=11, d_model=128, n_layers=1, n_heads=4, context=512))
    tracemalloc.start()
    try:
        found = trace(model, np.arange(512) % 11)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["layers.0.self_attn.probabilities"].nbytes == 4 * 512 * 512 * 4
    assert peak < 60e6
