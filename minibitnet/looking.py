"""Looking inside a model: its layers' codes, and every intermediate of a forward pass, under a name."""
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .exact import exp, total
from .nn.autograd import Tensor, watch
from .nn.model import Transformer
from .quant import Quantized


class Layer(NamedTuple):
    """A BitLinear's weights: value ≈ codes * scale."""
    name: str                    # "layers.0.self_attn.q_proj"
    codes: NDArray               # (n, m) int8
    scale: float
    latent: NDArray              # (n, m) float32, the weights that training moves

    @property
    def zeros(self) -> float:
        """Share of the codes that are 0."""
        return float(np.count_nonzero(self.codes == 0) / self.codes.size)

    def __repr__(self):
        n, m = self.codes.shape
        return f"<Layer {self.name}: {n} x {m}, scale {self.scale:.4g}, {self.zeros:.1%} zeros>"


def layers(transformer: Transformer) -> list[Layer]:
    """Every BitLinear of a model, in order; none of a float model."""
    quantized = transformer.quantized().parameters()
    return [Layer(name.removesuffix(".weight"), quantized[name].data.codes.astype(np.int8),
                  float(quantized[name].data.scale[0, 0]), p.data)
            for name, p in transformer.parameters().items() if isinstance(quantized[name].data, Quantized)]


def trace(transformer: Transformer, ids: NDArray) -> dict[str, NDArray]:
    """{name: array} of every intermediate of a forward pass over ids (T,), in order: (features, T), "logits"
    last.

    A layer's output has the layer's name ("layers.0.self_attn.q_proj"), that of an operation between them the
    operation's ("layers.0.self_attn.rope(q_proj)", "layers.0.self_attn.attention"); the residual stream after
    each half of a block is "layers.0.add(self_attn)", "layers.0.add(mlp)". What a BitLinear reads are codes
    and a scale ("layers.0.codes(input_layernorm)"). Attention's weights, which the model itself never holds
    in full, are "layers.0.self_attn.probabilities", (heads, T queries, T keys).
    """
    quantized, found = transformer.quantized(), {}
    paths = {p.key: name.removesuffix(".weight") for name, p in quantized.parameters().items()}
    made = {}                                    # {key of a Tensor: its name}

    def see(name, inputs, options, out):
        layer = next((paths[x.key] for x in inputs if isinstance(x, Tensor) and x.key in paths), None)
        sources = [made[x.key] for x in inputs if isinstance(x, Tensor) and x.key in made]
        prefix, _, _ = sources[0].rpartition(".") if sources else ("", "", "")
        last = ", ".join(source.rpartition(".")[2] for source in sources)
        if name == "add":                        # of a block's two branches: the second input is its end
            block, branch, _ = sources[1].rsplit(".", 2)
            label = f"{block}.add({branch})"
        elif name == "causal_attention":
            label = f"{prefix}.attention"
        else:
            label = layer or f"{prefix}.{name}({last})".lstrip(".")
        made[out.key] = label
        data = out.data
        if isinstance(data, Quantized):
            found[f"{prefix}.codes({last})"] = data.codes[:, 0].astype(np.int8)
            found[f"{prefix}.scale({last})"] = data.scale[0, 0] if data.scale.ndim == 3 else data.scale
        elif isinstance(data, np.ndarray):
            found[label] = data[:, 0]
        if name == "causal_attention":
            q, k = (x.data[:, 0] for x in inputs[:2])
            found[f"{prefix}.probabilities"] = probabilities(q, k, options["head_dim"])

    with watch(see):
        logits = quantized(ids[None])
    found["logits"] = logits.data[:, 0]
    return found


def probabilities(q, k, head_dim):               # (H D, T), (K D, T) -> (H, T queries, T keys)
    """softmax(q^T k / sqrt(D)) over the keys that a query may see."""
    q, k = (a.reshape(-1, head_dim, a.shape[-1]).astype(np.float64) for a in (q, k))
    k = np.repeat(k, len(q) // len(k), axis=0)
    scores = (q[..., None] * k[:, :, None]).sum(1) / np.sqrt(head_dim)
    scores[:, np.arange(q.shape[-1])[:, None] < np.arange(q.shape[-1])] = -np.inf
    e = exp(scores - scores.max(-1, keepdims=True))
    return e / total(e, -1)
