"""[b158]: a ternary 13B costs less than a 16-bit 3B, 30B less than 7B, 70B less than 13B: in memory, in energy, and in bytes read
for a token, which bound the latency of decoding (a latency itself cannot be counted)."""
from . import energy
from .costs import MODELS, cache_bytes, weight_bytes

PAIRS = (("13B", "3B"), ("30B", "7B"), ("70B", "13B"))
POSITIONS = 512


def quick():
    """The row's figures, JSON-able, made on the spot."""
    return {"rows": [{"ternary": a, "float16": b, "positions": POSITIONS, "of_ternary": cost(a, ternary=True), "of_float16": cost(b, ternary=False)}
                     for a, b in PAIRS]}


def cost(size, ternary):
    """-> memory (bytes, with a cache of 512 tokens), bytes read for a token, joules for 512 tokens at 7 nm."""
    shape, price = MODELS[size], energy.prices("7nm")
    p = energy.products(shape.matrices, shape.n_layers, shape.d_attention)
    weights, cache = weight_bytes(size)[0 if ternary else 1], POSITIONS * cache_bytes(shape, 8 if ternary else 16)
    read = weights - 2 * shape.vocab * shape.d + cache           # of the embedding only a row is read
    return {"memory": weights + cache, "read": read, "joules": sum((energy.bitnet_energy if ternary else energy.transformer_energy)(p, price).values())}


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    yield "Shapes of 7B to 70B are LLaMA's, which the paper does not name. Bytes read stand in for latency; the energy formula is inferred."
    for r in result["rows"]:
        a, b = r["of_ternary"], r["of_float16"]
        here = [f"{what} {a[key] / unit:.{digits}f} against {b[key] / unit:.{digits}f} {name}" for what, key, unit, digits, name in
                (("memory", "memory", 1e9, 2, "GB"), ("read for a token", "read", 1e9, 2, "GB"), ("energy", "joules", 1, 3, "J"))]
        yield f"ternary {r['ternary']} costs less than 16-bit {r['float16']} | {', '.join(here)} | counted"
