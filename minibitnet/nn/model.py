"""The model, on one page: a LLaMA-like transformer ([b158] §2) in the layout of Hugging Face's ``BitNetForCausalLM``.

    h = x + o(sub_norm(attention(rope(q), rope(k), v)))    with q, k, v from norm(x)
    x = h + down(sub_norm(act(gate) * up))                 with gate, up from norm(h)

Embedding, head, norms and residual stream stay in floating point; every other matrix is a BitLinear. Each BitLinear's
input is normed once and quantized once. One word changes the arm (``layers.ARMS``):

    linear="ternary"   BitNet b1.58
    linear="binary"    BitNet b1's quantizers, LayerNorm and scales in this same block. Departures: b1's own block is an
                       older transformer (GELU, no rotary embedding, no gate).
    linear="float"     the full-precision LLaMA baseline: no quantizers, no sub-norms
"""
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..options import check_choices, check_range, option
from . import ops
from .layers import ARMS, Attention, Embedding, FeedForward, KVCache, Linear, Module, RMSNorm, rotary_tables

MAX_PARAMETERS = 2**29    # 2 GiB of float32


@dataclass(frozen=True)
class ModelConfig:
    vocab_size: int = option(0, "token ids; 0: as many as the tokenizer has")
    linear: str = option("ternary", "what the projections are", choices=tuple(ARMS))
    d_model: int = option(128, "width of the residual stream")
    n_layers: int = option(4, "blocks")
    n_heads: int = option(4, "query heads; must divide d-model")
    n_kv_heads: int = option(0, "key/value heads; must divide n-heads; 0: as many as n-heads")
    d_ffn: int = option(0, "width of the feed-forward layer; 0: 2.75 times d-model")
    context: int = option(128, "longest sequence, in tokens")
    activation: str = option("silu", "feed-forward gate: SwiGLU, or the squared ReLU of 2B-4T", choices=("silu", "relu2"))
    tied: bool = option(False, "share one matrix between embedding and head")
    rope_theta: float = option(10000.0, "base of the rotary angles")
    norm_eps: float = option(1e-6, "added to the mean square inside every norm")

    def __post_init__(self):
        object.__setattr__(self, "n_kv_heads", self.n_kv_heads or self.n_heads)
        object.__setattr__(self, "d_ffn", self.d_ffn or 11 * self.d_model // 4)
        check_choices(self)
        check_range(self, vocab_size=(0, 2**31), d_model=(1, 2**20), n_layers=(1, 2**16), n_heads=(1, 2**20), n_kv_heads=(1, 2**20),
                    d_ffn=(1, 2**24), context=(1, 2**24), rope_theta=(1, 1e12), norm_eps=(0, 1))
        if self.d_model % self.n_heads or self.head_dim % 2:
            raise UserError(f"n_heads = {self.n_heads} cuts d_model = {self.d_model} into heads of "
                            f"{self.d_model / self.n_heads:g}: expected a whole, even number")
        if self.n_heads % self.n_kv_heads:
            raise UserError(f"n_kv_heads = {self.n_kv_heads} does not divide n_heads = {self.n_heads}")

    @property
    def head_dim(self):
        return self.d_model // self.n_heads

    @property
    def n_parameters(self):
        """Counted from the sizes, before any array exists."""
        d, d_kv, F = self.d_model, self.n_kv_heads * self.head_dim, self.d_ffn
        gains = {"ternary": 3 * d + F, "binary": 0, "float": 2 * d}[self.linear]
        block = 2 * d * d + 2 * d * d_kv + 3 * d * F + gains
        return self.n_layers * block + (1 if self.tied else 2) * self.vocab_size * d + d


def check_size(c):
    """UserError for a model of more than 2 GiB: a mistyped size should not take the machine down."""
    if c.n_parameters > MAX_PARAMETERS:
        raise UserError(f"this model has {c.n_parameters:,} parameters: expected at most {MAX_PARAMETERS:,}; is a size mistyped?")


class Block(Module):
    def __init__(self, c, rng):
        _, norm, _ = ARMS[c.linear]
        self.input_layernorm = norm(c.d_model, c.norm_eps)
        self.self_attn = Attention(c, rng)
        self.post_attention_layernorm = norm(c.d_model, c.norm_eps)
        self.mlp = FeedForward(c, rng)

    def __call__(self, x, rotary, cache=None):   # (C, B, T) -> (C, B, T)
        h = ops.add(x, self.self_attn(self.input_layernorm(x), rotary, cache))
        return ops.add(h, self.mlp(self.post_attention_layernorm(h)))


class Transformer(Module):
    """Token ids to logits. c: ModelConfig; seed: of the initial weights. Call it inside ``record()`` to differentiate."""

    def __init__(self, c, seed=0):
        check_size(c)
        rng = np.random.default_rng(seed)
        self.config = c
        self.embed_tokens = Embedding(c.vocab_size, c.d_model, rng)
        self.layers = [Block(c, rng) for _ in range(c.n_layers)]
        self.norm = RMSNorm(c.d_model, c.norm_eps)
        self.lm_head = Linear(c.d_model, c.vocab_size, rng)
        if c.tied:                               # one matrix, with the head's start: unit embeddings would give logits of size sqrt(d)
            self.embed_tokens.weight = self.lm_head.weight
        self.rotary = rotary_tables(c.head_dim, c.context, c.rope_theta)

    def __call__(self, ids, caches=None):        # (B, T) int -> logits (V, B, T)
        start = caches[0].length if caches else 0
        rotary = [np.repeat(table[:, None, start:start + ids.shape[1]], len(ids), axis=1) for table in self.rotary]   # (D/2, B, T)
        x = self.embed_tokens(ids)
        for block, cache in zip(self.layers, caches or [None] * len(self.layers), strict=True):
            x = block(x, rotary, cache)
        return self.lm_head(self.norm(x))

    def loss(self, ids, targets):                # two (B, T) int -> (), mean nats per token
        return ops.cross_entropy(self(ids), targets)

    def new_caches(self, batch=1):
        return [KVCache(self.config, batch) for _ in self.layers]
