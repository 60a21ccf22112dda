"""The packed engine is the training model, bit for bit."""
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from minibitnet.language_model import FloatEngine, LanguageModel
from minibitnet.errors import NonFiniteError
from minibitnet.measure import random_models
from minibitnet.formats import packed
from minibitnet.inference.cache import KINDS
from minibitnet.inference.packed_engine import PackedBitLinear, PackedModel
from minibitnet.nn import layers
from minibitnet.nn.autograd import Tensor
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.float16 import BFLOAT16, rounded
from minibitnet.threads import Caller


def arrays_of(model):
    return {name: p.data for name, p in model.parameters().items()}


def engine_of(model, dtype=np.dtype(np.float32)):
    matrices, arrays = packed.pack(arrays_of(model), model.config)
    return PackedModel(model.config, matrices, {name: rounded(a, dtype) for name, a in arrays.items()})


def random_config(rng, **options):
    heads = int(rng.choice([1, 2, 4]))
    return ModelConfig(**{
        "vocab_size": int(rng.integers(2, 40)),
        "linear": str(rng.choice(["ternary", "binary", "ternary_llama", "a48", "v2"])), "n_heads": heads,
        "d_model": heads * 2 * int(rng.integers(1, 12)),
        "n_kv_heads": int(rng.choice([k for k in (1, 2, 4) if heads % k == 0])),
        "d_ffn": int(rng.integers(1, 90)), "n_layers": int(rng.integers(1, 4)),
        "d_head": int(rng.choice([0, 0, 2, 6])),
        "context": int(rng.integers(1, 20)), "activation": str(rng.choice(["silu", "relu2"])),
        "tied": bool(rng.integers(2)), "rope_theta": float(rng.choice([1e4, 5e5])),
        "norm_eps": float(rng.choice([1e-6, 1e-5])), **options})


def shaken(model, rng):
    """The model with gains that are not 1 and weights whose scales differ."""
    for p in model.parameters().values():
        p.data = (p.data * rng.uniform(0.3, 2) * rng.uniform(0.7, 1.3, p.data.shape)).astype(np.float32)
    return model


@pytest.mark.parametrize("seed", range(20))
def test_a_packed_bitlinear_is_the_training_forward(seed):
    """A hundred random shapes a seed: the same float32 numbers, to the last bit."""
    rng = np.random.default_rng(seed)
    for _ in range(100):
        n, m = rng.integers(1, 150, 2)
        B, T = rng.integers(1, 4), rng.integers(1, 8)
        kind = layers.BitLinear if rng.integers(2) else layers.BinaryLinear
        layer = kind(int(m), int(n), rng)
        x = (rng.standard_normal((m, B, T)) * rng.choice([1e-7, 1, 1e4])).astype(np.float32)
        c = ModelConfig(linear="ternary" if kind is layers.BitLinear else "binary")
        matrix = packed.pack({"a_proj.weight": layer.weight.data}, c)[0]
        assert np.array_equal(PackedBitLinear(list(matrix.values()))(x), layer.quantized()(Tensor(x)).data)


@pytest.mark.parametrize("seed", range(10))
def test_logits_are_those_of_the_training_model(seed):
    """Twenty random models a seed: ternary and binary, grouped heads, tied heads, both activations, the
    rotary base and eps of 2B-4T and our own."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        c = random_config(rng)
        model = shaken(Transformer(c, int(rng.integers(99))), rng)
        ids = rng.integers(0, c.vocab_size, (int(rng.integers(1, 4)), int(rng.integers(1, c.context + 1))))
        assert np.array_equal(engine_of(model)(ids), model.quantized()(ids).data), c


def test_the_comparison_sees_one_changed_weight(rng):
    """The checker is checked: one code of one matrix off by one shows in the logits."""
    c = ModelConfig(vocab_size=11, d_model=16, n_layers=1, n_heads=2, context=8)
    model, ids = Transformer(c), rng.integers(0, 11, (1, 8))
    expected = model.quantized()(ids).data
    weight = model.layers[0].mlp.down_proj.weight.data
    weight[3, 4] = -weight[3, 4] if abs(weight[3, 4]) > np.abs(weight).mean() else 9
    assert not np.array_equal(engine_of(model)(ids), expected)


@pytest.mark.parametrize("dtype, tolerance", [(np.dtype(np.float16), 2e-2), (BFLOAT16, 1e-1)])
def test_16_bit_embeddings_stay_16_bit_and_change_little(dtype, tolerance, rng):
    """Not equal to the bit, for the head's weights are rounded: relative to the logits' spread, by 2^-11 and
    2^-8 times the width's root, and by the codes that flip. The head is kept as whole numbers of 16 bits; a
    tied one is the embedding as well, once in memory."""
    c = ModelConfig(vocab_size=50, d_model=32, n_layers=2, n_heads=2, context=16)
    model, ids = Transformer(c), rng.integers(0, 50, (2, 16))
    exact, engine = model.quantized()(ids).data, engine_of(model, dtype)
    assert engine.embedding.dtype == dtype and engine.head.codes.dtype == np.int16
    tied = engine_of(Transformer(replace(c, tied=True)), dtype)
    assert tied.embedding is tied.head and np.isfinite(tied(ids)).all()
    assert 0 < np.abs(engine(ids) - exact).max() < tolerance * exact.std() * 5


def test_the_head_in_blocks_is_the_head(rng, monkeypatch):
    from minibitnet.inference import packed_engine as module
    c = ModelConfig(vocab_size=50, d_model=32, n_layers=1, n_heads=2, context=16)
    engine = engine_of(Transformer(c), BFLOAT16)
    x = rng.standard_normal((32, 2, 3)).astype(np.float32)
    for rows, shares in (20, 1), (7, 3), (1, 3):  # 3 blocks, which one thread handles, 8 and 50
        monkeypatch.setattr(module, "HEAD_BLOCK", rows * 32)
        engine.threads, engine.pool = 1, Caller()
        alone = engine.project(x)
        assert np.allclose(alone, np.tensordot(engine.head.row(np.arange(50)), x, 1), rtol=1e-5, atol=1e-5)
        with ThreadPoolExecutor(3) as pool:
            asked, ask = [], pool.map
            monkeypatch.setattr(pool, "map", lambda work, ks: asked.extend(ks) or ask(work, ks))
            engine.threads, engine.pool = 3, pool
            assert np.array_equal(engine.project(x), alone) and asked == list(range(1, shares))


def in_pieces(engine, ids, cuts):
    """The logits of the places of ids (B, T), token by token or piece by piece
    with a cache, cut at ``cuts``."""
    caches = engine.new_caches(len(ids))
    pieces = [piece for piece in np.split(ids, cuts, axis=1) if piece.size]
    return np.concatenate([engine(piece, caches) for piece in pieces], axis=2)


@pytest.mark.parametrize("seed", range(20))
def test_decoding_token_by_token_in_pieces_in_a_batch_or_at_once_gives_the_same_logits(seed):
    """Ten random models a seed, ternary and binary, grouped, tied, both activations, for the float and the
    packed engine: no bit differs."""
    rng = np.random.default_rng([9, seed])
    for _ in range(10):
        c = random_config(rng, context=int(rng.integers(2, 20)))
        model = shaken(Transformer(c, int(rng.integers(99))), rng)
        ids = rng.integers(0, c.vocab_size, (3, c.context))
        whole = FloatEngine(model)(ids)
        for engine in (FloatEngine(model), engine_of(model)):
            assert np.array_equal(engine(ids), whole), c
            assert np.array_equal(in_pieces(engine, ids, range(1, c.context)), whole), c
            assert np.array_equal(in_pieces(engine, ids, np.sort(rng.integers(0, c.context, 2))), whole), c
            assert np.array_equal(engine(ids[1:2]), whole[:, 1:2]), c
            assert np.array_equal(engine(ids, engine.new_caches(3), last=True), whole[..., -1:]), c


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_a_cache_of_fewer_bits_too_gives_the_same_logits_in_pieces(bits, rng):
    c = ModelConfig(vocab_size=30, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, context=40)
    engine, ids = engine_of(Transformer(c)), rng.integers(0, 30, (2, 40))
    engine.kv_bits = bits
    assert np.array_equal(in_pieces(engine, ids, range(1, 40)), in_pieces(engine, ids, []))


def test_a_cache_that_forgot_one_bit_would_be_found_out(rng):
    """The comparison is checked: one value of one key moved by 64 units of its
    last place shows in the logits."""
    c = ModelConfig(vocab_size=30, d_model=32, n_layers=1, n_heads=4, context=24, linear="float")
    engine, ids = FloatEngine(Transformer(c)), rng.integers(0, 30, (1, 24))
    whole, caches = engine(ids), engine.new_caches()
    engine(ids[:, :23], caches)
    k = caches[0].k[..., :23]
    k[k == k.max()] += np.spacing(k.max()) * 64
    assert not np.array_equal(engine(ids[:, 23:], caches), whole[..., 23:])


def test_loading_a_model_never_unpacks_a_whole_matrix(tmp_path):
    """Besides the 2.2 MB of its file: of gate and up, a million weights each, the stacked planes, half a
    million bytes, and the eight blocks' planes that they are made of, or one block of 262,144 unpacked. A
    whole matrix unpacked, and then compared with 0, would be two million."""
    c = ModelConfig(vocab_size=20, d_model=512, n_layers=2, n_heads=4, d_ffn=2048, context=4)
    random_models.write_model(tmp_path / "p", c)
    tracemalloc.start()
    try:
        *_, matrices, arrays = packed.load(tmp_path / "p", lambda config: ModelConfig(**config["model"]))
        PackedModel(c, matrices, arrays)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert matrices == {} and peak < (tmp_path / "p").stat().st_size + 2_000_000


def test_a_full_context_is_refused(rng):
    engine = engine_of(Transformer(ModelConfig(vocab_size=30, d_model=16, n_layers=1, n_heads=2, context=8)))
    with pytest.raises(ValueError, match="9 tokens: expected at most the context of 8"):
        engine(np.zeros((1, 9), int))


@pytest.mark.filterwarnings("ignore:.* encountered in ")
@pytest.mark.parametrize("spoiled", ["layers.0.input_layernorm.weight", "norm.weight"])
def test_logits_that_are_not_finite_are_refused_by_every_engine_of_floats(spoiled):
    """A model of sizes that overflow, read as a whole and by its head's blocks."""
    c = ModelConfig(vocab_size=5000, d_model=16, n_layers=1, n_heads=2, context=16)
    model = Transformer(c)
    model.parameters()[spoiled].data[:] = 3e38
    for engine in (PackedModel(c, *packed.pack(arrays_of(model), c), threads=2), FloatEngine(model)):
        for last in (False, True):
            with pytest.raises(NonFiniteError, match="logits are not finite"):
                engine(np.arange(9)[None], engine.new_caches(), last=last)


@pytest.mark.filterwarnings("ignore:.* encountered in ")
def test_logits_too_far_apart_for_a_loss_are_refused():
    """All finite: the target's is -2.4e38, the other one 2.4e38, and float32 has no difference of the two."""
    c = ModelConfig(vocab_size=2, d_model=4, n_layers=1, n_heads=1, context=2)
    speaker = LanguageModel(FloatEngine(Transformer(c)), SimpleNamespace(end=None), {"corpus": {}})
    speaker.engine = lambda ids: np.float32([2.4e38, -2.4e38])[:, None, None]
    assert speaker.losses(np.zeros((1, 1), int), np.zeros((1, 1), int)) == [0]
    with pytest.raises(NonFiniteError, match="a token's loss is not finite"):
        speaker.losses(np.zeros((1, 1), int), np.ones((1, 1), int))


def test_fewer_bits_in_the_cache_change_the_logits_more(rng):
    c = ModelConfig(vocab_size=30, d_model=32, n_layers=2, n_heads=4, context=24)
    engine, ids = engine_of(Transformer(c)), rng.integers(0, 30, (1, 24))
    exact = engine(ids)
    change = {}
    for bits, kind in KINDS.items():
        logits = engine(ids, [kind(c, len(ids)) for _ in engine.blocks])
        change[bits] = np.abs(logits - exact).mean() / exact.std()
    assert change[32] == 0 and 0 < change[16] < 0.01
    assert change[16] < change[8] < 0.03 and change[8] < change[4] < 0.3


def test_shapes_are_those_of_the_model():
    rng = np.random.default_rng(0)
    for _ in range(20):
        model = Transformer(random_config(rng))
        assert model.config.tensor_shapes() == {name: p.data.shape for name, p in model.parameters().items()}
