"""Layers: which parameters go through which op. A layer keeps nothing of a call, so it may be called twice.

``Attention`` and ``FeedForward`` carry the names of Hugging Face's ``BitNetForCausalLM``, so the dotted
attribute paths that ``Module.parameters`` finds are that layout's tensor names (which add "model." before all
but the head's). c: a ``ModelConfig``, or whatever has its attributes.
"""
import copy
import math
from functools import partial

import numpy as np

from ..exact import Operand, fine, fine_gradient, operand
from ..quant import Quantized, absmax_int8, absmean_int4, absmean_ternary, sign_binary, sparse_int8
from ..variants import LAYER, RMS
from . import ops, ste
from .autograd import Tensor


class Module:
    """A thing with parameters: its Tensors, and those of Modules, or lists of them, among its attributes."""

    def parameters(self):
        """{dotted attribute path: Tensor} in order of definition; one that is met twice is there once."""
        found, seen = {}, set()
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                children = {name: value}
            elif isinstance(value, Module):
                children = {f"{name}.{k}": p for k, p in value.parameters().items()}
            elif isinstance(value, list):
                children = {f"{name}.{i}.{k}": p for i, module in enumerate(value)
                            for k, p in module.parameters().items()}
            else:
                continue
            for path, p in children.items():
                if p not in seen:
                    found[path] = p
                    seen.add(p)
        return found

    def __repr__(self):
        shapes = {path: p.data.shape for path, p in self.parameters().items()
                  if hasattr(p.data, "shape")}                       # not of a model that is quantized
        sizes = getattr(self, "config", None)
        return f"<{type(self).__name__}: {sizes.summary if sizes else shapes}>"

    def arrays(self):
        """{name: array} of the parameters."""
        return {name: p.data for name, p in self.parameters().items()}

    def quantized(self, training=False, eight_bits=False):
        """The quantized model: a Module of the same class whose parameters have the same names. The weight of
        a BitLinear is another Tensor, a ``Quantized`` pair in place of the latent matrix, and that of a
        Linear another one, an ``Operand``; the rest are the very Tensors of this one. training: the model is
        for a training step, where variants may quantize activations in another way. eight_bits: whatever the
        variant, activations have 8 bits, the first stage of training for fewer.

        So weights are quantized once, however often the model is called, outside the tape: their gradient,
        dL/d(codes * scale), ends at the quantized weight. A step hands it to the latent weight of the
        same name: the straight-through estimator, of weights, without an op of ``ste.py``. (A BitLinear that
        was not quantized beforehand runs its op; tests hold both forms equal, bit for bit.)
        """
        quantized = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Module):
                setattr(quantized, name, value.quantized(training, eight_bits))
            elif isinstance(value, list):
                setattr(quantized, name, [m.quantized(training, eight_bits) for m in value])
        return quantized


class Linear(Module):
    """y = W x, W (n, m), no bias.

    W starts with variance 1/m, which makes Var(y) = E[x^2] at every width; with quantized weights, whose
    magnitude is mean|W|, that is 0.44 E[x^2] (ternary) and 0.64 E[x^2] (binary)."""

    def __init__(self, m, n, rng):
        self.weight = Tensor(normal(rng, (n, m), std=1 / math.sqrt(m)))

    def prepare_input(self, x):                  # once for all layers that read x
        return ops.ready(x)

    def __call__(self, x):                       # (m, B, T) -> (n, B, T)
        return ops.linear(x, self.weight)

    def quantized(self, training=False, eight_bits=False):
        # no codes, but rounded for its products once for all calls
        quantized = copy.copy(self)
        if not isinstance(self.weight.data, Operand):
            quantized.weight = Tensor(operand(self.weight.data, -1))
        return quantized


class BitLinear(Linear):
    """y = W~ x~ (s_w s_x), ternary weights, 8-bit activations: BitNet b1.58. [bitnet] eq. 11, [b158] eqs. 1-3
    With ``rotated``, x~ of H x, a Hadamard transformation: the H-BitLinear of [v2] eq. 7.

    ``weight`` is the latent float matrix that the optimizer moves. x comes out of a norm: the norm that the
    papers draw inside the BitLinear stands in front of it here, so that q, k and v (gate and up) share one
    norm and one x~.
    """
    quantize_weight = staticmethod(ste.ternary_weight)
    quantize_input = staticmethod(ste.int8_activation)         # one scale per token
    rotated = False

    def prepare_input(self, x):
        if isinstance(x.data, Quantized):        # x~ already, which q, k and v, or gate and up, share
            return x
        return self.quantize_input(ops.hadamard(x) if self.rotated else x)

    def __call__(self, x):
        quantized = isinstance(self.weight.data, Quantized)                # by ``quantized()``, beforehand
        w = self.weight if quantized else self.quantize_weight(self.weight)
        return ops.quantized_linear(self.prepare_input(x), w)

    def quantized(self, training=False, eight_bits=False):
        quantized = copy.copy(self)
        if not isinstance(self.weight.data, Quantized):
            quantized.weight = Tensor(self.quantize_weight.forward(self.weight.data))
        if eight_bits:
            quantized.quantize_input = ste.int8_activation
        return quantized


class BinaryLinear(BitLinear):
    """BitLinear of BitNet b1: weights Sign(W - alpha) beta; one activation scale per tensor in training, per
    token otherwise ([bitnet] §2.1). In training the tensor is one shard of the batch, and its maximum sees
    later tokens.
    """
    quantize_weight = staticmethod(ste.binary_weight)

    def quantized(self, training=False, eight_bits=False):
        quantized = super().quantized(training, eight_bits)
        if training:
            quantized.quantize_input = partial(ste.int8_activation, axis=None)
        return quantized


class Head(Linear):
    """The Linear that makes logits, from floats in every variant."""
    grids = None, None

    def __call__(self, x):
        return ops.head(x, self.weight, grids=self.grids)

    def quantized(self, training=False, eight_bits=False):
        # its matrix may be the embedding as well, and stays as it is
        quantized = copy.copy(self)
        quantized.grids = fine(self.weight.data, -1), (fine_gradient(self.weight.data) if training else None)
        return quantized


class Embedding(Module):
    """x = table[ids], table (V, C)."""

    def __init__(self, vocab_size, size, rng):
        self.weight = Tensor(normal(rng, (vocab_size, size), std=1.0))

    def __call__(self, ids):                     # (B, T) int -> (C, B, T)
        return ops.embedding(self.weight, ids)


class RMSNorm(Module):
    """With a gain, which starts at 1.   [b158] §2"""

    def __init__(self, size, eps):
        self.weight = Tensor(np.ones(size, np.float32))
        self.eps = eps

    def __call__(self, x):
        return ops.rms_norm(x, self.weight, eps=self.eps)


class LayerNorm(Module):
    """Without gain and bias.   [bitnet] eq. 12"""

    def __init__(self, size, eps):
        self.eps = eps

    def __call__(self, x):
        return ops.layer_norm(x, eps=self.eps)


class Identity(Module):
    """The sub-norm of a variant that has none."""

    def __init__(self, size, eps):
        pass

    def __call__(self, x):
        return x


# What the words of ``variants.py`` mean here. The sub-norms belong to the BitLinears: with "float", no
# sub-norm and plain projections, the block is LLaMA's, the papers' baseline.
PROJECTIONS = {"ternary": BitLinear, "binary": BinaryLinear, "float": Linear}
NORMS = {RMS: RMSNorm, LAYER: LayerNorm, None: Identity}
WEIGHTS = {absmean_ternary: ste.ternary_weight, sign_binary: ste.binary_weight}
ACTIVATIONS = {absmax_int8: ste.int8_activation, absmean_int4: ste.int4_activation,
               sparse_int8: ste.sparse_int8_activation}


def projection_of(c, reads):
    """The class of a model's projections that read so, the variant's ``inputs``, ``o`` or ``down``. Where
    PROJECTIONS has none it is a Linear, or a BitLinear with the variant's quantizers."""
    if c.linear in PROJECTIONS or not c.variant.has_codes:
        return PROJECTIONS.get(c.linear, Linear)
    weights = WEIGHTS.get(c.variant.quantize) or ste.straight_through(c.variant.quantize)
    return type("OwnLinear", (BitLinear,), {
        "quantize_weight": staticmethod(weights), "rotated": reads.rotated,
        "quantize_input": staticmethod(ACTIVATIONS[reads.quantize])})


class Attention(Module):
    """o(sub_norm(attention(rope(q), rope(k), v)))  with q, k, v from x."""

    def __init__(self, c, rng):
        projection, sub_norm = projection_of(c, c.variant.inputs), NORMS[c.variant.sub_norm]
        d_kv = c.n_kv_heads * c.head_dim
        self.q_proj = projection(c.d_model, c.d_attention, rng)
        self.k_proj = projection(c.d_model, d_kv, rng)
        self.v_proj = projection(c.d_model, d_kv, rng)
        self.attn_sub_norm = sub_norm(c.d_attention, c.norm_eps)
        self.o_proj = projection_of(c, c.variant.o)(c.d_attention, c.d_model, rng)
        self.head_dim = c.head_dim

    def __call__(self, x, rotary, cache=None):   # normed x (C, B, T), its (cos, sin) (D/2, B, T) -> (C, B, T)
        x = self.q_proj.prepare_input(x)         # once for q, k and v
        cos, sin = rotary
        q = ops.rope(self.q_proj(x), cos=cos, sin=sin)
        k = ops.rope(self.k_proj(x), cos=cos, sin=sin)
        v = self.v_proj(x)
        if cache is not None:
            k, v = map(Tensor, cache.extend(k.data, v.data))     # no gradient passes through a cache
        a = ops.causal_attention(q, k, v, head_dim=self.head_dim)
        return self.o_proj(self.attn_sub_norm(a))


class FeedForward(Module):
    """down(sub_norm(act(gate) * up))  with gate, up from x."""

    def __init__(self, c, rng):
        projection, sub_norm = projection_of(c, c.variant.inputs), NORMS[c.variant.sub_norm]
        self.gate_proj = projection(c.d_model, c.d_ffn, rng)
        self.up_proj = projection(c.d_model, c.d_ffn, rng)
        self.ffn_sub_norm = sub_norm(c.d_ffn, c.norm_eps)
        self.down_proj = projection_of(c, c.variant.down)(c.d_ffn, c.d_model, rng)
        self.act = {"silu": ops.swiglu, "relu2": ops.relu2_gate}[c.activation]

    def __call__(self, x):                       # normed x (C, B, T) -> (C, B, T)
        x = self.gate_proj.prepare_input(x)      # once for gate and up
        return self.down_proj(self.ffn_sub_norm(self.act(self.gate_proj(x), self.up_proj(x))))


def normal(rng, shape, std):
    """Initial weights: N(0, std^2), float32."""
    return (std * rng.standard_normal(shape)).astype(np.float32)
