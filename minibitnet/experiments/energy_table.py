"""[bitnet] Table 1 from Table 2: every cell, and those that our formula misses."""
from . import energy, paper
from .lines import Line

BITS = {"32": "FP32", "16": "FP16"}


def quick():
    """-> {"source", "tokens", "rows": for every cell what is printed, what the formula gives in J, whether they agree to the digits printed}"""
    printed, sizes = paper.table("b1_table_1"), paper.table("b1_table_5").rows
    rows = []
    for (size, bits), cells in printed.rows.items():
        p = energy.b1_products(int(sizes[size]["Layers"]), int(sizes[size]["Hidden"]))
        for node in ("7nm", "45nm"):
            price = energy.prices(node)
            ours = energy.transformer_energy(p, price, BITS[bits]) if bits in BITS else energy.bitnet_energy(p, price)
            for kind in ("mul", "add"):
                column, value = f"{node} {kind.upper()}", sum(j for part, j in ours.items() if part.endswith(kind))
                rows.append({"size": size, "bits": bits, "column": column, "printed": cells[column], "ours": value,
                             "agrees": paper.agrees(value, cells[column])})
    return {"source": printed.source, "tokens": energy.TOKENS, "rows": rows}


def in_words(result):
    """A line for every cell, and what the numbers leave out."""
    off = max(abs(r["ours"] - float(r["printed"])) for r in result["rows"])
    yield "The formula is inferred, not published (experiments/energy.py)."
    sizes = ", ".join(dict.fromkeys(r["size"] for r in result["rows"]))
    yield Line(result["source"], f"{paper.how_many_agree(result['rows'])}, all within {off:.3f} J",
               f"{sizes}; {result['tokens']} tokens")
    for r in result["rows"]:
        yield Line(f"{r['size']} with {r['bits']}-bit weights, {r['column']}: {r['printed']} J", f"{r['ours']:.4f} J",
                   f"{result['tokens']} tokens", differs=not r["agrees"])
    yield "These numbers leave out: " + "; ".join(energy.LEFT_OUT) + "."
