"""The model, on one page: a LLaMA-like transformer ([b158] §2), laid out as ``BitNetForCausalLM``.

    h = x + o(sub_norm(attention(rope(q), rope(k), v)))    with q, k, v from norm(x)
    x = h + down(sub_norm(act(gate) * up))                 with gate, up from norm(h)

Embedding, head, norms and residual stream stay in floating point; every other matrix is a BitLinear. Each
BitLinear's input is normed once and quantized once. One word changes the variant (``variants.py``):

    linear="ternary"   BitNet b1.58
    linear="binary"    BitNet b1's quantizers, LayerNorm and scales in this same block. Departures: b1's own
                       block is an older transformer (no gate, no rotary embedding); the last norm stays
                       RMSNorm with a gain.
    linear="float"     the full-precision LLaMA baseline: no quantizers, no sub-norms
    linear="a48"       BitNet a4.8: ternary weights, activations of 4 bits, of 8 before o and down
    linear="v2"        BitNet v2: ternary weights, activations of 4 bits; a Hadamard transformation before o
                       and down. Both are trained with 8 bits for most steps (``TrainConfig.a8_share``).
"""
from ..errors import UserError, brief
from ..exact import Random
from ..shapes import new_positions
from . import ops
from .config import ModelConfig, check_size
from .layers import NORMS, Attention, Embedding, FeedForward, Head, Module, RMSNorm


class Block(Module):
    def __init__(self, c, rng):
        norm = NORMS[c.variant.norm]
        self.input_layernorm = norm(c.d_model, c.norm_eps)
        self.self_attn = Attention(c, rng)
        self.post_attention_layernorm = norm(c.d_model, c.norm_eps)
        self.mlp = FeedForward(c, rng)

    def __call__(self, x, rotary, cache=None):   # (C, B, T) -> (C, B, T)
        h = ops.add(x, self.self_attn(self.input_layernorm(x), rotary, cache))
        return ops.add(h, self.mlp(self.post_attention_layernorm(h)))


class Transformer(Module):
    """Token ids to logits; what is called inside ``record()`` can be differentiated. c: ModelConfig; seed: of
    the initial weights.

    Training and inference run ``quantized()``, the model with every weight quantized beforehand. With
    "binary", b1's per-tensor activation scales are used by ``quantized(training=True)`` alone.
    """

    def __init__(self, c, seed=0):
        if not isinstance(c, ModelConfig):
            raise UserError(f"{brief(c)}: expected a ModelConfig")
        check_size(c)
        rng = Random(seed)
        self.config = c
        self.embed_tokens = Embedding(c.vocab_size, c.d_model, rng)
        self.layers = [Block(c, rng) for _ in range(c.n_layers)]
        self.norm = RMSNorm(c.d_model, c.norm_eps)
        self.lm_head = Head(c.d_model, c.vocab_size, rng)
        if c.tied:       # one matrix, with the head's start: unit embeddings give logits of size sqrt(d)
            self.embed_tokens.weight = self.lm_head.weight
        self.rotary = ops.rotary_tables(c.head_dim, c.context, c.rope_theta)

    def __call__(self, ids, caches=None):        # (B, T) int -> logits (V, B, T)
        return self.score(self.encode(ids, caches))

    def encode(self, ids, caches=None):          # (B, T) int -> residual stream (C, B, T)
        new = new_positions(ids, caches, self.config)
        rotary = ops.rotary_of(self.rotary, new, len(ids))
        x = self.embed_tokens(ids)
        for block, cache in zip(self.layers, caches or [None] * len(self.layers), strict=True):
            x = block(x, rotary, cache)
        return x

    def score(self, x):                          # (C, B, T) -> logits (V, B, T)
        return self.lm_head(self.norm(x))

    def loss(self, ids, targets):                # two (B, T) int -> (), mean nats per token
        return ops.cross_entropy(self(ids), targets)

    def losses(self, ids, targets):              # two (B, T) int -> (N,), nats of every target, as an array
        return ops.losses(self(ids).data, targets)
