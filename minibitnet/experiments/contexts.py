"""[b158] §4: 8 bits in the key-value cache, in place of 16, double the context in the same memory; 4 bits again. Counted."""
from ..measure.costs import MODELS, cache_bytes, weight_bytes
from .lines import Line

SIZES, BITS = ("3B", "7B", "13B", "70B", "BitNet b1.58 2B"), (16, 8, 4)
BUDGET = 24e9            # bytes: a large consumer card


def quick():
    """-> {"budget": bytes, "rows": for each size and number of bits, bytes a token and the tokens that fit}"""
    return {"budget": BUDGET, "rows": [{"size": size, "bits": bits, "bytes": cache_bytes(MODELS[size], bits), "ternary": context(size, bits, 0),
                                        "float16": context(size, bits, 1)} for size in SIZES for bits in BITS]}


def context(size, bits, which):
    """Tokens that fit beside the weights, ternary (0) or in 16 bits (1)."""
    return max(0, int(BUDGET - weight_bytes(size)[which]) // cache_bytes(MODELS[size], bits))


def in_words(result):
    """A line for every model and number of bits."""
    yield (f"Longest context in {result['budget'] / 1e9:.0f} GB, beside the weights and nothing else; below 16 bits one 16-bit scale for each "
           "head and token.")
    of_16 = {r["size"]: r["ternary"] for r in result["rows"] if r["bits"] == 16}
    of_8 = [r["ternary"] / of_16[r["size"]] for r in result["rows"] if r["bits"] == 8]
    yield Line("8 bits: 2 x the context", f"{min(of_8):.2f} to {max(of_8):.2f} x",
               f"{SIZES[0]} to {SIZES[-1]}, counted", differs=min(of_8) < 2)
    for r in result["rows"]:
        longest = r["ternary"] / of_16[r["size"]]
        full = f"{r['float16']:,}" if r["float16"] else "none: the weights alone do not fit"
        here = f"{longest:.2f} x, {r['ternary']:,} tokens of {r['bytes']:,} bytes (16-bit weights: {full})"
        yield Line(f"{r['size']}, cache in {r['bits']} bits: {16 // r['bits']} x the context", here, "counted",
                   differs=longest < 16 / r["bits"])
    yield "What is missing is the scales. What fewer bits do to the loss is measured, not counted (b158-kv-4)."
