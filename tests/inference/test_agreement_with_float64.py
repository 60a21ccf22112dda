"""The float engine against the model's formulas, written once more in float64 with NumPy's own products, sums
and functions, one token per row."""
import numpy as np
import pytest

from minibitnet.language_model import FloatEngine
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer

VARIANTS = ("ternary", "binary", "float")


class Float64:
    """c: the configuration; parameters: {name: float32 array}, latent weights. eps, theta and factor are here
    to be planted wrong."""

    def __init__(self, c, parameters, eps=None, theta=None, factor=1.0, Q_b=127):
        self.c, self.p = c, {name: a.astype(np.float64) for name, a in parameters.items()}
        self.eps, self.theta = c.norm_eps if eps is None else eps, theta or c.rope_theta
        self.factor, self.Q_b = factor, Q_b

    def __call__(self, ids):                     # (B, T) -> (B, T, V)
        x = self.p["embed_tokens.weight"][ids]
        for i in range(self.c.n_layers):
            at = f"layers.{i}."
            x = x + self.attention(at, self.norm(at + "input_layernorm", x))
            x = x + self.feed_forward(at, self.norm(at + "post_attention_layernorm", x))
        return self.rms("norm", x) @ self.p["embed_tokens.weight" if self.c.tied else "lm_head.weight"].T

    def rms(self, name, x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + self.eps) * self.p[name + ".weight"]

    def norm(self, name, x):
        if self.c.linear != "binary":
            return self.rms(name, x)
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + self.eps)

    def sub_norm(self, name, x):
        return x if self.c.linear == "float" else self.norm(name, x)

    def linear(self, name, x):
        w = self.p[name + ".weight"]
        if self.c.linear == "float":
            return x @ w.T * self.factor
        size, gamma = np.abs(w).mean(), np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5)
        ternary, binary = np.rint(w / size).clip(-1, 1), np.where(w > w.mean(), 1.0, -1.0)
        codes = ternary if self.c.linear == "ternary" else binary
        return np.rint(x * self.Q_b / gamma) @ codes.T * (gamma / self.Q_b * size * self.factor)

    def rotated(self, x):                        # (B, T, heads, D)
        T, D = x.shape[1], x.shape[3]
        angle = np.arange(T)[:, None, None] / self.theta ** (np.arange(D // 2) * 2 / D)
        (a, b), cos, sin = np.split(x, 2, -1), np.cos(angle), np.sin(angle)
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    def attention(self, at, x):
        B, T, C = x.shape
        q, k, v = (self.linear(at + f"self_attn.{name}_proj", x).reshape(B, T, -1, self.c.head_dim)
                   for name in "qkv")
        group = self.c.n_heads // self.c.n_kv_heads
        q, k, v = self.rotated(q), *(np.repeat(a, group, 2) for a in (self.rotated(k), v))
        scores = np.einsum("bthd,bshd->bhts", q, k) / np.sqrt(self.c.head_dim)
        largest = scores.max(-1, keepdims=True, where=np.tri(T, dtype=bool), initial=-np.inf)
        e = np.exp(scores - largest) * np.tri(T)
        o = np.einsum("bhts,bshd->bthd", e / e.sum(-1, keepdims=True), v).reshape(B, T, C)
        return self.linear(at + "self_attn.o_proj", self.sub_norm(at + "self_attn.attn_sub_norm", o))

    def feed_forward(self, at, x):
        gate, up = self.linear(at + "mlp.gate_proj", x), self.linear(at + "mlp.up_proj", x)
        act = gate / (1 + np.exp(-gate)) if self.c.activation == "silu" else np.maximum(gate, 0) ** 2
        return self.linear(at + "mlp.down_proj", self.sub_norm(at + "mlp.ffn_sub_norm", act * up))


def random_model(seed):
    """Every third one of the same variant; grouped and tied ones, both activations; gains from 0.3 to 2 and
    weights of several sizes, as training leaves them."""
    rng = np.random.default_rng([77, seed])
    heads, D = int(rng.choice([1, 2, 4])), int(rng.choice([8, 16, 32]))
    c = ModelConfig(
        vocab_size=int(rng.integers(10, 60)), linear=VARIANTS[seed % 3], n_heads=heads, d_model=heads * D,
        d_ffn=int(rng.integers(10, 200)),
        n_kv_heads=int(rng.choice([k for k in (1, 2, 4) if heads % k == 0])),
        n_layers=int(rng.integers(1, 4)), context=24, activation=str(rng.choice(["silu", "relu2"])),
        tied=bool(rng.integers(2)), rope_theta=float(rng.choice([1e4, 5e5])))
    model = Transformer(c, seed)
    for p in model.parameters().values():
        size = rng.uniform(0.5, 1.5)
        gains = rng.uniform(0.3, 2, p.data.shape) if p.data.ndim == 1 else 1
        p.data = (p.data * size * gains).astype(np.float32)
    return c, model, rng.integers(0, c.vocab_size, (1, int(rng.integers(1, c.context + 1))))


def difference(seed, **planted):
    """The largest |float engine - float64| of a random model's logits, relative to the largest logit."""
    c, model, ids = random_model(seed)
    real = Float64(c, {name: p.data for name, p in model.parameters().items()}, **planted)(ids)
    return np.abs(FloatEngine(model)(ids).transpose(1, 2, 0) - real).max() / np.abs(real).max()


def median(variant=None, **planted):
    """Of 50 models, or of those of one variant."""
    seeds = range(50) if variant is None else range(VARIANTS.index(variant), 50, 3)
    return np.median([difference(seed, **planted) for seed in seeds])


def test_the_float_engine_agrees_with_float64():
    """Half of 50 models to a millionth of their largest logit. (Not all have to: an activation within a hair
    of a half may get another code.)"""
    assert median() < 1e-6


def test_without_codes_every_model_agrees():
    """Of the float variant, where no code can differ, all."""
    assert max(difference(seed) for seed in range(2, 50, 3)) < 5e-6


@pytest.mark.parametrize("variant, planted", [
    ("ternary", {"eps": 1e-5}), ("binary", {"factor": 1 + 1e-4}), ("float", {"factor": 1 + 1e-4}),
    ("float", {"eps": 1e-5}), ("binary", {"theta": 10100.0}), ("ternary", {"Q_b": 128})])
def test_the_comparison_sees_a_wrong_eps_scale_base_or_largest_code(variant, planted):
    """eps is 1e-6, the base of the angles 10,000 or 500,000, Q_b 127; a scale is off by a ten-thousandth:
    each moves the median to 20 times what is allowed."""
    assert median(variant, **planted) > 2e-5
