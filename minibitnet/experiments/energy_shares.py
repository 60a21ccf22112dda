"""[b158] Fig. 3: what BitNet b1.58's and LLaMA's energy consists of, and how much less it is, 1.3B to 70B. The formula of ``energy.py``, inferred.

Which (layers, width) a point has is inferred, too, all of them in [bitnet]'s block: at 3B the picture has [bitnet]'s 2.7B (21.65), not
[b158]'s own 3B of 26 layers, 3200 wide (25.05); 70B is LLaMA's.
"""
from . import energy, paper, plotting
from .savings import point, series, told

FIGURE_3 = {"1.3B": (24, 2048), "3B": (32, 2560), "7B": (32, 4096), "13B": (40, 5120), "70B": (80, 8192)}


def quick():
    """-> {"savings": points of the right panel, "shares": {size: {model: {operation: share}}} of the left one}"""
    table = paper.table("b158_figure_3")
    return {"savings": [point(table, size, *FIGURE_3[size]) for size in table.rows],
            "shares": {size: shares(energy.b1_products(*sizes), energy.prices("7nm")) for size, sizes in FIGURE_3.items()}}


def shares(p, price):
    """Products and prices -> {model: {operation: its share of the model's energy}}"""
    joules = {"LLaMA": {"INT8 add": 0} | energy.transformer_energy(p, price), "BitNet b1.58": energy.bitnet_energy(p, price)}
    return {model: {part: j / sum(parts.values()) for part, j in parts.items()} for model, parts in joules.items()}


def in_words(result):
    """A line for every point and every bar, and what the numbers leave out."""
    yield "The formula, and which (layers, width) a point has, are inferred, not published (experiments/energy.py); 512 tokens at 7 nm."
    yield from told(result["savings"])
    for size, by_model in result["shares"].items():
        for model, claim in (("LLaMA", "FP16 addition and multiplication"), ("BitNet b1.58", "the majority is INT8 addition")):
            parts = by_model[model]
            holds = parts["INT8 add"] == 0 if model == "LLaMA" else parts["INT8 add"] > 0.5
            yield (f"energy of {model} {size}: {claim} | " + ", ".join(f"{part} {share:.0%}" for part, share in parts.items() if share) +
                   f"{'' if holds else ' (differs)'} | {' layers, '.join(map(str, FIGURE_3[size]))} wide")
    yield ("INT8 additions are the largest part from 13B on, and the majority at 70B alone: attention in FP16 takes the rest, and eq. 18's "
           "scaling. The sentence of the paper is right of the projections by themselves.")
    yield "These numbers leave out: " + "; ".join(energy.LEFT_OUT) + "."


def figure(result, path):
    """Both panels: shares by model and size, and savings; False where matplotlib is absent."""
    stacks = {f"{size} {model[:6]}": parts for size, by_model in result["shares"].items() for model, parts in by_model.items()}
    return plotting.stacks_and_points(stacks, "share of the energy", series(result["savings"]), "model", "energy of LLaMA / of BitNet b1.58", path)
