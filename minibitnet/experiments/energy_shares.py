"""[b158] Fig. 3: what BitNet b1.58's and LLaMA's energy consists of, and how much less it is, 1.3B to 70B. The formula of ``energy.py``, inferred.

The left panel shows the arithmetic of a matrix product alone, the 71.4 times of ``one_product.py``; the right one whole models. Which (layers,
width) a point of it has is inferred, too, all of them in [bitnet]'s block: at 3B the picture has [bitnet]'s 2.7B (21.65), not [b158]'s own
3B of 26 layers, 3200 wide (25.05); 70B is LLaMA's.
"""
from . import energy, paper
from ..measure import plotting
from .lines import Line
from .savings import lines_of_points, point, series

FIGURE_3 = {"1.3B": (24, 2048), "3B": (32, 2560), "7B": (32, 4096), "13B": (40, 5120), "70B": (80, 8192)}
WIDTHS = (2048, 8192)            # of the matrices of the left panel: those of 1.3B and 70B


def quick():
    """-> {"savings": points of the right panel, "product": {model: {operation: share}} of the left one, "end_to_end": {size: share of INT8
    additions in all that BitNet takes}}"""
    table, price = paper.table("b158_figure_3"), energy.prices("7nm")
    products = {d: energy.products([(d, d)], 1, 0) for d in WIDTHS}
    return {"savings": [point(table, size, *FIGURE_3[size]) for size in table.rows],
            "product": {"LLaMA": {"INT8 add": 0} | shares(energy.transformer_energy(products[WIDTHS[0]], price))} |
                       {f"BitNet b1.58, {d} wide": shares(energy.bitnet_energy(p, price)) for d, p in products.items()},
            "end_to_end": {size: shares(energy.bitnet_energy(energy.b1_products(*sizes), price))["INT8 add"] for size, sizes in FIGURE_3.items()}}


def shares(joules):
    """{operation: J} -> {operation: its share of them all}"""
    return {part: j / sum(joules.values()) for part, j in joules.items()}


def in_words(result):
    """A line for every point and every bar, and what the numbers leave out."""
    yield "The formula, and which (layers, width) a point has, are inferred, not published (experiments/energy.py); 512 tokens at 7 nm."
    yield from lines_of_points(result["savings"])
    for model, parts in result["product"].items():
        claim, holds = ("FP16 addition and multiplication", parts["INT8 add"] == 0) if model == "LLaMA" else \
                       ("the majority is INT8 addition", parts["INT8 add"] > 0.5)
        scale = "any width" if model == "LLaMA" else "a square matrix; the multiplications are eq. 18's"
        here = ", ".join(f"{part} {share:.0%}" for part, share in parts.items() if share)
        yield Line(f"matrix product of {model}: {claim}", here, scale, differs=not holds)
    end_to_end = ", ".join(f"{share:.0%} at {size}" for size, share in result["end_to_end"].items())
    yield (f"Of all that a BitNet takes, INT8 additions are {end_to_end}: attention stays in FP16. This is why a whole model saves less than its "
           "matrix products (b158-71), and a larger one more than a smaller one.")
    yield "These numbers leave out: " + "; ".join(energy.LEFT_OUT) + "."


def figure(result, path):
    """Both panels: shares by model, and savings; False where matplotlib is absent."""
    stacks = {model.replace(", ", "\n"): parts for model, parts in result["product"].items()}
    ours, printed = series(result["savings"])
    return plotting.stacks_and_points(stacks, "share of a matrix product's energy", ours, "model", "energy of LLaMA / of BitNet b1.58", path, printed)
