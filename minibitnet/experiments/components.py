"""Parameters and bytes of the papers' models by component: BitLinears in 2 bits and the rest in 16, beside everything in 16 bits."""
from .costs import MODELS, PAPER_SIZES, memory

PARTS = ("BitLinear weights", "embedding", "head")


def quick():
    """The row's figures, JSON-able, made on the spot."""
    return {"rows": {size: {name: list(row[:3]) for name, row in memory(MODELS[size].config, bytes_of_rest=2).items()} for size in PAPER_SIZES}}


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    yield "Shapes of 700M to 3.9B and of 2B4T are published; of 7B to 70B the papers name none, and these are LLaMA's (costs.MODELS)."
    for size, parts in result["rows"].items():
        _, packed, float16 = parts["total"]
        shares = ", ".join(f"{name} {parts[name][0] / 1e9:.3f}e9 = {parts[name][1] / 1e9:.3f} GB" for name in PARTS if parts[name][0])
        yield f"{size} | {packed / 1e9:.2f} GB, {float16 / 1e9:.2f} GB in 16 bits, {float16 / packed:.2f} x | {shares}"
    yield "Bytes of a token in the key-value cache, and of the run time, are apart: see contexts, memory_table."
