"""The energy of a small model, counted while it runs instead of assumed: our three engines, operation by operation (``counting.py``)."""
import numpy as np

from ..formats.packed import pack
from ..inference.integer import IntegerModel
from ..inference.packed import PackedModel
from ..nn.config import ModelConfig
from ..nn.model import Transformer
from . import energy
from .counting import KINDS, count

SIZES = {"vocab_size": 512, "d_model": 128, "n_layers": 2, "n_heads": 4, "context": 64}
TOKENS, SEED = 64, 0


def quick():
    """-> operations of every engine that reads 64 tokens, and one token after 63; joules by [bitnet] Table 2 where it has a price."""
    ids = np.random.default_rng(SEED).integers(0, SIZES["vocab_size"], (1, TOKENS))
    rows, tallies = [], {}
    for name, model in engines().items():
        caches = model.new_caches()
        model(ids[:, :-1], caches)
        for what, arguments in {"reads 64 tokens": (ids,), "writes 1 token": (ids[:, -1:], caches)}.items():
            tallies[name, what] = tally = count(model, *arguments)[1]
            rows.append({"engine": name, "what": what, "totals": totals(tally), "parts": parts(tally)})
    of_float, of_ternary = (tallies[name, "reads 64 tokens"] for name in ("LLaMA, float", "ternary, float"))
    return {"config": {**SIZES, "tokens": TOKENS, "seed": SEED}, "rows": rows, "energy": joules(of_float, of_ternary)}


def engines():
    """The full-precision arm, and one ternary model on each engine. Random weights: no operation depends on their values."""
    c = ModelConfig(**SIZES)
    ternary = Transformer(c, SEED)
    matrices, arrays = pack({name: p.data for name, p in ternary.parameters().items()}, c)
    return {"LLaMA, float": Transformer(ModelConfig(linear="float", **SIZES), SEED), "ternary, float": ternary.quantized(),
            "ternary, packed": PackedModel(c, dict(matrices), arrays), "ternary, integer": IntegerModel(c, dict(matrices), arrays)}


def totals(tally):
    """{"multiplications float32": n, ...}, the parts together."""
    sums = {}
    for (_, kind, dtype), n in tally.items():
        sums[f"{kind} {dtype}"] = sums.get(f"{kind} {dtype}", 0) + n
    return dict(sorted(sums.items()))


def parts(tally):
    """{"attention": {"multiplications float32": n, ...}, ...}"""
    return {part: totals({key: n for key, n in tally.items() if key[0] == part}) for part in sorted({key[0] for key in tally})}


def joules(of_float, of_ternary):
    """Both arms' arithmetic at 7 nm, float32 priced as FP16 (the papers' models are FP16), and their quotient; beside it the papers' formula.

    The ternary products are INT8 additions in the papers; ours are float32 products of whole numbers, one for one, so they are
    taken out of the count and priced as INT8 additions. Divisions, functions and comparisons have no price in Table 2.
    """
    price, c = energy.prices("7nm"), ModelConfig(**SIZES)
    matrices = [p.data.shape for name, p in Transformer(c).parameters().items() if "layers.0." in name and p.data.ndim == 2]
    formula = energy.products(matrices, c.n_layers, c.d_model, TOKENS)

    def floats(tally, *without):
        return sum(1e-12 * n * price["FP16"][kind[:3]] for (part, kind, dtype), n in tally.items()
                   if kind in ("multiplications", "additions") and dtype == "float32" and part not in without)
    products = formula.projections
    scaling = of_ternary["BitLinear", "multiplications", "float32"] - products
    bitlinears = energy.bitnet_energy(energy.Products(products, 0, scaling), price)
    ternary = floats(of_ternary, "BitLinear") + sum(bitlinears.values())
    unpriced = sum(n for (_, kind, _), n in of_ternary.items() if kind in ("divisions and functions", "comparisons", "lookups"))
    return {"float": floats(of_float), "ternary": ternary, "saving": floats(of_float) / ternary, "products": products, "scaling": scaling,
            "scaled_by_formula": formula.scaled, "saving_by_formula": energy.saving(formula, price), "unpriced": unpriced}


def in_words(result):
    """The counts of every engine, and the energy that they make."""
    s, e = result["config"], result["energy"]
    yield (f"A random model of {s['n_layers']} layers, {s['d_model']} wide, {s['vocab_size']} tokens; every operation counted while it runs "
           "(what counts: experiments/counting.py).")
    for r in result["rows"]:
        by_kind = {kind: ", ".join(f"{n:,} {name.removeprefix(kind + ' ')}" for name, n in r["totals"].items() if name.startswith(kind + " "))
                   for kind in (*KINDS, "lookups")}
        yield f"{r['engine']} engine {r['what']}: " + "; ".join(f"{kind} {numbers}" for kind, numbers in by_kind.items() if numbers)
    differs = "" if abs(e["saving"] / e["saving_by_formula"] - 1) < 0.1 else " (differs)"
    yield (f"energy of 16 bits over BitNet's, same shape: {e['saving_by_formula']:.2f} x by the papers' formula | {e['saving']:.2f} x "
           f"counted{differs}: {1e6 * e['float']:.2f} against {1e6 * e['ternary']:.2f} microjoules | {s['tokens']} tokens at 7 nm, {s['d_model']} "
           "wide")
    yield ("The count has what the formula leaves out: the head, the norms, the residual sums, the quantizers' multiplications; and "
           f"{e['unpriced']:,} operations (divisions, exponentials, comparisons, lookups) that Table 2 has no price for. Attention is alike: at "
           "64 tokens a block of queries meets every key.")
    yield ("In the float engine a ternary product is still a float32 multiplication: the saving is what an INT8 adder would make of the same "
           "numbers. The packed engine, for one token, and the integer engine count bits, 64 weights to a word, and multiply eight counts a row "
           "by the places of the bits. float32 operations are priced as FP16, the smallest float that the table has.")
