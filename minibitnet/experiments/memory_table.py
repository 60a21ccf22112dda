"""[b158] Table 1 and Fig. 2, [2b4t] Table 1, memory: what the weights take, and what is left for the run time, apart.

The papers print the memory of a running program. Its weights can be counted: two bits for each weight of a BitLinear, 16 bits for
the rest, 16 bits for everything of LLaMA's; GB is 10^9 bytes. What remains (activations, cache, library) is theirs.
"""
import math

from . import paper, plotting
from .costs import MODELS, weight_bytes


def quick():
    """The row's figures, JSON-able, made on the spot."""
    table, figure = paper.table("b158_table_1"), paper.table("b158_figure_2")
    rows = []
    for (model, size), cells in table.rows.items():
        weights, printed = weight_bytes(size)[model == "LLaMA"] / 1e9, float(cells["Memory (GB)"])
        rows.append({"model": model, "size": size, "printed": cells["Memory (GB)"], "weights": weights, "run_time": printed - weights})
    ratios = [{"size": size, "printed": cells["Memory ratio"], "weights": float16 / ternary}
              for size, cells in figure.rows.items() for ternary, float16 in [weight_bytes(size)]]
    report = [of_report(name, cells["Memory (GB)"]) for name, cells in paper.table("2b4t_table_1").rows.items()]
    return {"rows": rows, "ratios": ratios, "report": report}


def of_report(name, printed):
    """[2b4t] Table 1: 16 bits for each weight of a projection; of the ternary model log2(3) bits (see ``ninety_percent.py``)."""
    shape, bits = MODELS[name], math.log2(3) if name.startswith("BitNet") else 16
    weights = shape.n_layers * sum(n * m for n, m in shape.matrices) * bits / 8 / 1e9
    return {"model": name, "bits": bits, "printed": printed, "weights": weights, "agrees": paper.agrees(weights, printed)}


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    yield "Weights alone are counted; a running program needs more, and its part is what is left of the printed number (GB = 10^9 bytes)."
    for r in result["rows"]:
        yield (f"memory of {r['model']} {r['size']}: {r['printed']} GB | {r['weights']:.2f} GB of weights, which leaves {r['run_time']:.2f} GB for the "
               "run time | counted")
    for r in result["ratios"]:
        yield f"memory ratio at {r['size']}: {r['printed']} x | {r['weights']:.2f} x for the weights alone | counted"
    yield ("The ratio grows with the size because embedding and head stay in 16 bits and are a smaller part of a larger model. Of the weights alone "
           "it is larger than printed, since both programs carry the same run time, and comes nearer to it the larger the model.")
    for r in result["report"]:
        yield (f"memory of {r['model']} without embeddings: {r['printed']} GB | {r['weights']:.3f} GB{'' if r['agrees'] else ' (differs)'} | "
               f"{r['bits']:.3g} bits for each weight of a projection")


def figure(result, path):
    """Draw a result to path; False where matplotlib is absent."""
    series = {name: {r["size"]: float(r[key]) for r in result["ratios"]} for name, key in (("printed", "printed"), ("weights alone", "weights"))}
    return plotting.points(series, "model", "memory of LLaMA / of BitNet b1.58", path)
