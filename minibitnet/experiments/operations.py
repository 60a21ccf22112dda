"""The energy of a small model, counted while it runs instead of assumed: our three engines, operation by
operation (``counting.py``)."""
import numpy as np

from ..language_model import FloatEngine
from ..formats.packed import pack
from ..inference.integer import IntegerModel
from ..inference.packed_engine import PackedModel
from ..nn.config import ModelConfig
from ..nn.model import Transformer
from . import energy
from ..measure.counting import count
from .lines import Experiment, Line

SIZES = {"vocab_size": 512, "d_model": 128, "n_layers": 2, "n_heads": 4, "d_ffn": 352, "context": 64}
TOKENS, SEED = 64, 0
PRODUCTS = ("BitLinear", "plain products", "attention")      # of matrices; attention is with its softmax


def quick():
    """-> operations of every engine that reads 64 tokens, and one token after 63; joules by [bitnet] Table 2
    where it has a price."""
    ids = np.random.default_rng(SEED).integers(0, SIZES["vocab_size"], (1, TOKENS))
    rows, reading = [], {}
    for name, model in engines().items():
        caches = model.new_caches()
        model(ids[:, :-1], caches)
        reading[name] = count(model, ids)[1]
        writing = count(model, ids[:, -1:], caches)[1]
        for what, tally in {"reads 64 tokens": reading[name], "writes 1 token": writing}.items():
            rows.append({"engine": name, "what": what, "totals": totals(tally), "parts": by_component(tally)})
    return {
        "config": {**SIZES, "tokens": TOKENS, "seed": SEED},
        "rows": rows,
        "energy": joules(reading["LLaMA, float"], reading["ternary, float"]),
        "shares": {name: shares(tally, name) for name, tally in reading.items()},
    }


def engines():
    """The full-precision variant, and one ternary model on each engine. Random weights: no operation depends
    on their values."""
    c = ModelConfig(**SIZES)
    full, ternary = Transformer(ModelConfig(linear="float", **SIZES), SEED), Transformer(c, SEED)
    matrices, arrays = pack({name: p.data for name, p in ternary.parameters().items()}, c)
    return {
        "LLaMA, float": FloatEngine(full),
        "ternary, float": FloatEngine(ternary),
        "ternary, packed": PackedModel(c, dict(matrices), arrays),
        "ternary, integer": IntegerModel(c, dict(matrices), arrays),
    }


def totals(tally):
    """{"multiplications float32": n, ...}, the components together."""
    sums = {}
    for (_, kind, dtype), n in tally.items():
        sums[f"{kind} {dtype}"] = sums.get(f"{kind} {dtype}", 0) + n
    return dict(sorted(sums.items()))


def by_component(tally):
    """{"attention": {"multiplications float32": n, ...}, ...}"""
    names = sorted({component for component, _, _ in tally})
    return {name: totals({key: n for key, n in tally.items() if key[0] == name}) for name in names}


def by_formula():
    """What the papers' formula counts of this model."""
    c = ModelConfig(**SIZES)
    of_a_layer = [p.data.shape for name, p in Transformer(c).parameters().items()
                  if "layers.0." in name and p.data.ndim == 2]
    return energy.products(of_a_layer, c.n_layers, c.d_model, TOKENS)


def energy_by_component(tally, products=0):
    """{component: J} of the arithmetic at 7 nm, floats priced as FP16 (the papers' models are FP16; ours is
    float32, and float64 where sums are exact).

    So many ``products`` of the BitLinears are ternary, INT8 additions in the papers; ours are float32
    products of whole numbers, one for one, so they are taken out of the count and priced as INT8 additions.
    The others that ``priced`` does not name have no price in Table 2.
    """
    price, sums = energy.prices("7nm"), {}
    for (component, kind, dtype), n in tally.items():
        if priced(kind, dtype):
            sums[component] = sums.get(component, 0) + 1e-12 * n * price["FP16"][kind[:3]]
    if products:
        scaling = tally["BitLinear", "multiplications", "float32"] - products
        ternary = energy.bitnet_energy(energy.Products(products, 0, scaling), price)
        sums["BitLinear"] = sum(ternary.values())
    return sums


def priced(kind, dtype):
    """Whether [bitnet] Table 2 has a price for the operation: for multiplications and additions of floats."""
    return kind in ("multiplications", "additions") and dtype in ("float32", "float64")


def joules(of_float, of_ternary):
    """Both variants' energy and their quotient; beside it the papers' formula."""
    formula = by_formula()
    products = formula.projections
    full, ternary = (sum(energy_by_component(*of).values()) for of in ((of_float,), (of_ternary, products)))
    return {
        "float": full,
        "ternary": ternary,
        "saving": full / ternary,
        "products": products,
        "scaling": of_ternary["BitLinear", "multiplications", "float32"] - products,
        "scaled_by_formula": formula.scaled,
        "saving_by_formula": energy.saving(formula, energy.prices("7nm")),
        "unpriced": sum(n for (_, kind, dtype), n in of_ternary.items() if not priced(kind, dtype)),
    }


def shares(tally, name):
    """-> {"of": "energy", or "operations" of an engine whose integers and words Table 2 has no price for,
    component: its share}, the largest first."""
    if "integer" in name:
        of, sums = "operations", {name: sum(by.values()) for name, by in by_component(tally).items()}
    else:
        products = 0 if name == "LLaMA, float" else by_formula().projections
        of, sums = "energy", energy_by_component(tally, products)
    largest_first = sorted(sums.items(), key=lambda item: -item[1])
    return {"of": of} | {component: n / sum(sums.values()) for component, n in largest_first}


def in_words(result):
    """What every engine's energy consists of, and what the ternary model saves; the result has all counts."""
    s, e = result["config"], result["energy"]
    yield (f"A random model of {s['n_layers']} layers, {s['d_model']} wide, {s['vocab_size']} tokens; every "
           "operation counted while it runs (what counts: measure/counting.py; the counts: --json).")
    for name, by in result["shares"].items():
        of_products = sum(by.get(component, 0) for component in PRODUCTS)
        each = ", ".join(f"{component} {share:.1%}" for component, share in by.items() if component != "of")
        yield Line("products of matrices contribute the most",
                   f"{of_products:.0%} of the {by['of']}: {each}",
                   f"{name} engine, {s['tokens']} tokens", differs=of_products <= 0.5)
    of_both = f"{1e6 * e['float']:.2f} against {1e6 * e['ternary']:.2f} microjoules"
    printed = f"{e['saving_by_formula']:.2f} x by the papers' formula"
    yield Line(f"energy of 16 bits over BitNet's, same shape: {printed}",
               f"{e['saving']:.2f} x counted: {of_both}",
               f"{s['tokens']} tokens at 7 nm, {s['d_model']} wide",
               differs=abs(e["saving"] / e["saving_by_formula"] - 1) >= 0.1)
    yield ("The count has what the formula leaves out: the head, the norms, the residual sums, the "
           "exponentials, the quantizers' multiplications, the rounding to grids that makes sums exact; and "
           f"{e['unpriced']:,} operations (divisions, roots, comparisons, lookups, shifts and sums of a "
           "float's bits) that Table 2 has no price for. Attention is alike: at 64 tokens a block of queries "
           "meets every key.")
    yield ("Plain products are the head's, and of LLaMA every layer's; BitLinear's are priced as INT8 "
           "additions, so that of the ternary model the head, in full precision, takes the most. The integer "
           "engine adds and multiplies words of up to 64 bits, for which Table 2 has no price.")
    yield ("In the float engine a ternary product is still a float32 multiplication: the saving is what an "
           "INT8 adder would make of the same numbers. The packed engine, for one token, and the integer "
           "engine count bits, 64 weights to a word, and multiply eight counts a row by the places of the "
           "bits. Floats of 32 and 64 bits are priced as FP16, the smallest float that the table has.")


EXPERIMENTS = {"operations": Experiment(quick, in_words)}
