"""[b158] Table 3: memory decides the batch. The largest one for 70B on two cards of 80 GB, with and without ternary weights.

    batch = (budget - weights - overhead) / (a sequence's memory)

The byte counts are ours, of LLaMA 2's 70B (8 key-value heads) and of the same model with 64. Neither gives the printed batches, for how
the paper's program spends the rest is not printed. If a sequence and the overhead cost both programs the same, the two printed batches say
what they cost (inferred): two equations of two unknowns.
"""
from . import paper
from ..measure.costs import MODELS, cache_bytes, weight_bytes
from .lines import Line

BUDGET, POSITIONS = 2 * 80e9, 512


def quick():
    """-> {"printed": batches, "rows": ours by key-value heads and bits of the cache, "solved": see ``solved``}"""
    batches = {model: int(cells["Batch"]) for (model, _), cells in paper.table("b158_table_3").rows.items()}
    rows = []
    for heads in (8, 64):
        shape = MODELS["70B"]._replace(d_kv=MODELS["70B"].d_attention * heads // 64)
        ternary, float16 = weight_bytes(shape)
        sequence = {bits: POSITIONS * cache_bytes(shape, bits) for bits in (16, 8)}
        rows += [{"heads": heads, "bits": bits, "ternary": ternary, "float16": float16, "LLaMA": int((BUDGET - float16) // sequence[16]),
                  "BitNet b1.58": int((BUDGET - ternary) // sequence[bits])} for bits in (16, 8)]
    return {"printed": batches, "rows": rows, "solved": [solved(batches, r) for r in rows if r["bits"] == 16]}


def solved(batches, r):
    """budget = weights + overhead + batch * sequence, for both programs -> {"heads", "sequence", "overhead": bytes}"""
    few, many = batches["LLaMA"], batches["BitNet b1.58"]
    sequence = (r["float16"] - r["ternary"]) / (many - few)
    return {"heads": r["heads"], "sequence": sequence, "overhead": BUDGET - r["float16"] - few * sequence}


def in_words(result):
    """A line for every count of ours, and what the printed batches would mean."""
    printed = result["printed"]
    times, ours = f"{printed['BitNet b1.58'] / printed['LLaMA']:.1f} x", [r["BitNet b1.58"] / r["LLaMA"] for r in result["rows"]]
    claim = f"batch {printed['LLaMA']} against {printed['BitNet b1.58']}, {times}"
    yield Line(times, f"{min(ours):.1f} to {max(ours):.1f} x, by key-value heads and bits of the cache",
               f"70B in {BUDGET / 1e9:.0f} GB, {POSITIONS} tokens; counted")
    for r in result["rows"]:
        here = f"{r['LLaMA']} against {r['BitNet b1.58']}, {r['BitNet b1.58'] / r['LLaMA']:.1f} x"
        scale = (f"{r['float16'] / 1e9:.1f} and {r['ternary'] / 1e9:.1f} GB of weights and a cache of {POSITIONS} tokens, "
                 f"{r['heads']} key-value heads, BitNet's in {r['bits']} bits")
        yield Line(claim, here, scale, differs={model: r[model] for model in printed} != printed)
    yield ("The printed batches do not come out: what a sequence and the program take beside the cache is not printed. That memory decides, and that "
           "ternary weights leave room for several times the batch, does.")
    for s in result["solved"]:
        possible = "" if s["overhead"] > 0 else ", which cannot be"
        yield (f"Were it the same for both programs, the printed batches would mean {s['sequence'] / 1e9:.2f} GB a sequence and "
               f"{s['overhead'] / 1e9:.1f} GB of overhead with {s['heads']} key-value heads{possible}.")
