"""[b158] Table 1, memory: what the weights take, and what is left for the running program, apart.

The paper prints the memory of a running program. Its weights can be counted: two bits for each weight of a BitLinear, 16 bits for
the rest, 16 bits for everything of LLaMA's; GB is 10^9 bytes. What remains (activations, cache, library) is the program's.
"""
from . import paper
from ..measure.costs import weight_bytes
from .lines import Line


def quick():
    """-> {"rows": for each model, in GB, what is printed, its weights, and what remains}"""
    rows = []
    for (model, size), cells in paper.table("b158_table_1").rows.items():
        weights, printed = weight_bytes(size)[model == "LLaMA"] / 1e9, float(cells["Memory (GB)"])
        llama = weight_bytes("3B" if size == "3.9B" else size)[1] / 1e9                      # there is no LLaMA of 3.9B
        rows.append({"model": model, "size": size, "printed": cells["Memory (GB)"], "ratio": cells["Memory ratio"], "weights": weights,
                     "ratio_of_weights": llama / weights,
                     "runtime": printed - weights, "agrees": paper.agrees(weights, cells["Memory (GB)"])})
    return {"rows": rows}


def in_words(result):
    """A line for every model."""
    yield "Weights alone are counted; a running program needs more, and its part is what is left of the printed number (GB = 10^9 bytes)."
    ternary = [r for r in result["rows"] if r["model"] != "LLaMA"]
    (least, most), (printed_least, printed_most) = ((min(x), max(x)) for x in zip(*((r["ratio_of_weights"], float(r["ratio"])) for r in ternary)))
    yield Line(f"{printed_least:.2f} to {printed_most:.2f} x", f"{least:.2f} to {most:.2f} x of the weights alone",
               f"{ternary[0]['size']} to {ternary[-1]['size']}, counted")
    for r in result["rows"]:
        printed = f"{r['printed']} GB ({r['ratio']} x)"
        here = (f"{r['weights']:.2f} GB of weights ({r['ratio_of_weights']:.2f} x), "
                f"which leaves {r['runtime']:.2f} GB")
        yield Line(f"memory of {r['model']} {r['size']}: {printed}", here, "counted", differs=not r["agrees"])
    yield "LLaMA and BitNet of one size leave the same, within 0.1 GB: the difference between the two is that of their weights."
