"""Energy as the papers count it: so many additions and multiplications, each at its price.

    Transformer   E_add = m (n - 1) p e_add,   E_mul = m n p e_mul          [bitnet] eqs. 16-17, a product (m, n) x (n, p)
    BitNet        additions of INT8, and  E_mul = (m p + m n) e_mul         [bitnet] eq. 18: only the scaling multiplies

**Inferred, not published:** which products a model has, and at which precision. What follows reproduces the printed numbers
(``energy_table``, ``savings``, ``energy_shares``, ``report_costs`` show how well), for T tokens read at once, L layers, width d:

  - projections: T times their weights, 12 d^2 a layer in [bitnet]'s block (4 d^2 of attention, 8 d^2 of feed-forward);
  - attention's two products, k^T q and v P: 2 L T^2 d, every query with every key, the later ones too, in FP16 in both models;
  - eq. 18's scaling, in FP16: T times inputs plus outputs of each projection, 18 d a layer in [bitnet]'s block;
  - n additions for eq. 16's n - 1. That moves a saving by up to 0.2 %, which is enough to decide about the last printed digit: with
    n - 1, 1.3B and 2.7B agree with the papers (18.58, 21.68), and 760M, 13B and 30B no longer do. No embedding, no head.
"""
from typing import NamedTuple

from . import paper

TOKENS = 512             # of the papers' energy figures
LEFT_OUT = (
    "reading the weights: moving data takes energy, and at one token at a time every weight is read for a single product",
    "embedding, head, norms, softmax, rotary embedding, gates, residual sums, and the quantizers themselves (maxima, divisions, rounding)",
    "that a sum of INT8 numbers needs a wider adder: a row of 4,096 weights sums to 20 bits, and is priced as INT8",
    "causality: keys that no query may see are counted in both models",
    "everything that is not arithmetic: instructions, clocks, leakage",
)


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
    return {bits: {"add": float(row[f"ADD {node}"]), "mul": float(row[f"MUL {node}"])} for bits, row in rows.items()}


def transformer_energy(p, price, bits="FP16"):
    """-> {"FP16 add": J, "FP16 mul": J}, with the name of the bits.   [bitnet] eqs. 16-17"""
    return {f"{bits} {kind}": 1e-12 * (p.projections + p.attention) * price[bits][kind] for kind in ("add", "mul")}


def bitnet_energy(p, price):
    """-> {"INT8 add": J, "FP16 add": J, "FP16 mul": J}.   [bitnet] eq. 18, attention in FP16"""
    return {"INT8 add": 1e-12 * p.projections * price["INT8"]["add"], "FP16 add": 1e-12 * p.attention * price["FP16"]["add"],
            "FP16 mul": 1e-12 * (p.attention + p.scaled) * price["FP16"]["mul"]}


def of_shape(shape, ternary):
    """J for 512 tokens at 7 nm of a ``costs.Shape``, ternary or in FP16."""
    p = products(shape.matrices, shape.n_layers, shape.d_attention)
    return sum((bitnet_energy if ternary else transformer_energy)(p, prices("7nm")).values())


def saving(p, price):
    """The FP16 Transformer's energy over BitNet's."""
    return sum(transformer_energy(p, price).values()) / sum(bitnet_energy(p, price).values())
