"""What happens in a BitLinear: the variance of its output; and [bitnet] Fig. 2, every step read off a run."""
import contextlib
import math

import numpy as np

from ..exact import product, whole
from ..measure import plotting
from ..nn import layers, model, ops
from ..nn.autograd import Tensor
from ..nn.config import ModelConfig
from ..quant import QB, absmax_int8, absmean_ternary, sign_binary
from .lines import Experiment, Line

SEED = 0

# ---- [bitnet] eqs. 8-10: the variance of a BitLinear's output
#
# With a norm in front of the quantizer it is of size 1, whatever the input and the width:
#
#     Var(y) = m beta^2 E[x^2],  E[x^2] = 1 behind the norm; m is the number of inputs, the paper's n.
#     Gaussian weights of variance 1/m, as initialized, have beta^2 = (E|w|)^2 = 2 / (pi m)
#
# So Var(y) = 2 / pi = 0.637 for binary weights, not quite 1; for ternary ones that times the share of weights
# that are not 0, 0.690.

WIDTHS, INPUT_SIZES, OUTPUTS, SAMPLES = (64, 4096), (0.1, 1.0, 10.0), 512, 64
NOT_ZERO = 1 - math.erf(0.5 / math.sqrt(math.pi))            # P(|w| > E|w| / 2) of a Gaussian: 0.690
EXPECTED = {"binary": 2 / math.pi, "ternary": 2 / math.pi * NOT_ZERO}
QUANTIZERS = {"binary": sign_binary, "ternary": absmean_ternary}


def variance():
    """Gaussian weights and inputs -> Var(y) with and without the norm, by width and size of the input."""
    rng, rows = np.random.default_rng(SEED), []
    for m in WIDTHS:
        w, x = rng.standard_normal((OUTPUTS, m)) / math.sqrt(m), rng.standard_normal((m, 1, SAMPLES))
        for name, quantize in QUANTIZERS.items():
            for size in INPUT_SIZES:
                normed = ops.layer_norm.forward(size * x, eps=1e-6)
                with_norm, without = (float(ops.quantized_linear.forward(absmax_int8(a), quantize(w)).var())
                                      for a in (normed, size * x))
                rows.append({"weights": name, "width": m, "input": size, "with_norm": with_norm,
                             "without": without})
    config = {"outputs": OUTPUTS, "tokens": SAMPLES, "seed": SEED}
    return {"config": config, "expected": EXPECTED, "rows": rows}


def variance_in_words(result):
    """A line for every width, input and kind of weights."""
    c = result["config"]
    ranges = [(name, [r["with_norm"] for r in result["rows"] if r["weights"] == name])
              for name in result["expected"]]
    scale = (f"widths {' and '.join(map(str, WIDTHS))}, inputs of standard deviation {INPUT_SIZES[0]:g} to "
             f"{INPUT_SIZES[-1]:g}")
    here = ", ".join(f"{min(y):.3f} to {max(y):.3f} with {name} weights" for name, y in ranges)
    yield Line("Var(y) near 1", here, scale, differs=not all(map(near_1, result["rows"])))
    for r in result["rows"]:
        by_formula = f"{result['expected'][r['weights']]:.3f} by eqs. 8-10"
        here = f"{r['with_norm']:.3f} with the norm ({by_formula}), {r['without']:.3g} without"
        scale = (f"{r['weights']}, {r['width']} features of standard deviation {r['input']:g}, "
                 f"{c['outputs']} outputs, {c['tokens']} tokens")
        yield Line("Var(y) near 1", here, scale, differs=not near_1(r))
    yield ("The paper's \"approximately 1\" is 2 / pi: beta is a mean magnitude, not a root mean square. "
           "But it is a constant: no width and no size of the input changes it.")


def near_1(r):
    """Does the variance come out as the paper says?"""
    return abs(r["with_norm"] - 1) < 0.1


# ---- [bitnet] Fig. 2: (a) what happens in a BitLinear, and (b) how blocks are stacked
#
# Shapes and values are read off a run, not written down. The block is ours, with a gate and rotary embedding
# (``nn/model.py`` names the departures); the BitLinear is the paper's, whose LN is a layer of its own here.

SIZES = {"vocab_size": 32, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ffn": 16, "context": 5,
         "linear": "binary"}
BATCH, TOKENS = 3, 5
OPS = ("rope", "causal_attention", "swiglu", "add")              # what happens between the layers
SIDE_BY_SIDE = (("q_proj", "k_proj", "v_proj"), ("rope of q_proj", "rope of k_proj"),
                ("gate_proj", "up_proj"))


def bitlinear_flow():
    """-> {"config", "bitlinear": steps, "as_the_layer": do they make its numbers, "stack": calls}"""
    steps, same = inside_a_bitlinear()
    config = {**SIZES, "batch": BATCH, "tokens": TOKENS, "seed": SEED}
    return {"config": config, "bitlinear": steps, "as_the_layer": same, "stack": stack()}


def inside_a_bitlinear():
    """Eq. 11 step by step on a random x -> (steps, whether the layer of ``nn/layers.py``, which reads the
    normed x, makes the same numbers)."""
    rng, d = np.random.default_rng(SEED), SIZES["d_model"]
    layer, x = layers.BinaryLinear(d, 2 * d, rng), 3 + rng.standard_normal((d, BATCH, TOKENS), np.float32)
    normed = ops.layer_norm.forward(x, eps=1e-6)
    codes, scale = absmax_int8(normed)
    signs, beta = sign_binary(layer.weight.data)
    sums = product(whole(signs, 1, -1), whole(ops.columns(codes), QB, 0)).reshape(-1, BATCH, TOKENS)
    y = sums * (beta * scale)
    steps = [step("x", x), step("LN(x)", normed, "eq. 12"), step("Quant(LN(x))", codes, "eqs. 4-5"),
             step("gamma", QB * scale, "eq. 5"), step("W~ = Sign(W - alpha)", signs, "eqs. 1-3"),
             step("beta", beta, "eq. 12"), step("W~ Quant(LN(x))", sums, "eq. 7"),
             step("y = W~ Quant(LN(x)) beta gamma / Q_b", y, "eq. 11")]
    return steps, bool(np.array_equal(y, layer(Tensor(normed)).data))


def step(name, a, equation=""):
    """An array as a line of the figure."""
    kind = "whole numbers" if np.array_equal(a, np.rint(a)) else "numbers"
    values = f"{kind} from {a.min():.3g} to {a.max():.3g}" if a.size > 1 else f"{a.item():.3g}"
    return {"name": name, "equation": equation, "shape": list(a.shape), "values": values}


def stack():
    """Every layer that a model calls, and what happens between them, in order -> [{"name", "kind", and the
    shapes "in" and "out"}]"""
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


def bitlinear_flow_in_words(result):
    """A line for every step and every call."""
    c = result["config"]
    yield (f"Shapes are (features, batch, tokens): {c['batch']} sequences of {c['tokens']} tokens, "
           f"{c['d_model']} features.")
    same = "the same numbers as" if result["as_the_layer"] else "other numbers than"
    yield Line("(a) step by step", f"{same} nn.layers.BinaryLinear on LN(x), bit for bit",
               f"random weights ({2 * c['d_model']}, {c['d_model']})", differs=not result["as_the_layer"])
    for s in result["bitlinear"]:
        equation = ", [bitnet] " * bool(s["equation"]) + s["equation"]
        yield Line(f"(a) {s['name']}", s["values"], f"{tuple(s['shape'])}{equation}")
    yield Line("(a) LN inside BitLinear", "in front of it, once for q, k, v and once for gate, up",
               "the norms of (b)", differs=True)
    yield Line("(b) attention, and a feed-forward network of two BitLinears",
               "with rotary embedding, and of three, one of them a gate", "[b158]'s block", differs=True)
    for s in result["stack"]:
        yield Line(f"(b) {s['name']}", f"{tuple(s['in'])} -> {tuple(s['out'])}", s["kind"])


def draw_bitlinear_flow(result, path):
    """Both panels as boxes and arrows; False where matplotlib is absent."""
    x, normed, codes, gamma, signs, beta, sums, y = (f"{s['name']}\n{tuple(s['shape'])}"
                                                     for s in result["bitlinear"])
    inside = [(x, ""), (normed.replace("\n", ": a LayerNorm of (b)\n"), ""), (codes, ""), (sums, signs),
              (y, f"{beta}\n{gamma}")]
    residual = iter(("x, what the block reads", "h, the sum above"))
    block = [(text, next(residual) if text.startswith("add") else "") for text in boxes(result["stack"])]
    return plotting.flow({"(a) BitLinear: a norm and a BinaryLinear of (b)": inside, "(b) a block": block},
                         path)


def boxes(calls):
    """One text for each call in the block that has no calls inside; of calls side by side (q, k, v and their
    rope; gate, up) one together."""
    block = next(i for i, c in enumerate(calls) if c["kind"] == "Block")
    inside = [c for c in calls[block + 1:] if c["name"].startswith("layers.") or c["kind"] == "op"]
    leaves = [c | {"name": c["name"].split(".")[-1]} for c in inside
              if not any(other["name"].startswith(c["name"] + ".") for other in inside)]
    for earlier, c in zip(leaves, leaves[1:]):
        c["name"] = f"rope of {earlier['name']}" if c["name"] == "rope" else c["name"]
    groups = {}
    for i, c in enumerate(leaves):
        groups.setdefault(next((names for names in SIDE_BY_SIDE if c["name"] in names), i), []).append(c)
    return [box(group) for group in groups.values()]


def box(group):
    """Calls side by side -> the text of their box."""
    names, first = ", ".join(dict.fromkeys(c["name"] for c in group)), group[0]
    return f"{names}: {first['kind']}\n{tuple(first['in'])} -> {tuple(first['out'])}"


EXPERIMENTS = {
    "variance": Experiment(variance, variance_in_words),
    "bitlinear_flow": Experiment(bitlinear_flow, bitlinear_flow_in_words, figure=draw_bitlinear_flow),
}
