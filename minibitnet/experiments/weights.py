"""Parameters and bytes of the papers' models, counted from their shapes: nothing is run."""
import math

from ..measure import plotting
from ..measure.costs import MODELS, PAPER_SIZES, UNITS, memory, weight_bytes
from . import energy, paper
from .lines import Experiment, Line

# ---- [bitnet] Table 5: eight shapes, and the parameters that they have

VOCABULARY = 16_000


def parameters():
    """12 d^2 weights a layer, an embedding and a head -> {"rows": for each size its shape, its parameters,
    and how far their sum is off}"""
    rows = []
    for size, row in paper.table("b1_table_5").rows.items():
        n_layers, d, unit = int(row["Layers"]), int(row["Hidden"]), UNITS[size[-1]]
        projections, rest = energy.b1_products(n_layers, d, tokens=1).projections, 2 * VOCABULARY * d
        total = projections + rest
        rows.append({"size": size, "layers": n_layers, "width": d, "projections": projections,
                     "embedding and head": rest, "off": total / (float(size[:-1]) * unit) - 1,
                     "agrees": paper.agrees(total / unit, size[:-1])})
    return {"rows": rows}


def parameters_in_words(result):
    """A line for every size."""
    yield ("Inferred: the block (attention of four d x d, feed-forward of 4 d without a gate), an "
           "embedding and a head apart, no table of positions.")
    off, sizes = ([r[key] for r in result["rows"]] for key in ("off", "size"))
    here = f"{paper.how_many_agree(result['rows'])}, {max(off):+.1%} to {min(off):+.1%}"
    yield Line(f"{sizes[0]} to {sizes[-1]}", here, "counted")
    for r in result["rows"]:
        total, unit = r["projections"] + r["embedding and head"], r["size"][-1]
        scale = (f"{r['layers']} layers, {r['width']} wide: {r['projections']:,} in projections, "
                 f"{r['embedding and head']:,} in embedding and head")
        here = f"{total / UNITS[unit]:.4g}{unit}, {r['off']:+.1%}"
        yield Line(r["size"], here, scale, differs=not r["agrees"])
    yield ("All eight have fewer parameters than their names say, the small ones by most. What the names "
           "count besides is not printed; in the energy, which has no embedding, the shapes come out "
           "(b1-fig-1).")


# ---- by component: BitLinears in 2 bits and the rest in 16, beside everything in 16 bits

COMPONENTS = ("BitLinear weights", "embedding", "head")


def components():
    """-> {"rows": {size: {component: [numbers, bytes packed, bytes in 16 bits]}}}"""
    tables = {size: memory(MODELS[size].config, bytes_of_rest=2) for size in PAPER_SIZES}
    return {"rows": {size: {name: list(row[:3]) for name, row in table.items()}
                     for size, table in tables.items()}}


def components_in_words(result):
    """A line for every model."""
    yield ("Shapes of 700M to 7B and of 2B4T are published; those of 13B to 70B are LLaMA's, for the "
           "papers name none of their own (costs.MODELS).")
    times = [parts["total"][2] / parts["total"][1] for parts in result["rows"].values()]
    yield Line("less memory than in 16 bits", f"{min(times):.2f} to {max(times):.2f} x, weights alone",
               f"{PAPER_SIZES[0]} to {PAPER_SIZES[-2]}, and 2B4T")
    for size, parts in result["rows"].items():
        _, packed, float16 = parts["total"]
        shares = ", ".join(f"{name} {parts[name][0] / 1e9:.3f}e9 = {parts[name][1] / 1e9:.3f} GB"
                           for name in COMPONENTS if parts[name][0])
        here = f"{packed / 1e9:.2f} GB, {float16 / 1e9:.2f} GB in 16 bits, {float16 / packed:.2f} x"
        yield Line(size, here, shares)
    yield ("A token in the key-value cache, and what a running program takes, are apart: b158-long, "
           "b158-table-1.")


# ---- [b158] Table 1, memory: what the weights take, and what is left for the running program
#
# The paper prints the memory of a running program. Its weights can be counted: two bits for each weight of a
# BitLinear, 16 bits for the rest, 16 bits for everything of LLaMA's; GB is 10^9 bytes. What remains
# (activations, cache, library) is the program's.

def memory_table():
    """-> {"rows": for each model, in GB, what is printed, its weights, and what remains}"""
    rows = []
    for (model, size), cells in paper.table("b158_table_1").rows.items():
        printed, weights = cells["Memory (GB)"], weight_bytes(size)[model == "LLaMA"] / 1e9
        llama = weight_bytes("3B" if size == "3.9B" else size)[1] / 1e9     # there is no LLaMA of 3.9B
        rows.append({"model": model, "size": size, "printed": printed, "ratio": cells["Memory ratio"],
                     "weights": weights, "ratio_of_weights": llama / weights,
                     "runtime": float(printed) - weights, "agrees": paper.agrees(weights, printed)})
    return {"rows": rows}


def memory_table_in_words(result):
    """A line for every model."""
    yield ("Weights alone are counted; a running program needs more, and its part is what is left of the "
           "printed number (GB = 10^9 bytes).")
    ternary = [r for r in result["rows"] if r["model"] != "LLaMA"]
    ours, printed = [r["ratio_of_weights"] for r in ternary], [float(r["ratio"]) for r in ternary]
    yield Line(f"{min(printed):.2f} to {max(printed):.2f} x",
               f"{min(ours):.2f} to {max(ours):.2f} x of the weights alone",
               f"{ternary[0]['size']} to {ternary[-1]['size']}, counted")
    for r in result["rows"]:
        printed = f"{r['printed']} GB ({r['ratio']} x)"
        here = (f"{r['weights']:.2f} GB of weights ({r['ratio_of_weights']:.2f} x), "
                f"which leaves {r['runtime']:.2f} GB")
        yield Line(f"memory of {r['model']} {r['size']}: {printed}", here, "counted", differs=not r["agrees"])
    yield ("LLaMA and BitNet of one size leave the same, within 0.1 GB: the difference between the two is "
           "that of their weights.")


# ---- [b158] Fig. 2, memory: LLaMA's over BitNet b1.58's, 1.3B to 70B; of the weights alone, counted as above

def memory_ratios():
    """-> {"ratios": for each size what is printed, and that of the weights}"""
    rows = paper.table("b158_figure_2").rows
    return {"ratios": [{"size": size, "printed": cells["Memory ratio"], "weights": float16 / ternary}
                       for size, cells in rows.items() for ternary, float16 in [weight_bytes(size)]]}


def memory_ratios_in_words(result):
    """A line for every size, and why the ratio grows."""
    first, last = (result["ratios"][i] for i in (0, -1))
    yield Line(f"{first['printed']} to {last['printed']} x",
               f"{first['weights']:.2f} to {last['weights']:.2f} x for the weights alone",
               f"{first['size']} to {last['size']}, counted")
    for r in result["ratios"]:
        here = f"{r['weights']:.2f} x for the weights alone"
        yield Line(f"memory ratio at {r['size']}: {r['printed']} x", here, "counted",
                   differs=not paper.agrees(r["weights"], r["printed"]))
    gaps = [f"{r['weights'] / float(r['printed']):.2f} times" for r in (first, last)]
    yield ("The ratio grows with the size because embedding and head stay in 16 bits and are a smaller "
           "part of a larger model. Of the weights alone it is larger than printed, since both programs "
           f"need the same beside them: {gaps[0]} as large at {first['size']}, {gaps[1]} at {last['size']}.")


def draw_memory_ratios(result, path):
    """Draw a result to path; False where matplotlib is absent."""
    ours, printed = ({r["size"]: float(r[key]) for r in result["ratios"]} for key in ("weights", "printed"))
    return plotting.points({"weights alone": ours}, "model", "memory, LLaMA / BitNet b1.58 (times)", path,
                           printed)


# ---- ">90 % less memory than 16 bits", as is often said of BitNet

PACKINGS = {             # bits a weight
    "entropy limit, log2(3)": math.log2(3), "5 trits a byte": 8 / 5, "llama.cpp's TQ1_0": 54 * 8 / 256,
    "2 bits, as shipped": 2}
MORE_THAN = 0.9 + 1e-12            # 1 - 1.6 / 16 is 0.9, but for its last bit


def ninety_percent():
    """Only at the entropy limit, and only of the weights that are ternary -> {"rows": what each packing saves
    of 16 bits, "whole": what is saved of all of 2B4T, "report": GB of its ternary weights}"""
    rows = [{"packing": name, "bits": bits, "saved": 1 - bits / 16} for name, bits in PACKINGS.items()]
    parts = memory(MODELS["BitNet b1.58 2B"].config, bytes_of_rest=2)
    ternary, (_, packed, float16, _) = parts["BitLinear weights"][0], parts["total"]
    printed = paper.table("2b4t_table_1").rows["BitNet b1.58 2B"]["Memory (GB)"]
    whole = {"model": "BitNet b1.58 2B4T", "packed": packed, "float16": float16,
             "saved": 1 - packed / float16}
    in_gb = {name: ternary * bits / 8 / 1e9 for name, bits in PACKINGS.items()}
    return {"rows": rows, "whole": whole, "report": {"printed": printed, "weights": in_gb}}


def ninety_percent_in_words(result):
    """A line for every packing, for the whole model, and for the report's 0.4 GB."""
    w = result["whole"]
    packed, float16 = w["packed"] / 1e9, w["float16"] / 1e9
    here = f"{w['saved']:.0%}: {packed:.2f} GB for {float16:.2f} GB, embedding in 16 bits"
    yield Line("more than 90 % saved", here, f"all of {w['model']}, 2 bits", differs=w["saved"] <= MORE_THAN)
    for r in result["rows"]:
        yield Line("more than 90 % saved", f"{r['saved']:.1%} at {r['bits']:.3f} bits ({r['packing']})",
                   "weights of BitLinears alone", differs=r["saved"] <= MORE_THAN)
    ternary = ", ".join(f"{gb:.3f} GB ({name})" for name, gb in result["report"]["weights"].items())
    yield Line(f"memory without embeddings: {result['report']['printed']} GB", ternary,
               f"all of {w['model']}'s ternary weights")
    yield ("0.4 GB is right for every packing below 1.72 bits, and so not for the 2 bits that are shipped. "
           "More than 90 % needs fewer than 1.6 bits, which no packing here reaches; of a whole model it "
           "is three quarters, for the embedding keeps its 16 bits.")


EXPERIMENTS = {
    "parameters": Experiment(parameters, parameters_in_words),
    "components": Experiment(components, components_in_words),
    "memory_table": Experiment(memory_table, memory_table_in_words),
    "memory_ratios": Experiment(memory_ratios, memory_ratios_in_words, figure=draw_memory_ratios),
    "ninety_percent": Experiment(ninety_percent, ninety_percent_in_words),
}
