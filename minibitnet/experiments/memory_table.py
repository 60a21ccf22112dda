"""[b158] Table 1, memory: what the weights take, and what is left for the run time, apart.

The paper prints the memory of a running program. Its weights can be counted: two bits for each weight of a BitLinear, 16 bits for
the rest, 16 bits for everything of LLaMA's; GB is 10^9 bytes. What remains (activations, cache, library) is the program's.
"""
from . import paper
from .costs import weight_bytes


def quick():
    """The row's figures, JSON-able, made on the spot."""
    rows = []
    for (model, size), cells in paper.table("b158_table_1").rows.items():
        weights, printed = weight_bytes(size)[model == "LLaMA"] / 1e9, float(cells["Memory (GB)"])
        rows.append({"model": model, "size": size, "printed": cells["Memory (GB)"], "weights": weights, "run_time": printed - weights})
    return {"rows": rows}


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    yield "Weights alone are counted; a running program needs more, and its part is what is left of the printed number (GB = 10^9 bytes)."
    for r in result["rows"]:
        yield (f"memory of {r['model']} {r['size']}: {r['printed']} GB | {r['weights']:.2f} GB of weights (differs), which leaves {r['run_time']:.2f} GB "
               "for the run time | counted")
    yield "LLaMA and BitNet of one size leave the same for the run time, within 0.1 GB: the difference between the two is that of their weights."
