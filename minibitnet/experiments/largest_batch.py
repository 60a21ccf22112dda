"""[b158] Table 3: memory decides the batch. The largest one for 70B on two cards of 80 GB, with and without ternary weights.

    batch = (budget - weights - overhead) / (a sequence's memory)

The byte counts are ours. How the paper's program spends the rest is not printed; the two printed batches fix both unknowns: the
overhead and a sequence's memory that would give 16 and 176 at once (inferred).
"""
from . import paper
from .costs import MODELS, cache_bytes, weight_bytes

BUDGET, POSITIONS = 2 * 80e9, 512


def quick():
    """The row's figures, JSON-able, made on the spot."""
    batches = {model: int(cells["Batch"]) for (model, _), cells in paper.table("b158_table_3").rows.items()}
    ternary, float16 = weight_bytes("70B")
    rows = []
    for heads in (8, 64):
        sequence = {bits: heads // 8 * POSITIONS * cache_bytes(MODELS["70B"], bits) for bits in (16, 8)}     # LLaMA 2's 70B has 8
        rows += [{"heads": heads, "bits": bits, "LLaMA": int((BUDGET - float16) // sequence[16]),
                  "BitNet b1.58": int((BUDGET - ternary) // sequence[bits])} for bits in (16, 8)]
    sequence = (float16 - ternary) / (batches["BitNet b1.58"] - batches["LLaMA"])
    return {"printed": batches, "weights": {"ternary": ternary, "float16": float16}, "rows": rows,
            "inferred": {"sequence": sequence, "overhead": BUDGET - float16 - batches["LLaMA"] * sequence}}


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    printed, w, fit = result["printed"], result["weights"], result["inferred"]
    claim = f"batch {printed['LLaMA']} against {printed['BitNet b1.58']}, {printed['BitNet b1.58'] / printed['LLaMA']:.1f} x"
    for r in result["rows"]:
        yield (f"{claim} | {r['LLaMA']} against {r['BitNet b1.58']}, {r['BitNet b1.58'] / r['LLaMA']:.1f} x | weights and a cache of {POSITIONS} tokens, "
               f"{r['heads']} key-value heads, BitNet's in {r['bits']} bits")
    yield (f"{claim} | both, exactly, with {fit['sequence'] / 1e9:.2f} GB a sequence and {fit['overhead'] / 1e9:.1f} GB of overhead | inferred: "
           f"weights of {w['float16'] / 1e9:.1f} and {w['ternary'] / 1e9:.1f} GB leave nothing else to explain it")
    yield "With 64 key-value heads LLaMA's 16 is the byte count; the ratio of 11 lies between a cache of BitNet's in 16 and one in 8 bits."
    yield "The tokens per second of Table 3 follow the batch, since decoding reads all weights once for the whole batch; they are not counted here."
