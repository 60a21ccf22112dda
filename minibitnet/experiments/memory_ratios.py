"""[b158] Fig. 2, memory: LLaMA's over BitNet b1.58's, 1.3B to 70B; of the weights alone, as ``memory_table.py`` counts them."""
from . import paper
from ..measure import plotting
from ..measure.costs import weight_bytes
from .lines import Line


def quick():
    """-> {"ratios": for each size what is printed, and that of the weights}"""
    rows = paper.table("b158_figure_2").rows
    return {"ratios": [{"size": size, "printed": cells["Memory ratio"], "weights": float16 / ternary}
                       for size, cells in rows.items() for ternary, float16 in [weight_bytes(size)]]}


def in_words(result):
    """A line for every size, and why the ratio grows."""
    first, last = (result["ratios"][i] for i in (0, -1))
    yield Line(f"{first['printed']} to {last['printed']} x",
               f"{first['weights']:.2f} to {last['weights']:.2f} x for the weights alone",
               f"{first['size']} to {last['size']}, counted")
    for r in result["ratios"]:
        yield Line(f"memory ratio at {r['size']}: {r['printed']} x", f"{r['weights']:.2f} x for the weights alone", "counted",
                   differs=not paper.agrees(r["weights"], r["printed"]))

    def gap(r):
        return r["weights"] / float(r["printed"])
    yield ("The ratio grows with the size because embedding and head stay in 16 bits and are a smaller part of a larger model. Of the weights "
           f"alone it is larger than printed, since both programs need the same beside them: {gap(first):.2f} times as large at {first['size']}, "
           f"{gap(last):.2f} times at {last['size']}.")


def figure(result, path):
    """Draw a result to path; False where matplotlib is absent."""
    ours, printed = ({r["size"]: float(r[key]) for r in result["ratios"]} for key in ("weights", "printed"))
    return plotting.points({"weights alone": ours}, "model", "memory of LLaMA / of BitNet b1.58", path, printed)
