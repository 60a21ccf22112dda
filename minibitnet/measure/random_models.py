"""Models and single blocks of a given shape with random weights, made in seconds: to measure time, memory
and energy, not quality."""
from dataclasses import asdict, replace

import numpy as np

from ..float16 import rounded
from ..formats.packed import FLOATS, PackedMatrix, is_bitlinear, save
from ..inference.cache import KVCache
from ..inference.packed_engine import PackedBlock, PackedModel
from ..nn import model, ops

# Sizes by what they are the shape of: 15m of llama3.np's model, 2b4t of BitNet b1.58 2B4T but for its
# context, which is 4,096.
SHAPES = {
    "tiny": dict(vocab_size=512, d_model=128, n_layers=4, n_heads=4, d_ffn=352, context=256),
    "15m": dict(vocab_size=32_000, d_model=288, n_layers=6, n_heads=6, d_ffn=768, context=256),
    "2b4t": dict(vocab_size=128_256, d_model=2560, n_layers=30, n_heads=20, n_kv_heads=5, d_ffn=6912,
                 context=256, activation="relu2", tied=True,
                 rope_theta=5e5, norm_eps=1e-5),
}
FOURS = np.array([a | b << 2 | c << 4 | d << 6 for a in range(3) for b in range(3) for c in range(3)
                  for d in range(3)], np.uint8)


SEED = 0


class RandomModel:
    """Packed matrices and arrays of a model, made when they are asked for: a large one never exists twice."""

    def __init__(self, c, dtype=np.dtype(np.float32), seed=SEED):
        self.shapes, self.dtype, self.rng = c.tensor_shapes(), dtype, np.random.default_rng(seed)

    def __getitem__(self, name):
        n, m = (*self.shapes[name], 1)[:2]
        if is_bitlinear(name):
            # 4 divides every size that is measured
            fours = FOURS[self.rng.integers(0, len(FOURS), (n // 4, m), np.uint8)]
            return PackedMatrix(fours, n, np.float32(m**-0.5))
        a = np.empty(self.shapes[name], self.dtype if m > 1 else np.float32)
        for i in range(0, n, 4096):
            rows = self.rng.standard_normal(a[i:i + 4096].shape, np.float32)
            a[i:i + 4096] = rounded(rows, a.dtype) if m > 1 else 1
        return a

    pop = __getitem__                            # as an engine takes its matrices


def write_model(path, c, dtype="float32"):
    """Write a random model as a packed file; dtype: of embedding and head."""
    weights = RandomModel(c, FLOATS[dtype])
    matrices, arrays = ({name: weights[name] for name in weights.shapes if is_bitlinear(name) == of_bitlinear}
                        for of_bitlinear in (True, False))
    save(path, {"model": asdict(c), "train": {}, "corpus": {}}, 0, matrices, arrays, dtype)


class Repeating:
    """In place of a Generator where only the size of a matrix matters: one row of normal numbers, over and
    over."""

    def standard_normal(self, shape):
        return np.broadcast_to(np.random.default_rng(SEED).standard_normal(shape[-1], np.float32), shape)


def packed_block(c):
    """One block of the packed engine -> (block, bytes of its weights)."""
    weights = RandomModel(c)
    block = PackedBlock(c, "layers.0.", weights, weights, None)
    return block, packed_bytes(block)


def packed_bytes(block):
    """Bytes of a packed block's weights as they are in memory."""
    return sum(linear.planes.nbytes for linear in (block.qkv_proj, block.o_proj, block.gate_up_proj,
                                                  block.down_proj))


def dense_block(c):
    """One block of the float variant, the papers' LLaMA -> (a function of arrays as the packed one is, bytes
    of its weights in float32)."""
    block = model.Block(replace(c, linear="float"), Repeating())
    return Dense(block), sum(p.data.nbytes for p in block.parameters().values() if p.data.ndim == 2)


class Dense:
    def __init__(self, block):
        self.block = block

    def __call__(self, x, rotary, cache=None):
        return self.block(x, rotary, cache).data


def engines(c):
    """The float and the packed engine of a random ternary model -> {name: (function of (ids, caches) to
    logits, bytes of its weights)}"""
    weights, running = RandomModel(c), model.Transformer(c).quantized()
    packed_model = PackedModel(c, weights, weights)
    rest = packed_model.embedding.nbytes + (not c.tied) * packed_model.head.nbytes
    return {"float": (lambda ids, caches: running(ids, caches).data, 4 * c.n_parameters),
            "packed": (packed_model, sum(map(packed_bytes, packed_model.blocks)) + rest)}


# ---- what a model or a block is asked to do

def rotary(c, batch, first, tokens):
    """cos and sin of so many tokens from position ``first`` on, as blocks take them."""
    tables = ops.rotary_tables(c.head_dim, first + tokens, c.rope_theta)
    return ops.rotary_of(tables, slice(first, None), batch)


def decode_step(blocks, c, batch, past):
    """A function that runs the next of the blocks on one new token of each of ``batch`` sequences, after
    ``past`` cached tokens."""
    rng, tables, cache = np.random.default_rng(SEED), rotary(c, batch, past, 1), KVCache(c, batch)
    cache.extend(*rng.standard_normal((2, c.n_kv_heads * c.head_dim, batch, past), np.float32))
    x = rng.standard_normal((c.d_model, batch, 1), np.float32)

    def step():
        cache.length = past
        return next(blocks)(x, tables, cache)
    return step


def model_step(engine, c, batch, past):
    """The same for a whole model: one token of each of ``batch`` sequences after ``past`` cached ones."""
    rng, caches = np.random.default_rng(SEED), [KVCache(c, batch) for _ in range(c.n_layers)]
    engine(rng.integers(0, c.vocab_size, (batch, past)), caches)
    ids = rng.integers(0, c.vocab_size, (batch, 1))

    def step():
        for cache in caches:
            cache.length = past
        return engine(ids, caches)
    return step


def prefill_step(blocks, c, tokens):
    """A function that runs the next of the blocks on a prompt."""
    rng, tables = np.random.default_rng(SEED), rotary(c, 1, 0, tokens)
    x = rng.standard_normal((c.d_model, 1, tokens), np.float32)
    return lambda: next(blocks)(x, tables)
