"""Group quantization: a model split over G devices that agree on no scale.   [bitnet] §2.1, eqs. 13-15

The split is the usual one ([megatron] arXiv 1909.08053). q, k, v, gate and up are cut by rows: a device has
some heads, and some features of the feed-forward layer, of its own. o and down are cut by columns, where
their inputs already lie; every device ends with a partial sum, and an all-reduce adds these up: two in a
block. Everything between is local, if no alpha, beta, gamma, mean or variance is taken over more than one
device has. That is what groups are for: ``split_block`` gives each device only its own part, ``block``
quantizes the whole in G groups, and the numbers are the same, bit for bit.

The devices are simulated, one after another. The model is this project's ``linear="binary"``: b1's quantizers
and LayerNorm.
"""
from functools import reduce

import numpy as np

from ..nn import ops
from ..nn.config import ModelConfig
from ..nn.model import Transformer
from ..quant import Quantized, absmax_int8, in_groups, sign_binary, split_groups
from .lines import Experiment, Line

BY_ROWS = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
           "gate": "mlp.gate_proj", "up": "mlp.up_proj"}
BY_COLUMNS = {"o": "self_attn.o_proj", "down": "mlp.down_proj"}
OUTPUTS, WEIGHTS, ACTIVATIONS = "outputs", "alpha, beta of weights", "mean, variance, gamma of activations"


class Network:
    """Between the devices; counts what they exchange.

    exchanged: {what: (all-reduces, bytes that all devices send together)}
    """

    def __init__(self):
        self.exchanged = dict.fromkeys((OUTPUTS, WEIGHTS, ACTIVATIONS), (0, 0))

    def all_reduce(self, parts, what, combine=np.add):
        """One array of each device -> the same on all.

        In a ring, every byte of it is sent 2 (G - 1) times."""
        if len(parts) > 1:
            calls, sent = self.exchanged[what]
            self.exchanged[what] = calls + 1, sent + 2 * (len(parts) - 1) * parts[0].nbytes
        return reduce(combine, parts)


# ---- one machine, G groups

def block(w, x, rotary, c, G):                   # {name: (n, m)}, (C, B, T) -> (C, B, T)
    """A block with group quantization. G = 1 is the model of nn/model.py."""
    n = quantize(x, c)
    q, k, v = (ops.quantized_linear.forward(n, in_groups(sign_binary, w[name], G)) for name in "qkv")
    h = x + sum_of_groups(w["o"], attention(q, k, v, rotary, c), c, G)
    n = quantize(h, c)
    gate, up = (ops.quantized_linear.forward(n, in_groups(sign_binary, w[name], G))
                for name in ("gate", "up"))
    return h + sum_of_groups(w["down"], ops.swiglu.forward(gate, up), c, G)


def sum_of_groups(w, x, c, G):                   # (n, m), (m, B, T) -> (n, B, T)
    """y = sum_g W~^(g) x~^(g) beta_g gamma_g / Q_b,  groups along the m features that are summed."""
    codes, scale = in_groups(absmax_int8, ops.layer_norm.forward(x, eps=c.norm_eps, groups=G), G)
    W, beta = in_groups(sign_binary, np.ascontiguousarray(w.T), G)       # (m, n), (m, 1)
    scales = np.broadcast_to(beta[..., None] * scale, x.shape)           # (m, B, T)
    s = split_groups(scales, G)[:, :1]                                   # (G, 1, B, T): one a group and token
    y = split_groups(W, G).swapaxes(1, 2) @ split_groups(codes, G).reshape(G, -1, s[0].size)
    return (y.reshape(G, len(w), *x.shape[1:]) * s).sum(0)


# ---- G devices

def split(w, G):
    """{name: (n, m)} -> the same for each of G devices, with its rows or columns."""
    cut = {name: np.array_split(a, G, axis=1 if name in BY_COLUMNS else 0) for name, a in w.items()}
    return [{name: np.ascontiguousarray(pieces[g]) for name, pieces in cut.items()} for g in range(G)]


def split_block(devices, x, rotary, c, network, per_tensor=False):
    """The same block; x is on every device, and so is the result. per_tensor: also exchange what per-tensor
    scales would need (the result does not use it)."""
    def add_up(name, inputs):
        if per_tensor:
            agree(devices, name, inputs, c, network)
        sums = [partial_sum(w[name], own, c) for w, own in zip(devices, inputs)]
        return network.all_reduce(sums, OUTPUTS)

    n = quantize(x, c)                           # from all of x, on every device alike: nothing to exchange
    qkvs = [[ops.quantized_linear.forward(n, sign_binary(w[name])) for name in "qkv"] for w in devices]
    h = x + add_up("o", [attention(*qkv, rotary, c) for qkv in qkvs])
    n = quantize(h, c)
    gates_ups = [[ops.quantized_linear.forward(n, sign_binary(w[name])) for name in ("gate", "up")]
                 for w in devices]
    return h + add_up("down", [ops.swiglu.forward(gate, up) for gate, up in gates_ups])


def partial_sum(w, x, c):                        # (n, m/G), (m/G, B, T) -> (n, B, T)
    """A device's part of a product whose input features are split: w has its columns, x its features."""
    # transposed as in sum_of_groups, or the mean would round differently
    codes, beta = sign_binary(np.ascontiguousarray(w.T))
    return ops.quantized_linear.forward(quantize(x, c), Quantized(codes.T, beta))


def agree(devices, name, inputs, c, network):
    """What G devices would exchange if a scale were of the whole tensor, before they can multiply by o or
    down: "one all-reduce operation for each parameter" ([bitnet] §2.1). -> alpha and beta of the matrices,
    mean, variance and gamma of the input."""
    G, found = len(devices), {}

    def mean_of(matrix, f):
        return network.all_reduce([f(w[matrix]).mean() for w in devices], WEIGHTS) / G
    for matrix in {"o": ("q", "k", "v", "o"), "down": ("gate", "up", "down")}[name]:
        found[matrix] = mean_of(matrix, np.asarray), mean_of(matrix, np.abs)
    mean = network.all_reduce([x.mean(0) for x in inputs], ACTIVATIONS) / G
    variance = network.all_reduce([np.square(x - mean).mean(0) for x in inputs], ACTIVATIONS) / G
    normed = [(x - mean) / np.sqrt(variance + c.norm_eps) for x in inputs]
    gamma = network.all_reduce([np.abs(x).max(0) for x in normed], ACTIVATIONS, np.maximum)
    return found | {"mean": mean, "variance": variance, "gamma": gamma}


# ---- both

def quantize(x, c):
    """LayerNorm and int8 codes of a device's own features."""
    return absmax_int8(ops.layer_norm.forward(x, eps=c.norm_eps))


def attention(q, k, v, rotary, c):
    """Rotate and attend, for a device's own heads."""
    cos, sin = rotary
    q, k = (ops.rope.forward(a, cos=cos, sin=sin) for a in (q, k))
    return ops.causal_attention.forward(q, k, v, head_dim=c.head_dim)


def logits(model, ids, run_block):
    """A Transformer's logits (V, B, T) with ``run_block(weights of a block, x, rotary)`` for its blocks."""
    paths = BY_ROWS | BY_COLUMNS
    p = {name: tensor.data for name, tensor in model.parameters().items()}
    rotary = ops.rotary_of(model.rotary, slice(ids.shape[1]), len(ids))
    x = ops.embedding.forward(p["embed_tokens.weight"], ids)
    for i in range(model.config.n_layers):
        x = run_block({name: p[f"layers.{i}.{path}.weight"] for name, path in paths.items()}, x, rotary)
    n = ops.rms_norm.forward(x, p["norm.weight"], eps=model.config.norm_eps)
    return ops.head.forward(n, p["lm_head.weight"])


def quick():
    """A small model on 2, 4 and 8 devices."""
    c = ModelConfig(vocab_size=64, linear="binary",
                    d_model=256, n_layers=3, n_heads=8, d_ffn=704, context=128)
    return measure(c, devices=(2, 4, 8), batch=2, seed=0)


def measure(c, devices, batch, seed):
    """-> {"config", "rows": one for every number of devices: are the logits equal, and what was exchanged in
    a block}"""
    model = Transformer(c, seed)
    ids = np.random.default_rng(seed).integers(0, c.vocab_size, (batch, c.context))
    rows = []
    for G in devices:
        network, with_scales = Network(), Network()

        def on_one(w, x, rotary):
            return block(w, x, rotary, c, G)

        def on_devices(w, x, rotary):
            return split_block(split(w, G), x, rotary, c, network)

        def on_devices_with_scales(w, x, rotary):
            return split_block(split(w, G), x, rotary, c, with_scales, per_tensor=True)
        equal = np.array_equal(logits(model, ids, on_one), logits(model, ids, on_devices))
        logits(model, ids, on_devices_with_scales)
        rows.append({
            "devices": G,
            "equal": bool(equal),
            "groups": per_block(network, c),
            "per_tensor": per_block(with_scales, c),
        })
    config = {
        "d_model": c.d_model,
        "d_ffn": c.d_ffn,
        "n_heads": c.n_heads,
        "n_layers": c.n_layers,
        "batch": batch,
        "tokens": c.context,
        "seed": seed,
    }
    return {"config": config, "rows": rows}


def per_block(network, c):
    """What one block exchanged, of the whole model's counts."""
    return {what: [number // c.n_layers for number in counts] for what, counts in network.exchanged.items()}


def in_words(r):
    """Two lines for every number of devices: with groups, and without."""
    c = r["config"]
    yield "Exchanged in a block, by all devices together: all-reduces and the bytes that they send in a ring."
    scale = (f"{c['n_layers']} blocks of width {c['d_model']}, {c['batch']} sequences of {c['tokens']} "
             "tokens, devices simulated")
    for row in r["rows"]:
        groups, per_tensor = ({what: f"{calls} all-reduces, {sent:,} bytes"
                               for what, (calls, sent) in row[kind].items()}
                              for kind in ("groups", "per_tensor"))
        equal = ", to the last bit" if row["equal"] else " are not reproduced"
        here = (f"{row['devices']} devices: the logits of one machine with {row['devices']} groups{equal}; "
                f"scales: {groups[WEIGHTS]} and {groups[ACTIVATIONS]}; outputs: {groups[OUTPUTS]}")
        yield Line('"no additional communication"', here, scale, differs=not row["equal"])
        here = (f"{row['devices']} devices, per-tensor scales: {per_tensor[WEIGHTS]} for weights, "
                f"{per_tensor[ACTIVATIONS]} for activations")
        yield Line('else "one all-reduce operation for each parameter"', here, "the same")
    with_groups, without = (sum(calls for calls, _ in r["rows"][-1][kind].values())
                            for kind in ("groups", "per_tensor"))
    yield (f"The bytes of scales are few, but {without} all-reduces in place of {with_groups}, each of which "
           "everybody waits for, are what the paper avoids. (A model that only runs can exchange those of "
           "its weights beforehand.) What groups cost in loss is not measured here.")


EXPERIMENTS = {"groups": Experiment(quick, in_words)}
