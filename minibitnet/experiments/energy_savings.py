"""How much less energy: [bitnet] Fig. 1, [b158] Fig. 3 and its 71.4, [2b4t] Table 1. The formula of ``energy.py``, inferred."""
from . import energy, paper, plotting
from .costs import MODELS

# (layers, width) of a point of [b158] Fig. 3, in [bitnet]'s block. Inferred: at 3B the picture has [bitnet]'s 2.7B (21.65), not
# [b158]'s own 3B of 26 layers, 3200 wide (25.05); 70B is LLaMA's.
FIGURE_3 = {"1.3B": (24, 2048), "3B": (32, 2560), "7B": (32, 4096), "13B": (40, 5120), "70B": (80, 8192)}
MISSED = {"1.3B", "2.7B", "3B"}      # printed 18.6 and 21.7, ours 18.547 and 21.649: one digit at the last place


def quick():
    """The row's figures, JSON-able, made on the spot."""
    price = energy.prices("7nm")
    figure_1, figure_3, report = (paper.table(name) for name in ("b1_figure_1", "b158_figure_3", "2b4t_table_1"))
    sizes = paper.table("b1_table_5").rows
    rows = [point(figure_1, size, int(sizes[size]["Layers"]), int(sizes[size]["Hidden"]), price) for size in figure_1.rows]
    rows += [point(figure_3, size, *FIGURE_3[size], price) for size in figure_3.rows]
    return {"savings": rows, "product_alone": product_alone(), "parts": [parts(size, *FIGURE_3[size], price) for size in FIGURE_3],
            "report": [of_report(report, name, price) for name in report.rows]}


def point(table, size, n_layers, d, price):
    """One point of a figure -> printed, ours by the formula, and whether they agree."""
    ours, printed = energy.saving(energy.b1_products(n_layers, d), price), table.rows[size]["Saving"]
    return {"source": table.source, "size": size, "layers": n_layers, "width": d, "printed": printed, "ours": ours, "agrees": paper.agrees(ours, printed)}


def product_alone():
    """[b158]'s 71.4: an FP16 multiplication and addition over one INT8 addition, for each weight and token. Eq. 18 is left out of it."""
    ratio = {node: (p["FP16"]["add"] + p["FP16"]["mul"]) / p["INT8"]["add"] for node in ("7nm", "45nm") for p in [energy.prices(node)]}
    return {"printed": paper.table("b158_text").rows["saving of the matrix multiplication at 7 nm"]["Value"], **ratio}


def parts(size, n_layers, d, price):
    """Shares of BitNet's energy by operation.   [b158] Fig. 3, left"""
    p = energy.b1_products(n_layers, d)
    joules = {"INT8 add": p.projections * price["INT8"]["add"], "FP16 add": p.attention * price["FP16"]["add"],
              "FP16 mul": (p.attention + p.scaled) * price["FP16"]["mul"]}
    return {"size": size, **{kind: j / sum(joules.values()) for kind, j in joules.items()}}


def of_report(table, name, price):
    """A row of [2b4t] Table 1: the same formula over the published shapes. Its authors print no formula either."""
    shape, ternary = MODELS[name], name.startswith("BitNet")
    p = energy.products(shape.matrices, shape.n_layers, shape.d_attention)
    ours = sum((energy.bitnet_energy if ternary else energy.transformer_energy)(p, price).values())
    printed = table.rows[name]["Energy (J)"]
    return {"model": name, "printed": printed, "ours": ours, "agrees": paper.agrees(ours, printed)}


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    yield "The formula, and which (layers, width) a point has, are inferred, not published (experiments/energy.py); 512 tokens at 7 nm."
    for r in result["savings"]:
        ours = f"{r['ours']:.3f} x{'' if r['agrees'] else ' (differs)'}"
        yield f"{r['source']}, {r['size']}: {r['printed']} x | {ours} | {r['layers']} layers, {r['width']} wide"
    alone = result["product_alone"]
    yield f"matrix products alone: {alone['printed']} x | {alone['7nm']:.1f} x at 7 nm, {alone['45nm']:.1f} x at 45 nm, without eq. 18 | any"
    for r in result["report"]:
        yield f"arXiv 2504.12285, Table 1, {r['model']}: {r['printed']} J | {r['ours']:.4f} J{'' if r['agrees'] else ' (differs)'} | its published shape"
    for r in result["parts"]:
        yield f"BitNet's energy at {r['size']}: " + ", ".join(f"{kind} {r[kind]:.0%}" for kind in ("INT8 add", "FP16 add", "FP16 mul"))
    yield "These numbers leave out: " + "; ".join(energy.LEFT_OUT) + "."


def figure(result, path):
    """Draw a result to path; False where matplotlib is absent."""
    rows = [r for r in result["savings"] if "2402" in r["source"]]
    series = {name: {r["size"]: float(r[key]) for r in rows} for name, key in (("printed", "printed"), ("by the formula", "ours"))}
    return plotting.points(series, "model", "energy of FP16 / of BitNet b1.58", path)
