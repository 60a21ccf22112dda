"""What a model costs, counted from its sizes: parameters and bytes, of our models and the papers'."""
import math
from typing import NamedTuple

from ..formats.packed import is_bitlinear
from ..nn.config import ModelConfig

UNITS = {"M": 1e6, "B": 1e9}      # of the parameters in a model's name


class Shape(NamedTuple):
    """A LLaMA-like model: q, o between d and d_attention, k, v to d_kv, gate, up, down between d, d_ffn."""
    n_layers: int
    d: int
    d_attention: int         # all query heads together
    d_kv: int
    d_ffn: int
    n_heads: int
    vocab: int
    tied: bool = False

    @property
    def matrices(self):
        """The (n, m) of one layer's projections."""
        d, a, kv, f = self.d, self.d_attention, self.d_kv, self.d_ffn
        return [(a, d), (kv, d), (kv, d), (d, a), (f, d), (f, d), (d, f)]

    @property
    def config(self):
        """As a configuration of ours."""
        return ModelConfig(vocab_size=self.vocab, d_model=self.d, n_layers=self.n_layers,
                           n_heads=self.n_heads, d_ffn=self.d_ffn, tied=self.tied,
                           n_kv_heads=self.d_kv * self.n_heads // self.d_attention,
                           d_head=0 if self.d_attention == self.d else self.d_attention // self.n_heads)


# 700M to 3.9B: [faq]. 7B: [a48] Table 6. 13B to 70B: LLaMA's of those sizes; [b158] names none, [cpp] App. A
# has "dummy setups" of its own, some with another d_ffn. 2B-4T and its baselines: published configurations.
MODELS = {
    "700M": Shape(24, 1536, 1536, 1536, 4096, 24, 32_000),
    "1.3B": Shape(24, 2048, 2048, 2048, 5460, 32, 32_000),
    "3B": Shape(26, 3200, 3200, 3200, 8640, 32, 32_000),
    "3.9B": Shape(26, 3200, 3200, 3200, 12_800, 32, 32_000),
    "7B": Shape(32, 4096, 4096, 4096, 11_008, 32, 32_000),
    "13B": Shape(40, 5120, 5120, 5120, 13_824, 40, 32_000),
    "30B": Shape(60, 6656, 6656, 6656, 17_920, 52, 32_000),
    "70B": Shape(80, 8192, 8192, 1024, 28_672, 64, 32_000),
    "BitNet b1.58 2B": Shape(30, 2560, 2560, 640, 6912, 20, 128_256, tied=True),
    "LLaMA 3.2 1B": Shape(16, 2048, 2048, 512, 8192, 32, 128_256, tied=True),
    "Gemma-3 1B": Shape(26, 1152, 1024, 256, 6912, 4, 262_144, tied=True),
    "Qwen2.5 1.5B": Shape(28, 1536, 1536, 256, 8960, 12, 151_936, tied=True),
    "SmolLM2 1.7B": Shape(24, 2048, 2048, 2048, 8192, 32, 49_152, tied=True),
    "MiniCPM 2B": Shape(40, 2304, 2304, 2304, 5760, 36, 122_753, tied=True),
}
PAPER_SIZES = ("700M", "1.3B", "3B", "3.9B", "7B", "13B", "30B", "70B", "BitNet b1.58 2B")


def memory(c, bytes_of_rest=4):
    """Bytes of a ternary or binary model by component -> {component: (numbers, bytes packed, bytes in 16
    bits, bytes in 32 bits)}.

    Packed: two bits for every weight of a BitLinear (rows in fours), four bytes for its scale,
    ``bytes_of_rest`` for every other number. One token in the key-value cache costs the last line in
    addition: float32 as the engines keep it by default.
    """
    rows = {name: [0, 0] for name in ("BitLinear weights", "BitLinear scales", "norms", "embedding", "head")}
    for name, shape in c.tensor_shapes().items():
        n, m = shape if len(shape) == 2 else (shape[0], 1)
        if is_bitlinear(name):
            _add(rows["BitLinear weights"], n * m, -(-n // 4) * m)
            _add(rows["BitLinear scales"], 1, 4)
        else:
            component = {"embed_tokens.weight": "embedding", "lm_head.weight": "head"}.get(name, "norms")
            _add(rows[component], n * m, n * m * bytes_of_rest)
    table = {name: (numbers, packed, 2 * numbers, 4 * numbers) for name, (numbers, packed) in rows.items()}
    table["BitLinear scales"] = (*table["BitLinear scales"][:2], 0, 0)                # a float model has none
    total = [sum(row[i] for row in table.values()) for i in range(4)]
    kv = 2 * c.n_layers * c.n_kv_heads * c.head_dim
    return table | {"total": tuple(total), "KV cache, a token": (kv, 4 * kv, 2 * kv, 4 * kv)}


def _add(row, numbers, bytes):
    row[0] += numbers
    row[1] += bytes


def in_matrices(config):
    """N, how many numbers the projections of a ModelConfig have: the same in every variant."""
    return sum(math.prod(shape) for name, shape in config.tensor_shapes().items() if is_bitlinear(name))


def weight_bytes(shape):
    """-> (bytes ternary, bytes in 16 bits) of a Shape, or of one of MODELS by its name; everything but the
    BitLinears in 16 bits."""
    shape = MODELS[shape] if isinstance(shape, str) else shape
    _, packed, float16, _ = memory(shape.config, bytes_of_rest=2)["total"]
    return packed, float16


def cache_bytes(shape, bits):
    """Bytes of one token in the key-value cache: codes of so many bits, and below 16 bits one 16-bit scale
    for each head and token, for keys and for values."""
    numbers = 2 * shape.n_layers * shape.d_kv
    heads = numbers * shape.n_heads // shape.d_attention
    return numbers * bits // 8 + (2 * heads if bits < 16 else 0)
