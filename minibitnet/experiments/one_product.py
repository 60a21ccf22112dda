"""[b158] §3: an FP16 multiplication and addition over one INT8 addition, for each weight and token: 71.4 at 7 nm. Eq. 18 is left out of it."""
from . import energy, paper
from .lines import Line


def quick():
    """-> {"printed", "ratios": {process node: ratio}, "with_scaling": {size: [width, ratio]}}"""
    ratios = {node: (p["FP16"]["add"] + p["FP16"]["mul"]) / p["INT8"]["add"] for node in ("7nm", "45nm") for p in [energy.prices(node)]}
    widths = {size: [d, with_scaling(d)] for size, d in (("1.3B", 2048), ("70B", 8192))}
    printed = paper.table("b158_text").rows["saving of the matrix multiplication at 7 nm"]["Value"]
    return {"printed": printed, "ratios": ratios, "with_scaling": widths}


def with_scaling(d, tokens=energy.TOKENS):
    """The same of one (d, d) matrix and so many tokens, with the multiplications of [bitnet] eq. 18."""
    p = energy.products([(d, d)], 1, 0, tokens)
    return energy.saving(p, energy.prices("7nm"))


def in_words(result):
    """The ratio, with and without the scaling, and what the numbers leave out."""
    r = result["ratios"]
    yield Line(f"{result['printed']} x", f"{r['7nm']:.1f} x at 7 nm, {r['45nm']:.1f} x at 45 nm", "one weight and token",
               differs=not paper.agrees(r["7nm"], result["printed"]))
    for size, (d, ratio) in result["with_scaling"].items():
        yield Line("not printed", f"{ratio:.1f} x with the scaling of eq. 18 at 7 nm",
                   f"a matrix ({d}, {d}), the width of {size}")
    yield "These numbers leave out: " + "; ".join(energy.LEFT_OUT) + "."
