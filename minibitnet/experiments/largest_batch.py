"""[b158] Table 3: memory decides the batch. The largest one for 70B on two cards of 80 GB, with and without ternary weights.

    batch = (budget - weights - overhead) / (a sequence's memory)

The byte counts are ours, of LLaMA 2's 70B (8 key-value heads) and of the same model with 64. Neither gives the printed batches, for how
the paper's program spends the rest is not printed: two numbers are too few to tell a sequence's memory from the overhead.
"""
from . import paper
from .costs import MODELS, cache_bytes, weight_bytes

BUDGET, POSITIONS = 2 * 80e9, 512


def quick():
    """The row's figures, JSON-able, made on the spot."""
    batches = {model: int(cells["Batch"]) for (model, _), cells in paper.table("b158_table_3").rows.items()}
    rows = []
    for heads in (8, 64):
        shape = MODELS["70B"]._replace(d_kv=MODELS["70B"].d_attention * heads // 64)
        ternary, float16 = weight_bytes(shape)
        sequence = {bits: POSITIONS * cache_bytes(shape, bits) for bits in (16, 8)}
        rows += [{"heads": heads, "bits": bits, "ternary": ternary, "float16": float16, "LLaMA": int((BUDGET - float16) // sequence[16]),
                  "BitNet b1.58": int((BUDGET - ternary) // sequence[bits])} for bits in (16, 8)]
    return {"printed": batches, "rows": rows}


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    printed = result["printed"]
    claim = f"batch {printed['LLaMA']} against {printed['BitNet b1.58']}, {printed['BitNet b1.58'] / printed['LLaMA']:.1f} x"
    for r in result["rows"]:
        differs = "" if {model: r[model] for model in printed} == printed else " (differs)"
        yield (f"{claim} | {r['LLaMA']} against {r['BitNet b1.58']}, {r['BitNet b1.58'] / r['LLaMA']:.1f} x{differs} | {r['float16'] / 1e9:.1f} and "
               f"{r['ternary'] / 1e9:.1f} GB of weights and a cache of {POSITIONS} tokens, {r['heads']} key-value heads, BitNet's in {r['bits']} bits")
    yield ("The printed batches do not come out: what a sequence and the program take beside the cache is not printed. That memory decides, and that "
           "ternary weights leave room for several times the batch, does.")
    yield "The tokens per second of Table 3 follow the batch, since decoding reads all weights once for the whole batch; they are not counted here."
