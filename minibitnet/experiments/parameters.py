"""[bitnet] Table 5: eight shapes, and the parameters that they have. Counted: 12 d^2 weights a layer, an embedding and a head of 16,000 tokens."""
from ..measure.costs import UNITS
from . import energy, paper
from .lines import Line

VOCABULARY = 16_000


def quick():
    """-> {"rows": for each size its shape, its parameters, and how far their sum is off}"""
    rows = []
    for size, row in paper.table("b1_table_5").rows.items():
        n_layers, d = int(row["Layers"]), int(row["Hidden"])
        projections, rest, unit = energy.b1_products(n_layers, d, tokens=1).projections, 2 * VOCABULARY * d, UNITS[size[-1]]
        rows.append({"size": size, "layers": n_layers, "width": d, "projections": projections, "embedding and head": rest,
                     "off": (projections + rest) / (float(size[:-1]) * unit) - 1, "agrees": paper.agrees((projections + rest) / unit, size[:-1])})
    return {"rows": rows}


def in_words(result):
    """A line for every size."""
    yield "Inferred: the block (attention of four d x d, feed-forward of 4 d without a gate), an embedding and a head apart, no table of positions."
    off, sizes = ([r[key] for r in result["rows"]] for key in ("off", "size"))
    here = f"{paper.how_many_agree(result['rows'])}, {max(off):+.1%} to {min(off):+.1%}"
    yield Line(f"{sizes[0]} to {sizes[-1]}", here, "counted")
    for r in result["rows"]:
        total, unit = r["projections"] + r["embedding and head"], r["size"][-1]
        scale = (f"{r['layers']} layers, {r['width']} wide: {r['projections']:,} in projections, "
                 f"{r['embedding and head']:,} in embedding and head")
        yield Line(r["size"], f"{total / UNITS[unit]:.4g}{unit}, {r['off']:+.1%}", scale, differs=not r["agrees"])
    yield ("All eight have fewer parameters than their names say, the small ones by most. What the names count besides is not printed; in the "
           "energy, which has no embedding, the shapes come out (b1-fig-1).")
