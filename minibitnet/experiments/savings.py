"""[bitnet] Fig. 1: how much less energy BitNet takes than an FP16 Transformer, 125M to 30B. The formula of ``energy.py``, inferred."""
from . import energy, paper
from ..measure import plotting
from .lines import Line


def quick():
    """-> {"savings": a ``point`` for each size}"""
    table, sizes = paper.table("b1_figure_1"), paper.table("b1_table_5").rows
    return {"savings": [point(table, size, int(sizes[size]["Layers"]), int(sizes[size]["Hidden"])) for size in table.rows]}


def point(table, size, n_layers, d):
    """One point of a figure of savings at 7 nm -> what is printed, ours by the formula, and whether they agree."""
    ours, printed = energy.saving(energy.b1_products(n_layers, d), energy.prices("7nm")), table.rows[size]["Saving"]
    return {"size": size, "layers": n_layers, "width": d, "printed": printed, "ours": ours, "agrees": paper.agrees(ours, printed)}


def in_words(result):
    """A line for every size, and what the numbers leave out."""
    yield "The formula is inferred, not published (experiments/energy.py); 512 tokens at 7 nm."
    yield from lines_of_points(result["savings"])
    yield "These numbers leave out: " + "; ".join(energy.LEFT_OUT) + "."


def lines_of_points(points):
    """Lines of points, and one of all of them."""
    first, last = points[0], points[-1]
    yield Line(f"{first['printed']} to {last['printed']} x",
               f"{first['ours']:.2f} to {last['ours']:.2f} x, {paper.how_many_agree(points)}",
               f"{first['size']} to {last['size']}, {energy.TOKENS} tokens at 7 nm")
    for r in points:
        yield Line(f"{r['size']}: {r['printed']} x", f"{r['ours']:.3f} x", f"{r['layers']} layers, {r['width']} wide",
                   differs=not r["agrees"])


def figure(result, path):
    """Draw a result to path; False where matplotlib is absent."""
    ours, printed = series(result["savings"])
    return plotting.points(ours, "model", "energy of FP16 / of BitNet", path, printed)


def series(points):
    """Points as a line of a picture, and what is printed."""
    ours, printed = ({r["size"]: float(r[key]) for r in points} for key in ("ours", "printed"))
    return {"by the formula": ours}, printed
