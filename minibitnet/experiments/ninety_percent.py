"""">90 % less memory than 16 bits", as is often said of BitNet: only at the entropy limit, and only of the weights that are ternary."""
import math

from . import paper
from ..measure.costs import MODELS, memory
from .lines import Line

BITS = {"entropy limit, log2(3)": math.log2(3), "5 trits a byte": 8 / 5, "llama.cpp's TQ1_0": 54 * 8 / 256, "2 bits, as shipped": 2}
MORE_THAN = 0.9 + 1e-12            # 1 - 1.6 / 16 is 0.9, but for its last bit


def quick():
    """-> {"rows": what each packing saves of 16 bits, "whole": what is saved of all of 2B4T, "report": GB of its ternary weights}"""
    rows = [{"packing": name, "bits": bits, "saved": 1 - bits / 16} for name, bits in BITS.items()]
    parts = memory(MODELS["BitNet b1.58 2B"].config, bytes_of_rest=2)
    weights, (_, packed, float16, _) = parts["BitLinear weights"][0], parts["total"]
    return {"rows": rows, "whole": {"model": "BitNet b1.58 2B4T", "packed": packed, "float16": float16, "saved": 1 - packed / float16},
            "report": {"printed": paper.table("2b4t_table_1").rows["BitNet b1.58 2B"]["Memory (GB)"],
                       "weights": {name: weights * bits / 8 / 1e9 for name, bits in BITS.items()}}}


def in_words(result):
    """A line for every packing, for the whole model, and for the report's 0.4 GB."""
    w = result["whole"]
    here = f"{w['saved']:.0%}: {w['packed'] / 1e9:.2f} GB for {w['float16'] / 1e9:.2f} GB, embedding in 16 bits"
    yield Line("more than 90 % saved", here, f"all of {w['model']}, 2 bits", differs=w["saved"] <= MORE_THAN)
    for r in result["rows"]:
        yield Line("more than 90 % saved", f"{r['saved']:.1%} at {r['bits']:.3f} bits ({r['packing']})",
                   "weights of BitLinears alone", differs=r["saved"] <= MORE_THAN)
    weights = ", ".join(f"{gb:.3f} GB ({name})" for name, gb in result["report"]["weights"].items())
    yield Line(f"memory without embeddings: {result['report']['printed']} GB", weights,
               f"all of {w['model']}'s ternary weights")
    yield ("0.4 GB is right for every packing below 1.72 bits, and so not for the 2 bits that are shipped. More than 90 % needs fewer than 1.6 bits, "
           "which no packing here reaches; of a whole model it is three quarters, for the embedding keeps its 16 bits.")
