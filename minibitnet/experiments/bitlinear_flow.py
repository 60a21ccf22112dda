"""[bitnet] Fig. 2: (a) what happens in a BitLinear, and (b) how blocks are stacked; shapes and values are read off a run, not written down.

The block is ours, with a gate and rotary embedding (``nn/model.py`` names the departures); the BitLinear is the paper's, whose LN is a layer
of its own here.
"""
import contextlib

import numpy as np

from ..exact import product, whole
from ..nn import layers, model, ops
from ..nn.autograd import Tensor
from ..nn.config import ModelConfig
from ..quant import QB, absmax_int8, sign_binary
from ..measure import plotting
from .lines import Line

SIZES, TOKENS, SEED = {"vocab_size": 32, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ffn": 16, "context": 5, "linear": "binary"}, 5, 0
BATCH = 3
OPS = ("rope", "causal_attention", "swiglu", "add")              # what happens between the layers
SIDE_BY_SIDE = (("q_proj", "k_proj", "v_proj"), ("rope of q_proj", "rope of k_proj"), ("gate_proj", "up_proj"))


def quick():
    """Both panels, read off a run -> {"config", "bitlinear": steps, "as_the_layer": do they make its numbers, "stack": calls}"""
    steps, y = inside_a_bitlinear()
    return {"config": {**SIZES, "batch": BATCH, "tokens": TOKENS, "seed": SEED}, "bitlinear": steps, "as_the_layer": y, "stack": stack()}


def inside_a_bitlinear():
    """Eq. 11 step by step on a random x -> (steps, whether the layer of ``nn/layers.py``, which reads the normed x, makes the same numbers)."""
    rng, d = np.random.default_rng(SEED), SIZES["d_model"]
    layer, x = layers.BinaryLinear(d, 2 * d, rng), 3 + rng.standard_normal((d, BATCH, TOKENS), np.float32)
    normed = ops.layer_norm.forward(x, eps=1e-6)
    codes, scale = absmax_int8(normed)
    signs, beta = sign_binary(layer.weight.data)
    sums = product(whole(signs, 1, -1), whole(ops.columns(codes), QB, 0)).reshape(-1, BATCH, TOKENS)
    y = sums * (beta * scale)
    steps = [step("x", x), step("LN(x)", normed, "eq. 12"), step("Quant(LN(x))", codes, "eqs. 4-5"), step("gamma", QB * scale, "eq. 5"),
             step("W~ = Sign(W - alpha)", signs, "eqs. 1-3"), step("beta", beta, "eq. 12"), step("W~ Quant(LN(x))", sums, "eq. 7"),
             step("y = W~ Quant(LN(x)) beta gamma / Q_b", y, "eq. 11")]
    return steps, bool(np.array_equal(y, layer(Tensor(normed)).data))


def step(name, a, equation=""):
    """An array as a line of the figure."""
    kind = "whole numbers" if np.array_equal(a, np.rint(a)) else "numbers"
    values = f"{kind} from {a.min():.3g} to {a.max():.3g}" if a.size > 1 else f"{a.item():.3g}"
    return {"name": name, "equation": equation, "shape": list(a.shape), "values": values}


def stack():
    """Every layer that a model calls, and what happens between them, in order -> [{"name", "kind", "in", "out": shapes}]"""
    calls = []
    with watched_ops(calls):
        transformer = model.Transformer(ModelConfig(**SIZES), SEED)
        watch(transformer, "", calls)
        transformer(np.zeros((BATCH, TOKENS), int))
    return calls


class Watched:
    """A layer or an op that notes its calls."""

    def __init__(self, inner, name, kind, calls):
        self.inner, self.name, self.kind, self.calls = inner, name, kind, calls

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __call__(self, x, *rest, **options):
        call = {"name": self.name, "kind": self.kind}
        self.calls.append(call)                       # before what is inside of it
        y = self.inner(x, *rest, **options)
        call |= {"in": shape(x), "out": shape(y)}
        return y


class WatchedOps:
    """``nn/ops.py``, but those of OPS note their calls."""

    def __init__(self, calls):
        self.calls = calls

    def __getattr__(self, name):
        return Watched(getattr(ops, name), name, "op", self.calls) if name in OPS else getattr(ops, name)


@contextlib.contextmanager
def watched_ops(calls):
    """In this block the layers and the model call ops that note it."""
    layers.ops = model.ops = WatchedOps(calls)
    try:
        yield
    finally:
        layers.ops = model.ops = ops


def watch(module, prefix, calls):
    """Put a Watched in place of every layer below module."""
    for name, value in list(vars(module).items()):
        if isinstance(value, layers.Module):
            watch(value, f"{prefix}{name}.", calls)
            setattr(module, name, Watched(value, prefix + name, type(value).__name__, calls))
        elif isinstance(value, list):
            for i, layer in enumerate(value):
                watch(layer, f"{prefix}{name}.{i}.", calls)
                value[i] = Watched(layer, f"{prefix}{name}.{i}", type(layer).__name__, calls)


def shape(x):
    """Of ids, of a Tensor, or of a Tensor of codes and scale."""
    data = getattr(x, "data", x) if isinstance(x, Tensor) else x
    return list(np.shape(getattr(data, "codes", data)))


def in_words(result):
    """A line for every step and every call."""
    c = result["config"]
    yield f"Shapes are (features, batch, tokens): {c['batch']} sequences of {c['tokens']} tokens, {c['d_model']} features."
    same = "the same numbers as" if result["as_the_layer"] else "other numbers than"
    yield Line("(a) step by step", f"{same} nn.layers.BinaryLinear on LN(x), bit for bit",
               f"random weights ({2 * c['d_model']}, {c['d_model']})", differs=not result["as_the_layer"])
    for s in result["bitlinear"]:
        equation = ", [bitnet] " * bool(s["equation"]) + s["equation"]
        yield Line(f"(a) {s['name']}", s["values"], f"{tuple(s['shape'])}{equation}")
    yield Line("(a) LN inside BitLinear", "in front of it, once for q, k, v and once for gate, up", "the norms of (b)",
               differs=True)
    yield Line("(b) attention, and a feed-forward network of two BitLinears",
               "with rotary embedding, and of three, one of them a gate", "[b158]'s block", differs=True)
    for s in result["stack"]:
        yield Line(f"(b) {s['name']}", f"{tuple(s['in'])} -> {tuple(s['out'])}", s["kind"])


def figure(result, path):
    """Both panels as boxes and arrows; False where matplotlib is absent."""
    x, normed, codes, gamma, signs, beta, product, y = (f"{s['name']}\n{tuple(s['shape'])}" for s in result["bitlinear"])
    inside = [(x, ""), (normed.replace("\n", ": a LayerNorm of (b)\n"), ""), (codes, ""), (product, signs), (y, f"{beta}\n{gamma}")]
    residual = iter(("x, what the block reads", "h, the sum above"))
    block = [(text, next(residual) if text.startswith("add") else "") for text in boxes(result["stack"])]
    return plotting.flow({"(a) BitLinear: a norm and a BinaryLinear of (b)": inside, "(b) a block": block}, path)


def boxes(calls):
    """One text for each call in the block that has no calls inside; of calls side by side (q, k, v and their rope; gate, up) one together."""
    block = next(i for i, c in enumerate(calls) if c["kind"] == "Block")
    inside = [c for c in calls[block + 1:] if c["name"].startswith("layers.") or c["kind"] == "op"]
    leaves = [c | {"name": c["name"].split(".")[-1]} for c in inside if not any(other["name"].startswith(c["name"] + ".") for other in inside)]
    for earlier, c in zip(leaves, leaves[1:]):
        c["name"] = f"rope of {earlier['name']}" if c["name"] == "rope" else c["name"]
    groups = {}
    for i, c in enumerate(leaves):
        groups.setdefault(next((names for names in SIDE_BY_SIDE if c["name"] in names), i), []).append(c)
    return [f"{', '.join(dict.fromkeys(c['name'] for c in group))}: {group[0]['kind']}\n{tuple(group[0]['in'])} -> {tuple(group[0]['out'])}"
            for group in groups.values()]
