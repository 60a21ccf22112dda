"""Looking inside a model: its layers' codes, and every intermediate of a forward pass, under a name."""
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .exact import exp, fine_product, total
from .inference.kernels import unpack
from .inference.packed_engine import PackedModel
from .nn.autograd import Tensor, watch
from .nn.model import Transformer
from .quant import Quantized

STACKED = {  # of a packed block: its matrices, and what they are stacked of
    "qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o_proj": ("self_attn.o_proj",),
    "gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "down_proj": ("mlp.down_proj",),
}


class Layer(NamedTuple):
    """A BitLinear's weights: value ≈ codes * scale."""
    name: str                    # "layers.0.self_attn.q_proj"
    codes: NDArray               # (n, m) int8
    scale: float
    latent: NDArray | None       # (n, m) float32, to read: what training moved; None in a packed model

    @property
    def zeros(self) -> float:
        """Share of the codes that are 0."""
        return float(np.count_nonzero(self.codes == 0) / self.codes.size)

    def __eq__(self, other):
        return (isinstance(other, Layer) and (self.name, self.scale) == (other.name, other.scale)
                and np.array_equal(self.codes, other.codes) and (
                    self.latent is other.latent or np.array_equal(self.latent, other.latent)))

    __hash__ = None

    def __repr__(self):
        n, m = self.codes.shape
        return f"<Layer {self.name}: {n} x {m}, scale {self.scale:.4g}, {self.zeros:.1%} zeros>"


def layers(transformer: Transformer) -> list[Layer]:
    """Every BitLinear of a model, in order; none of a float model."""
    quantized = transformer.quantized().parameters()
    return [Layer(name.removesuffix(".weight"), quantized[name].data.codes.astype(np.int8),
                  float(quantized[name].data.scale[0, 0]), read_only(p.data))
            for name, p in transformer.parameters().items() if isinstance(quantized[name].data, Quantized)]


def read_only(a):
    """A view that cannot be written to: the engine quantized these weights before."""
    view = a.view()
    view.flags.writeable = False
    return view


def packed_layers(engine: PackedModel) -> list[Layer]:
    """The same of a packed model, from its bits; there are no latent weights."""
    shapes, found = engine.config.tensor_shapes(), []
    for i, block in enumerate(engine.blocks):
        for attribute, names in STACKED.items():
            stack, end = getattr(block, attribute), 0
            for name in (f"layers.{i}.{name}" for name in names):
                rows = slice(end, end := end + shapes[f"{name}.weight"][0])
                scale = float(stack.scale[rows.start, 0, 0])
                found.append(Layer(name, unpack(stack.planes, rows), scale, None))
    return found


def trace(model: Transformer, ids: NDArray) -> dict[str, NDArray]:
    """{name: array} of every intermediate of a forward pass over ids (T,), in order: (features, T), "logits"
    last.

    A layer's output has the layer's name ("layers.0.self_attn.q_proj"), that of an operation between them the
    operation's ("layers.0.self_attn.rope(q_proj)", "layers.0.self_attn.attention"); the residual stream after
    each half of a block is "layers.0.add(self_attn)", "layers.0.add(mlp)". What a BitLinear reads are codes
    (int8) and a scale (T,): "layers.0.codes(input_layernorm)". Attention's weights, which the model itself
    never holds in full, are "layers.0.self_attn.probabilities", (heads, T queries, T keys).
    """
    quantized, found = model.quantized(), {}
    paths = {p.key: name.removesuffix(".weight") for name, p in quantized.parameters().items()}
    made = {}                                    # {key of a Tensor: its name}

    def see(name, inputs, options, out):
        layer = next((paths[x.key] for x in inputs if isinstance(x, Tensor) and x.key in paths), None)
        sources = [made[x.key] for x in inputs if isinstance(x, Tensor) and x.key in made]
        prefix, _, last = sources[0].rpartition(".") if sources else ("", "", "")
        if name == "head":                       # its matrix may be the embedding's
            label = "lm_head"
        elif name == "add":                      # of a block's two branches: the second input is its end
            block, branch, _ = sources[1].rsplit(".", 2)
            label = f"{block}.add({branch})"
        elif name == "layer_norm":               # has no parameters
            label = norm_of(prefix, last)
        elif name == "causal_attention":
            label = f"{prefix}.attention"
        else:
            label = layer or f"{prefix}.{name}({', '.join(source.rpartition('.')[2] for source in sources)})"
        made[out.key] = label
        data = out.data
        if isinstance(data, Quantized):
            found[f"{prefix}.codes({last})"] = data.codes[:, 0].astype(np.int8)
            found[f"{prefix}.scale({last})"] = data.scale[0, 0]
        elif isinstance(data, np.ndarray):
            found[label] = data[:, 0]
        if name == "causal_attention":
            q, k = (x.data[:, 0] for x in inputs[:2])
            found[f"{prefix}.probabilities"] = probabilities(q, k, options["head_dim"])

    with watch(see):
        logits = quantized(ids[None])
    del found["lm_head"]
    return found | {"logits": logits.data[:, 0]}


def norm_of(prefix, last):
    """What a norm reads, "PREFIX.LAST" -> the name of the norm."""
    if last == "attention":
        return f"{prefix}.attn_sub_norm"
    if last == "add(self_attn)":
        return f"{prefix}.post_attention_layernorm"
    if last in ("embed_tokens", "add(mlp)"):     # of the block before
        return f"layers.{int(prefix.removeprefix('layers.') or -1) + 1}.input_layernorm"
    return f"{prefix}.ffn_sub_norm"


def probabilities(q, k, head_dim):               # (H D, T), (K D, T) -> (H, T queries, T keys)
    """softmax(q^T k / sqrt(D)) over the keys that a query may see, as ``ops.causal_attention`` has it."""
    q, k = (a.reshape(-1, head_dim, a.shape[-1]) for a in (q, k))
    k = np.repeat(k, len(q) // len(k), axis=0)                           # each serves H / K query heads
    scores = fine_product((q / math.sqrt(head_dim)).swapaxes(1, 2), k)   # (H, T, T)
    scores -= np.tri(*scores.shape[1:], k=-1, dtype=scores.dtype).T * 1e30
    e = exp(scores - scores.max(-1, keepdims=True))
    return e / total(e, -1)
