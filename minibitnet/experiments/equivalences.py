"""[b158]: a ternary 13B costs less than a 16-bit 3B, 30B less than 7B, 70B less than 13B: in memory, in energy, in latency.

Memory and energy are counted, and so are the bytes read for a token, which bound the latency of decoding where a processor waits for
memory. Ours does not: beside them stands what ``latency.py`` measured, a block's time times the layers, packed beside dense float32.
"""
from ..errors import UserError
from . import energy
from ..measure import results
from ..measure.costs import MODELS, cache_bytes, weight_bytes
from .lines import Line
from .latency import DENSE, PACKED, in_words as words_of_latency

PAIRS = (("13B", "3B"), ("30B", "7B"), ("70B", "13B"))
COSTS = (  # what, where a result has it, its unit and digits as told, how it was found
    ("memory", "memory", 1e9, 2, "GB", "counted"), ("energy", "joules", 1, 3, "J", "counted"),
    ("read for a token", "read", 1e9, 2, "GB", "counted: latency, where memory bounds it"),
    ("latency", "ms", 1e3, 2, "s", "data/results/latency.json: a block times its layers, packed beside dense float32"))
POSITIONS, CACHE_BITS = 512, (8, 16)                             # of the ternary model, and of the 16-bit one


def quick():
    """-> {"positions", "cache_bits", "rows": for each pair the costs of both}; the times are those of data/results/latency.json."""
    record = results.load("latency", words_of_latency)
    if not record:
        raise UserError("there is no data/results/latency.json: expected what python -m minibitnet.reproduce latency --full writes")
    times = {row["size"]: row["decode"]["ms"] for row in record["result"]["rows"]}
    if missing := {size for pair in PAIRS for size in pair} - set(times):
        raise UserError(f"data/results/latency.json lacks {', '.join(sorted(missing))}: expected what python -m minibitnet.reproduce latency "
                        "--full writes")
    return {"positions": POSITIONS, "cache_bits": list(CACHE_BITS), "rows": [
        {"ternary": a, "float16": b, "of_ternary": cost(a, True) | {"ms": MODELS[a].n_layers * times[a][PACKED]},
         "of_float16": cost(b, False) | {"ms": MODELS[b].n_layers * times[b][DENSE]}} for a, b in PAIRS]}


def cost(size, ternary):
    """-> memory (bytes, with a cache of 512 tokens), bytes read for a token, joules for 512 tokens at 7 nm."""
    shape = MODELS[size]
    weights, cache = weight_bytes(size)[0 if ternary else 1], POSITIONS * cache_bytes(shape, CACHE_BITS[0 if ternary else 1])
    read = weights - 2 * shape.vocab * shape.d + cache           # of the embedding only a row is read
    return {"memory": weights + cache, "read": read, "joules": energy.of_shape(shape, ternary)}


def in_words(result):
    """One line for every cost, and four for every pair."""
    yield (f"Shapes of 13B to 70B are LLaMA's (measure/costs.py); the energy formula is inferred. {result['positions']} tokens in the "
           f"cache, in {result['cache_bits'][0]} bits of the ternary model and in {result['cache_bits'][1]} of the other.")
    rows = result["rows"]
    less = {what: sum(r["of_ternary"][key] < r["of_float16"][key] for r in rows) for what, key, *_ in COSTS}
    here = ", ".join(f"{what}: {n} of {len(rows)}" for what, n in less.items())
    pairs = ", ".join(f"{r['ternary']} beside {r['float16']}" for r in rows)
    yield Line("the ternary one costs less", here, pairs, differs=min(less.values()) < len(rows))
    for r in rows:
        a, b, claim = r["of_ternary"], r["of_float16"], f"ternary {r['ternary']} costs less than 16-bit {r['float16']}"
        for what, key, unit, digits, name, scale in COSTS:
            here = f"{what} {a[key] / unit:.{digits}f} against {b[key] / unit:.{digits}f} {name}"
            yield Line(claim, here, scale, differs=a[key] >= b[key])
    yield ("In bytes and joules the sentence holds. Its seconds are the kernels': on the paper's GPU decoding waits for the bytes, and our NumPy "
           "kernels for two bits are only a little faster than dense float32 of the same size (b158-fig-2-latency).")
