import dataclasses

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.inference.cache import caches as caches_of
from minibitnet.nn import layers, ops
from minibitnet.nn.autograd import Tensor, backward, op, record
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.layers import NORMS
from minibitnet.nn.model import Transformer
from minibitnet.quant import EPS, QB, Quantized
from minibitnet.variants import VARIANTS

SMALL = {"vocab_size": 11, "d_model": 16, "n_layers": 2, "n_heads": 4, "context": 12}
MODELS = [{}, {"linear": "binary"}, {"linear": "float"}, {"tied": True}, {"n_kv_heads": 2},
          {"n_kv_heads": 1, "activation": "relu2"},
          {"linear": "float", "tied": True, "n_kv_heads": 2}, {"d_ffn": 20, "rope_theta": 500.0},
          {"linear": "a48", "activation": "relu2"}, {"linear": "v2"}, {"d_head": 6, "n_kv_heads": 2}]


def ids_of(rng, B=2, T=9):
    return rng.integers(0, 11, (B, T))


def reference(model, ids):
    """The architecture written a second time: one sequence, float64, rows are tokens, loops over heads; the
    equations of [b158]."""
    c, p = model.config, {name: t.data.astype(float) for name, t in model.parameters().items()}
    head = p["embed_tokens.weight"] if c.tied else p["lm_head.weight"]
    D, T = c.head_dim, len(ids)
    angle = np.arange(T)[:, None] * c.rope_theta ** (-np.arange(0, D, 2) / D)

    def norm(x, gain, layer_norm=False):
        x = x - x.mean(1, keepdims=True) if layer_norm else x
        return x / np.sqrt((x**2).mean(1, keepdims=True) + c.norm_eps) * gain

    def block_norm(x, name):
        if c.linear == "binary":
            return norm(x, 1, layer_norm=True)
        return norm(x, p[name]) if name in p else x

    def project(x, name):
        w, place = p[name], name.split(".")[-2]
        if c.linear != "float":
            if c.linear != "binary":
                gamma = max(np.abs(w).mean(), EPS)
                w = np.clip(np.rint(w / gamma), -1, 1) * gamma
            else:
                w = np.where(w - w.mean() > 0, 1, -1) * np.abs(w).mean()
            if c.linear == "v2" and place in ("o_proj", "down_proj"):
                size = x.shape[1] & -x.shape[1]
                signs = np.array([[(-1) ** (i & j).bit_count() for j in range(size)] for i in range(size)])
                x = (x.reshape(len(x), -1, size) @ signs).reshape(x.shape) / np.sqrt(size)
            if c.linear == "v2" or c.linear == "a48" and place not in ("o_proj", "down_proj"):
                step = np.abs(x).mean(1, keepdims=True) / np.sqrt(7)
                x = np.clip(np.rint(x / step), -8, 7) * step
            else:
                gamma = np.abs(x).max(1, keepdims=True)
                least = np.sort(np.abs(x), 1)[:, x.shape[1] // 2, None]
                kept = np.abs(x) >= (least if c.linear == "a48" and place == "o_proj" else 0)
                x = np.rint(x * QB / gamma) * gamma / QB * kept
        return x @ w.T

    def rotate(x):
        a, b = x[:, :D // 2], x[:, D // 2:]
        return np.hstack([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)])

    x = p["embed_tokens.weight"][ids]
    for i in range(c.n_layers):
        at = f"layers.{i}."
        n = block_norm(x, at + "input_layernorm.weight")
        q, k, v = (project(n, f"{at}self_attn.{name}_proj.weight") for name in "qkv")
        heads = []
        for h in range(c.n_heads):
            g = h // (c.n_heads // c.n_kv_heads)
            s = rotate(q[:, h * D:h * D + D]) @ rotate(k[:, g * D:g * D + D]).T / D**0.5
            s[np.triu_indices(T, 1)] = -np.inf
            e = np.exp(s - s.max(1, keepdims=True))
            heads.append(e / e.sum(1, keepdims=True) @ v[:, g * D:g * D + D])
        h = x + project(block_norm(np.hstack(heads), at + "self_attn.attn_sub_norm.weight"),
                        at + "self_attn.o_proj.weight")
        n = block_norm(h, at + "post_attention_layernorm.weight")
        gate, up = project(n, at + "mlp.gate_proj.weight"), project(n, at + "mlp.up_proj.weight")
        f = (gate / (1 + np.exp(-gate)) if c.activation == "silu" else np.maximum(gate, 0)**2) * up
        x = h + project(block_norm(f, at + "mlp.ffn_sub_norm.weight"), at + "mlp.down_proj.weight")
    return norm(x, p["norm.weight"]) @ head.T


@pytest.mark.parametrize("overrides", MODELS, ids=str)
def test_the_forward_pass_is_the_papers(overrides, rng):
    """Against a second, plain writing in float64. float32 rounding may flip an activation code at a tie,
    which moves a logit by a thousandth; the tolerance sits above that and far below what any wrong formula
    gives (about 0.1)."""
    model = Transformer(ModelConfig(**SMALL | overrides), seed=1)
    for p in model.parameters().values():  # larger weights and uneven gains, so that every part matters
        p.data[...] = rng.standard_normal(p.data.shape) * (0.3 if p.data.ndim > 1
                                                           else 0.2) + (p.data.ndim == 1)
    ids = ids_of(rng)
    logits = model(ids).data
    for b in range(len(ids)):
        expected = reference(model, ids[b])
        assert np.abs(logits[:, b].T - expected).max() < (1e-4 if model.config.linear == "float"
                                                          else 2e-2) * np.abs(expected).max()


@pytest.mark.parametrize("overrides", MODELS, ids=str)
def test_parameters_are_counted_before_they_exist(overrides):
    config = ModelConfig(**SMALL | overrides)
    assert config.n_parameters == sum(p.data.size for p in Transformer(config).parameters().values())


def test_tensor_names_are_those_of_bitnet_for_causal_lm():
    """"model." + name, but for the head, is the published layout."""
    names = set(Transformer(ModelConfig(**SMALL | {"n_layers": 1})).parameters())
    block = {f"layers.0.{name}.weight" for name in (
        "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "self_attn.attn_sub_norm",
        "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "mlp.ffn_sub_norm")}
    assert names == block | {"embed_tokens.weight", "norm.weight", "lm_head.weight"}


def test_the_float_arm_has_no_sub_norms():
    assert not any("sub_norm" in name
                   for name in Transformer(ModelConfig(**SMALL, linear="float")).parameters())


@pytest.mark.parametrize("overrides", MODELS, ids=str)
def test_a_quantized_model_quantized_again_is_the_same(overrides, rng):
    model = Transformer(ModelConfig(**SMALL | overrides)).quantized()
    again, ids = model.quantized(), ids_of(rng)
    assert np.array_equal(again(ids).data, model(ids).data)
    assert all(p.data is model.parameters()[name].data for name, p in again.parameters().items())


@pytest.mark.parametrize("overrides", MODELS, ids=str)
def test_the_quantized_model_gives_the_same_loss_and_gradients(overrides, rng):
    """array_equal: the short cut of the training step is the plain form, quantizers on the tape, bit for
    bit."""
    # in training b1 takes another activation scale, which only the quantized model knows
    training = overrides.get("linear") != "binary"
    model = Transformer(ModelConfig(**SMALL | overrides))
    ids, results = ids_of(rng), []
    quantized = model.quantized(training)
    for used in (model, quantized):
        with record() as tape:
            loss = used.loss(ids, ids)
        grads = backward(tape, loss)
        results.append((loss.data, {name: grads[p.key] for name, p in used.parameters().items()}))
    (a, grads_a), (b, grads_b) = results
    assert a == b and grads_a.keys() == grads_b.keys()
    assert all(np.array_equal(grads_a[name], grads_b[name]) for name in grads_a)


def exact(monkeypatch):
    """Replace the quantizers by identities of Quantized form: the model becomes differentiable in the
    ordinary sense."""
    identity = op(lambda x, axis=0: (Quantized(x, np.ones((1,) * x.ndim, x.dtype)), lambda g: (g,)))
    monkeypatch.setattr(layers.BitLinear, "quantize_input", staticmethod(identity))
    for layer in (layers.BitLinear, layers.BinaryLinear):
        monkeypatch.setattr(layer, "quantize_weight", staticmethod(identity))
    for table in ("WEIGHTS", "ACTIVATIONS"):
        monkeypatch.setattr(layers, table, dict.fromkeys(vars(layers)[table], identity))


@pytest.mark.parametrize("seed", range(20))
def test_whole_model_gradients_agree_with_finite_differences(seed, monkeypatch):
    """Quantizers replaced by the identity, 20 random shapes and variants, one random direction through all
    parameters."""
    exact(monkeypatch)
    rng = np.random.default_rng(seed)
    n_kv_heads = int(rng.choice([1, 2, 4]))
    c = ModelConfig(vocab_size=7, d_model=8 * int(rng.integers(1, 3)), n_layers=int(rng.integers(1, 3)),
                    n_heads=4, n_kv_heads=n_kv_heads, d_ffn=12,
                    context=6, tied=bool(rng.integers(2)),
                    linear=str(rng.choice(list(VARIANTS))), norm_eps=0.1,
                    activation=str(rng.choice(["silu", "relu2"])))
    model = Transformer(c, seed)
    for p in model.parameters().values():
        p.data = rng.standard_normal(p.data.shape) * 0.5
    model.rotary = tuple(table.astype(float) for table in model.rotary)
    ids, targets = rng.integers(0, 7, (2, 2, 6))
    direction = {name: rng.standard_normal(p.data.shape) for name, p in model.parameters().items()}
    with record() as tape:
        loss = model.loss(ids, targets)
    grads = backward(tape, loss)
    analytic = sum(np.vdot(grads[p.key], direction[name]) for name, p in model.parameters().items())
    h, sides = 1e-6, []
    for sign in (1, -1):
        moved = Transformer(c, seed)
        moved.rotary = model.rotary
        for (name, p), q in zip(model.parameters().items(), moved.parameters().values()):
            q.data = p.data + sign * h * direction[name]
        sides.append(moved.loss(ids, targets).data)
    numeric = (sides[0] - sides[1]) / (2 * h)
    assert abs(numeric - analytic) < 1e-5 * max(abs(numeric), 0.1)


@pytest.mark.parametrize("overrides", MODELS, ids=str)
def test_decoding_with_a_cache_gives_the_logits_of_the_whole_sequence(overrides, rng):
    """Prompt of 4, then one token at a time: the same to the last bit."""
    model = Transformer(ModelConfig(**SMALL | overrides), seed=1)
    for p in model.parameters().values():
        p.data[...] = rng.standard_normal(p.data.shape) * 0.3
    quantized, ids = model.quantized(), ids_of(rng, 1, 12)
    whole, caches = quantized(ids).data, caches_of(model.config)
    parts = [quantized(ids[:, :4], caches).data]
    parts += [quantized(ids[:, t:t + 1], caches).data for t in range(4, 12)]
    assert np.array_equal(np.concatenate(parts, 2), whole)


@pytest.mark.parametrize("bad, message", [
    ({"n_heads": 3}, r"n_heads = 3 cuts d_model = 16 into heads of 5.33333: expected a whole, even number"),
    ({"d_model": 12, "n_heads": 4}, "heads of 3"),
    ({"n_kv_heads": 3}, "n_kv_heads = 3 does not divide n_heads = 4"),
    ({"d_model": 0}, "d_model = 0: expected a value from 1"),
    ({"n_layers": -1}, "n_layers = -1"),
    ({"context": 0}, "context = 0"),
    ({"linear": "trinary"}, "linear = 'trinary': expected one of ternary, binary, float"),
    ({"activation": "gelu"}, "activation = 'gelu'"),
    ({"norm_eps": float("nan")}, "norm_eps = nan"),
])
def test_configurations_that_make_no_model_are_one_line(bad, message):
    with pytest.raises(UserError, match=message):
        ModelConfig(**SMALL | bad)


@pytest.mark.parametrize("T", [13, 24])
def test_more_tokens_than_the_context_are_refused(T, rng):
    """Also at twice the context, where the shapes would fit by accident, and with a cache that is nearly
    full."""
    model = Transformer(ModelConfig(**SMALL))
    with pytest.raises(ValueError, match=f"{T} tokens: expected at most the context of 12"):
        model(ids_of(rng, 1, T))
    caches = caches_of(model.config)
    model(ids_of(rng, 1, 10), caches)
    with pytest.raises(ValueError, match="13 tokens"):
        model(ids_of(rng, 1, 3), caches)


def test_the_variants_are_the_choices_of_the_configuration():
    field = {f.name: f for f in dataclasses.fields(ModelConfig)}["linear"]
    assert tuple(field.metadata["choices"]) == ("ternary", "binary", "float", "ternary_llama", "a48", "v2")


def test_a_mistyped_size_is_refused_before_memory_is_touched():
    config = ModelConfig(**SMALL | {"n_layers": 1000, "d_model": 1024})
    with pytest.raises(UserError, match="parameters: expected at most 536,870,912"):
        Transformer(config)


def test_the_default_sizes_are_the_small_configuration():
    """d 128, 4 layers, ffn 352 with 65 characters: the 0.82M parameters of the README's comparison."""
    config = ModelConfig(vocab_size=65)
    assert (config.d_ffn, config.n_kv_heads, config.n_parameters) == (352, 4, 822_528)


def test_every_field_has_a_help_text():
    assert all(f.metadata["help"] for f in dataclasses.fields(ModelConfig))


def test_b1_normalizes_without_parameters(rng):
    """In the binary variant the only gain left is the last norm's, in front of the float head."""
    gains = [name for name, p in Transformer(ModelConfig(**SMALL, linear="binary")).parameters().items()
             if p.data.ndim == 1]
    assert gains == ["norm.weight"]


def test_embedding_and_head_are_not_quantized():
    parameters = Transformer(ModelConfig(**SMALL)).quantized().parameters()
    quantized = [name for name, p in parameters.items() if isinstance(p.data, Quantized)]
    assert len(quantized) == 2 * 7
    assert not any("embed" in name or "head" in name or "norm" in name for name in quantized)
    assert isinstance(ops.embedding(Tensor(np.ones((2, 3))), np.array([[1]])).data, np.ndarray)


def test_a_variant_is_one_row_of_the_table():
    """Its quantizers are those of its projections, which are Linears where nothing is quantized; its norms
    have a layer."""
    rng = np.random.default_rng(0)
    w, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 6), (6, 2, 3)))
    for name, variant in VARIANTS.items():
        for reads in variant.reads:
            projection = layers.projection_of(ModelConfig(linear=name), reads)
            if variant.quantize is None:
                assert projection is layers.Linear
                continue
            assert np.array_equal(projection.quantize_weight.forward(w).codes, variant.quantize(w).codes)
            assert set(variant.quantize(w).codes.ravel()) <= set(variant.codes)
            codes = projection.quantize_input.forward(x).codes
            assert projection.rotated == reads.rotated
            assert np.array_equal(codes, reads.quantize(x).codes)
            assert np.abs(codes).max() <= 2**(reads.bits - 1)
        assert variant.norm in NORMS and variant.sub_norm in NORMS


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("linear", VARIANTS)
def test_the_shapes_that_the_configuration_says_are_the_parameters(linear, tied):
    """Names, order and sizes; their sum is n_parameters."""
    c = ModelConfig(vocab_size=11, d_model=8, n_layers=2, n_heads=4, n_kv_heads=2, d_ffn=6, linear=linear,
                    tied=tied)
    parameters = Transformer(c).parameters()
    assert list(c.tensor_shapes().items()) == [(name, p.data.shape) for name, p in parameters.items()]
    assert c.n_parameters == sum(p.data.size for p in parameters.values())
