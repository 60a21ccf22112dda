"""Energy as the papers count it: so many additions and multiplications, each at its price.

    Transformer   E_add = m (n - 1) p e_add,   E_mul = m n p e_mul     [bitnet] eqs. 16-17, (m, n) x (n, p)
    BitNet        additions of INT8, and  E_mul = (m p + m n) e_mul    [bitnet] eq. 18: the scaling multiplies

**Inferred, not published:** which products a model has, and at which precision. What follows reproduces the
printed numbers (the experiments below, and ``report_costs``, show how well), for T tokens read at once, L
layers, width d:

  - projections: T times their weights, 12 d^2 a layer in [bitnet]'s block (4 d^2 of attention, 8 d^2 of
    feed-forward);
  - attention's two products, k^T q and v P: 2 L T^2 d, every query with every key, the later ones too, in
    FP16 in both models;
  - eq. 18's scaling, in FP16: T times inputs plus outputs of each projection, 18 d a layer in [bitnet]'s
    block;
  - n additions for eq. 16's n - 1. That moves a saving by up to 0.2 %, which is enough to decide about the
    last printed digit: with n - 1, 1.3B and 2.7B agree with the papers (18.58, 21.68), and 760M, 13B and 30B
    no longer do. No embedding, no head.
"""
from typing import NamedTuple

from ..measure import costs, plotting
from . import paper
from .lines import Experiment, Line

TOKENS = 512             # of the papers' energy figures
LEFT_OUT = (
    "reading the weights: moving data takes energy, and at one token at a time every weight is read for a "
    "single product",
    "embedding, head, norms, softmax, rotary embedding, gates, residual sums, and the quantizers themselves "
    "(maxima, divisions, rounding)",
    "that a sum of INT8 numbers needs a wider adder: a row of 4,096 weights sums to 20 bits, and is priced "
    "as INT8",
    "causality: keys that no query may see are counted in both models",
    "everything that is not arithmetic: instructions, clocks, leakage",
)
LEAVE_OUT = "These numbers leave out: " + "; ".join(LEFT_OUT) + "."


# ---- the formula

class Products(NamedTuple):
    """Multiply-accumulates of a model that reads T tokens, and the numbers that eq. 18 scales."""
    projections: int
    attention: int
    scaled: int


def products(matrices, n_layers, width, tokens=TOKENS):
    """matrices: the (n, m) of one layer's projections; width: of all query heads together."""
    return Products(n_layers * tokens * sum(n * m for n, m in matrices), 2 * n_layers * tokens**2 * width,
                    n_layers * tokens * sum(n + m for n, m in matrices))


def b1_products(n_layers, d, tokens=TOKENS):
    """[bitnet]'s block: q, k, v, o, and a feed-forward layer of width 4 d without a gate."""
    return products([(d, d)] * 4 + [(4 * d, d), (d, 4 * d)], n_layers, d, tokens)


def prices(node):
    """"7nm" -> {"FP16": {"add": 0.16, "mul": 0.34}, ...}, pJ.   [bitnet] Table 2"""
    rows = paper.table("b1_table_2").rows
    return {bits: {"add": float(row[f"ADD {node}"]), "mul": float(row[f"MUL {node}"])}
            for bits, row in rows.items()}


def transformer_energy(p, price, bits="FP16"):
    """-> {"FP16 add": J, "FP16 mul": J}, with the name of the bits.   [bitnet] eqs. 16-17"""
    both = p.projections + p.attention
    return {f"{bits} {kind}": 1e-12 * both * price[bits][kind] for kind in ("add", "mul")}


def bitnet_energy(p, price):
    """-> {"INT8 add": J, "FP16 add": J, "FP16 mul": J}.   [bitnet] eq. 18, attention in FP16"""
    return {"INT8 add": 1e-12 * p.projections * price["INT8"]["add"],
            "FP16 add": 1e-12 * p.attention * price["FP16"]["add"],
            "FP16 mul": 1e-12 * (p.attention + p.scaled) * price["FP16"]["mul"]}


def of_shape(shape, ternary):
    """J for 512 tokens at 7 nm of a ``costs.Shape``, ternary or in FP16."""
    p = products(shape.matrices, shape.n_layers, shape.d_attention)
    return sum((bitnet_energy if ternary else transformer_energy)(p, prices("7nm")).values())


def of_model(config):
    """A ModelConfig -> (bytes of its weights, microjoules for 512 tokens at 7 nm), both as its variant has
    them: matrices that have codes in 2 bits, everything else in 16."""
    c, codes = config, config.variant.has_codes
    shape = costs.Shape(c.n_layers, c.d_model, c.d_model, c.n_kv_heads * c.head_dim, c.d_ffn, c.n_heads,
                        c.vocab_size, c.tied)
    packed, float16 = costs.weight_bytes(shape)
    return packed if codes else float16, 1e6 * of_shape(shape, codes)


def saving(p, price):
    """The FP16 Transformer's energy over BitNet's."""
    return sum(transformer_energy(p, price).values()) / sum(bitnet_energy(p, price).values())


# ---- [bitnet] Table 1 from Table 2: every cell, and those that the formula misses

BITS = {"32": "FP32", "16": "FP16"}


def energy_table():
    """-> {"source", "tokens", "rows": for every cell what is printed, what the formula gives in J, whether
    they agree to the digits printed}"""
    printed, sizes = paper.table("b1_table_1"), paper.table("b1_table_5").rows
    rows = []
    for (size, bits), cells in printed.rows.items():
        p = b1_products(int(sizes[size]["Layers"]), int(sizes[size]["Hidden"]))
        for node in ("7nm", "45nm"):
            price = prices(node)
            ours = transformer_energy(p, price, BITS[bits]) if bits in BITS else bitnet_energy(p, price)
            for kind in ("mul", "add"):
                column = f"{node} {kind.upper()}"
                value = sum(j for part, j in ours.items() if part.endswith(kind))
                rows.append({"size": size, "bits": bits, "column": column, "printed": cells[column],
                             "ours": value, "agrees": paper.agrees(value, cells[column])})
    return {"source": printed.source, "tokens": TOKENS, "rows": rows}


def energy_table_in_words(result):
    """A line for every cell, and what the numbers leave out."""
    off = max(abs(r["ours"] - float(r["printed"])) for r in result["rows"])
    yield "The formula is inferred, not published (experiments/energy.py)."
    sizes = ", ".join(dict.fromkeys(r["size"] for r in result["rows"]))
    yield Line(result["source"], f"{paper.how_many_agree(result['rows'])}, all within {off:.3f} J",
               f"{sizes}; {result['tokens']} tokens")
    for r in result["rows"]:
        claim = f"{r['size']} with {r['bits']}-bit weights, {r['column']}: {r['printed']} J"
        yield Line(claim, f"{r['ours']:.4f} J", f"{result['tokens']} tokens", differs=not r["agrees"])
    yield LEAVE_OUT


# ---- [bitnet] Fig. 1: how much less energy BitNet takes than an FP16 Transformer, 125M to 30B

def savings():
    """-> {"savings": a ``point`` for each size}"""
    table, sizes = paper.table("b1_figure_1"), paper.table("b1_table_5").rows
    return {"savings": [point(table, size, int(sizes[size]["Layers"]), int(sizes[size]["Hidden"]))
                        for size in table.rows]}


def point(table, size, n_layers, d):
    """One point of a figure of savings at 7 nm -> what is printed, ours by the formula, do they agree."""
    ours, printed = saving(b1_products(n_layers, d), prices("7nm")), table.rows[size]["Saving"]
    return {"size": size, "layers": n_layers, "width": d, "printed": printed, "ours": ours,
            "agrees": paper.agrees(ours, printed)}


def savings_in_words(result):
    """A line for every size, and what the numbers leave out."""
    yield "The formula is inferred, not published (experiments/energy.py); 512 tokens at 7 nm."
    yield from lines_of_points(result["savings"])
    yield LEAVE_OUT


def lines_of_points(points):
    """Lines of points, and one of all of them."""
    first, last = points[0], points[-1]
    yield Line(f"{first['printed']} to {last['printed']} x",
               f"{first['ours']:.2f} to {last['ours']:.2f} x, {paper.how_many_agree(points)}",
               f"{first['size']} to {last['size']}, {TOKENS} tokens at 7 nm")
    for r in points:
        yield Line(f"{r['size']}: {r['printed']} x", f"{r['ours']:.3f} x",
                   f"{r['layers']} layers, {r['width']} wide", differs=not r["agrees"])


def draw_savings(result, path):
    """Draw a result to path; False where matplotlib is absent."""
    ours, printed = series(result["savings"])
    return plotting.points(ours, "model", "energy, FP16 / BitNet (times)", path, printed)


def series(points):
    """Points as a line of a picture, and what is printed."""
    ours, printed = ({r["size"]: float(r[key]) for r in points} for key in ("ours", "printed"))
    return {"by the formula": ours}, printed


# ---- [b158] Fig. 3: what BitNet b1.58's and LLaMA's energy consists of, and how much less it is, 1.3B to 70B
#
# The left panel shows the arithmetic of a matrix product alone, the 71.4 times of ``one_product``; the right
# one whole models. Which (layers, width) a point of it has is inferred, too, all of them in [bitnet]'s block:
# at 3B the picture has [bitnet]'s 2.7B (21.65), not [b158]'s own 3B of 26 layers, 3200 wide (25.05); 70B is
# LLaMA's.

FIGURE_3 = {"1.3B": (24, 2048), "3B": (32, 2560), "7B": (32, 4096), "13B": (40, 5120), "70B": (80, 8192)}
WIDTHS = {"1.3B": 2048, "70B": 8192}             # of the matrices of the left panel


def energy_shares():
    """-> {"savings": points of the right panel, "product": {model: {operation: share}} of the left one,
    "end_to_end": {size: share of INT8 additions in all that BitNet takes}}"""
    table, price = paper.table("b158_figure_3"), prices("7nm")
    squares = {d: products([(d, d)], 1, 0) for d in WIDTHS.values()}
    llama = {"INT8 add": 0} | shares(transformer_energy(squares[WIDTHS["1.3B"]], price))
    bitnet = {f"BitNet b1.58, {d} wide": shares(bitnet_energy(p, price)) for d, p in squares.items()}
    end_to_end = {size: shares(bitnet_energy(b1_products(*layers_and_width), price))["INT8 add"]
                  for size, layers_and_width in FIGURE_3.items()}
    return {"savings": [point(table, size, *FIGURE_3[size]) for size in table.rows],
            "product": {"LLaMA": llama} | bitnet, "end_to_end": end_to_end}


def shares(joules):
    """{operation: J} -> {operation: its share of them all}"""
    return {part: j / sum(joules.values()) for part, j in joules.items()}


def energy_shares_in_words(result):
    """A line for every point and every bar, and what the numbers leave out."""
    yield ("The formula, and which (layers, width) a point has, are inferred, not published "
           "(experiments/energy.py); 512 tokens at 7 nm.")
    yield from lines_of_points(result["savings"])
    for model, parts in result["product"].items():
        if model == "LLaMA":
            claim, holds, scale = "FP16 addition and multiplication", parts["INT8 add"] == 0, "any width"
        else:
            claim, holds = "the majority is INT8 addition", parts["INT8 add"] > 0.5
            scale = "a square matrix; the multiplications are eq. 18's"
        here = ", ".join(f"{part} {share:.0%}" for part, share in parts.items() if share)
        yield Line(f"matrix product of {model}: {claim}", here, scale, differs=not holds)
    end_to_end = ", ".join(f"{share:.0%} at {size}" for size, share in result["end_to_end"].items())
    yield (f"Of all that a BitNet takes, INT8 additions are {end_to_end}: attention stays in FP16. This is "
           "why a whole model saves less than its matrix products (b158-71), and a larger one more than a "
           "smaller one.")
    yield LEAVE_OUT


def draw_energy_shares(result, path):
    """Both panels: shares by model, and savings; False where matplotlib is absent."""
    stacks = {model.replace(", ", "\n"): parts for model, parts in result["product"].items()}
    ours, printed = series(result["savings"])
    return plotting.stacks_and_points(stacks, "share of a matrix product's energy", ours, "model",
                                      "energy, LLaMA / BitNet b1.58 (times)", path, printed)


# ---- [b158] §3: an FP16 multiplication and addition over one INT8 addition, for each weight and token

def one_product():
    """71.4 at 7 nm; eq. 18 is left out of it -> {"printed", "ratios": {process node: ratio}, "with_scaling":
    {size: [width, ratio]}}"""
    ratios = {node: (p["FP16"]["add"] + p["FP16"]["mul"]) / p["INT8"]["add"]
              for node in ("7nm", "45nm") for p in [prices(node)]}
    printed = paper.table("b158_text").rows["saving of the matrix multiplication at 7 nm"]["Value"]
    return {"printed": printed, "ratios": ratios,
            "with_scaling": {size: [d, with_scaling(d)] for size, d in WIDTHS.items()}}


def with_scaling(d, tokens=TOKENS):
    """The same of one (d, d) matrix and so many tokens, with the multiplications of [bitnet] eq. 18."""
    return saving(products([(d, d)], 1, 0, tokens), prices("7nm"))


def one_product_in_words(result):
    """The ratio, with and without the scaling, and what the numbers leave out."""
    r = result["ratios"]
    yield Line(f"{result['printed']} x", f"{r['7nm']:.1f} x at 7 nm, {r['45nm']:.1f} x at 45 nm",
               "one weight and token", differs=not paper.agrees(r["7nm"], result["printed"]))
    for size, (d, ratio) in result["with_scaling"].items():
        yield Line("not printed", f"{ratio:.1f} x with the scaling of eq. 18 at 7 nm",
                   f"a matrix ({d}, {d}), the width of {size}")
    yield LEAVE_OUT


EXPERIMENTS = {
    "energy_table": Experiment(energy_table, energy_table_in_words),
    "savings": Experiment(savings, savings_in_words, figure=draw_savings),
    "energy_shares": Experiment(energy_shares, energy_shares_in_words, figure=draw_energy_shares),
    "one_product": Experiment(one_product, one_product_in_words),
}
