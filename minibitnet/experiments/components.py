"""Parameters and bytes of the papers' models by component: BitLinears in 2 bits and the rest in 16, beside everything in 16 bits."""
from ..measure.costs import MODELS, PAPER_SIZES, memory
from .lines import Line

PARTS = ("BitLinear weights", "embedding", "head")


def quick():
    """-> {"rows": {size: {component: [numbers, bytes packed, bytes in 16 bits]}}}"""
    return {"rows": {size: {name: list(row[:3]) for name, row in memory(MODELS[size].config, bytes_of_rest=2).items()} for size in PAPER_SIZES}}


def in_words(result):
    """A line for every model."""
    yield "Shapes of 700M to 7B and of 2B4T are published; those of 13B to 70B are LLaMA's, for the papers name none of their own (costs.MODELS)."
    times = [parts["total"][2] / parts["total"][1] for parts in result["rows"].values()]
    yield Line("less memory than in 16 bits", f"{min(times):.2f} to {max(times):.2f} x, weights alone",
               f"{PAPER_SIZES[0]} to {PAPER_SIZES[-2]}, and 2B4T")
    for size, parts in result["rows"].items():
        _, packed, float16 = parts["total"]
        shares = ", ".join(f"{name} {parts[name][0] / 1e9:.3f}e9 = {parts[name][1] / 1e9:.3f} GB" for name in PARTS if parts[name][0])
        here = f"{packed / 1e9:.2f} GB, {float16 / 1e9:.2f} GB in 16 bits, {float16 / packed:.2f} x"
        yield Line(size, here, shares)
    yield "A token in the key-value cache, and what a running program takes, are apart: b158-long, b158-table-1."
