"""[bitnet] Fig. 2: (a) what happens in a BitLinear, and (b) how blocks are stacked; shapes and values are read off a run, not written down.

The block is ours, with a gate and rotary embedding (``nn/model.py`` names the departures); the BitLinear is the paper's.
"""
import numpy as np

from ..nn import ops
from ..nn.autograd import Tensor
from ..nn.config import ModelConfig
from ..nn.layers import BinaryLinear, Module
from ..nn.model import Transformer
from ..quant import QB, absmax_int8, sign_binary
from . import plotting

SIZES, TOKENS, SEED = {"vocab_size": 32, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ffn": 16, "context": 5, "linear": "binary"}, 5, 0
BATCH = 3
SIDE_BY_SIDE = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def quick():
    """The row's figures, JSON-able, made on the spot."""
    steps, y = inside_a_bitlinear()
    return {"config": {**SIZES, "batch": BATCH, "tokens": TOKENS, "seed": SEED}, "bitlinear": steps, "as_the_layer": y, "stack": stack()}


def inside_a_bitlinear():
    """Eq. 11 step by step on a random x -> (steps, whether the layer of ``nn/layers.py`` makes the same numbers)."""
    rng, d = np.random.default_rng(SEED), SIZES["d_model"]
    layer, x = BinaryLinear(d, 2 * d, rng), 3 + rng.standard_normal((d, BATCH, TOKENS), np.float32)
    normed = ops.layer_norm.forward(x, eps=1e-6)
    codes, scale = absmax_int8(normed)
    signs, beta = sign_binary(layer.weight.data)
    product = ops.matmul(signs, codes)
    y = product * (beta * scale)
    steps = [step("x", x), step("LN(x)", normed, "eq. 12"), step("Quant(LN(x))", codes, "eqs. 4-5"), step("gamma", QB * scale, "eq. 5"),
             step("W~ = Sign(W - alpha)", signs, "eqs. 1-3"), step("beta", beta, "eq. 12"), step("W~ Quant(LN(x))", product, "eq. 7"),
             step("y = W~ Quant(LN(x)) beta gamma / Q_b", y, "eq. 11")]
    return steps, bool(np.array_equal(y, layer(Tensor(normed)).data))


def step(name, a, equation=""):
    """An array as a line of the figure."""
    whole = "whole numbers" if np.array_equal(a, np.rint(a)) else "numbers"
    return {"name": name, "equation": equation, "shape": list(a.shape), "values": f"{whole} from {a.min():.3g} to {a.max():.3g}"}


def stack():
    """Every layer that a model calls, in order -> [{"name", "layer", "in", "out": shapes}]"""
    calls, model = [], Transformer(ModelConfig(**SIZES), SEED)
    watch(model, "", calls)
    model(np.zeros((BATCH, TOKENS), int))
    return calls


class Watched:
    """A layer that notes its calls."""

    def __init__(self, layer, name, calls):
        self.layer, self.name, self.calls = layer, name, calls

    def __getattr__(self, name):
        return getattr(self.layer, name)

    def __call__(self, x, *rest):
        call = {"name": self.name, "layer": type(self.layer).__name__}
        self.calls.append(call)                       # before what is inside of it
        y = self.layer(x, *rest)
        call |= {"in": shape(x), "out": shape(y)}
        return y


def watch(module, prefix, calls):
    """Put a Watched in place of every layer below module."""
    for name, value in list(vars(module).items()):
        if isinstance(value, Module):
            watch(value, f"{prefix}{name}.", calls)
            setattr(module, name, Watched(value, prefix + name, calls))
        elif isinstance(value, list):
            for i, layer in enumerate(value):
                watch(layer, f"{prefix}{name}.{i}.", calls)
                value[i] = Watched(layer, f"{prefix}{name}.{i}", calls)


def shape(x):
    """Of ids, of a Tensor, or of a Tensor of codes and scale."""
    data = getattr(x, "data", x) if isinstance(x, Tensor) else x
    return list(np.shape(getattr(data, "codes", data)))


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    c = result["config"]
    yield (f"Shapes are (features, batch, tokens): {c['batch']} sequences of {c['tokens']} tokens, {c['d_model']} features. What o_proj and down_proj "
           "make is added to the residual stream.")
    for s in result["bitlinear"]:
        yield f"(a) {s['name']} | {s['values']} | {tuple(s['shape'])}{', [bitnet] ' * bool(s['equation'])}{s['equation']}"
    same = "the same numbers as nn.layers.BinaryLinear" if result["as_the_layer"] else "other numbers than nn.layers.BinaryLinear (differs)"
    yield f"(a) together | {same} | bit for bit"
    yield "(b) attention, and a feed-forward network of two BitLinears | with rotary embedding, and of three, one of them a gate (differs) | [b158]'s block"
    for s in result["stack"]:
        yield f"(b) {s['name']} | {tuple(s['in'])} -> {tuple(s['out'])} | {s['layer']}"


def figure(result, path):
    """Both panels as boxes and arrows; False where matplotlib is absent."""
    x, normed, codes, gamma, signs, beta, product, y = (f"{s['name']}\n{tuple(s['shape'])}" for s in result["bitlinear"])
    inside = [(x, ""), (normed, ""), (codes, ""), (product, signs), (y, f"{beta}\n{gamma}")]
    return plotting.flow({"(a) BitLinear": inside, "(b) the layers of a block": [(text, "") for text in boxes(result["stack"])]}, path)


def boxes(calls):
    """One text for each layer of the block that has no layers inside; of layers side by side (q, k, v; gate, up) one together."""
    inner = [c for c in calls if c["name"].startswith("layers.") and not any(other["name"].startswith(c["name"] + ".") for other in calls)]
    alike = {}
    for c in inner:
        name = c["name"].split(".")[-1]
        side_by_side = next((group for group in SIDE_BY_SIDE if name in group), name)
        alike.setdefault(side_by_side, []).append(c | {"name": name})
    return [f"{', '.join(c['name'] for c in group)}: {group[0]['layer']}\n{tuple(group[0]['in'])} -> {tuple(group[0]['out'])}" for group in alike.values()]
