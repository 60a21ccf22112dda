"""[2b4t] Table 1: memory without embeddings, and energy for 512 tokens, of BitNet b1.58 2B4T and five models of its size.

Neither column has a formula in the report. Memory: 16 bits for each weight of a projection, of the ternary model log2(3) bits. Energy: the
formula that was inferred from the other papers (``energy.py``), over the published shapes.
"""
import math

from . import energy, paper
from ..measure.costs import MODELS
from .lines import Line


def quick():
    """-> {"rows": for each model and column what is printed, ours in GB or J, and whether they agree to the digits printed}"""
    rows = []
    for name, printed in paper.table("2b4t_table_1").rows.items():
        shape, ternary = MODELS[name], name.startswith("BitNet")
        bits = math.log2(3) if ternary else 16
        ours = {"Memory (GB)": shape.n_layers * sum(n * m for n, m in shape.matrices) * bits / 8 / 1e9,
                "Energy (J)": energy.of_shape(shape, ternary)}
        rows += [{"model": name, "column": column, "bits": bits, "printed": printed[column], "ours": value,
                  "agrees": paper.agrees(value, printed[column])} for column, value in ours.items()]
    return {"rows": rows}


def in_words(result):
    """A line for every cell."""
    yield "Both formulas are inferred, not published. That six energies of six shapes come out is the best evidence for the one of energy."
    yield Line("memory and energy of six models", paper.how_many_agree(result["rows"]), "512 tokens at 7 nm")
    for r in result["rows"]:
        unit = r["column"].split("(")[1][:-1]
        scale = f"{r['bits']:.3g} bits for each weight of a projection" if unit == "GB" else "512 tokens at 7 nm"
        yield Line(f"{r['model']}: {r['printed']} {unit}", f"{r['ours']:.4f} {unit}", scale, differs=not r["agrees"])
    yield ("2 bits a weight, as the model is shipped, are 0.52 GB and not 0.4, and its embedding takes 0.66 GB more: see repo-90-percent.")
