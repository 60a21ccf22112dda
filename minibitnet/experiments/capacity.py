"""What room ternary weights make: a larger batch, a longer context, fewer devices. Counted; nothing runs."""
import math

from ..measure.costs import MODELS, Shape, cache_bytes, weight_bytes
from . import paper
from .lines import Experiment, Line

# ---- [b158] Table 3: memory decides the batch. The largest one for 70B on two cards of 80 GB
#
#     batch = (budget - weights - overhead) / (a sequence's memory)
#
# The byte counts are ours, of LLaMA 2's 70B (8 key-value heads) and of the same model with 64. Neither gives
# the printed batches, for how the paper's program spends the rest is not printed. If a sequence and the
# overhead cost both programs the same, the two printed batches say what they cost (inferred): two equations
# of two unknowns.

CARDS, POSITIONS = 2 * 80e9, 512


def largest_batch():
    """-> {"printed": batches, "rows": ours by key-value heads and bits of the cache, "solved": see below}"""
    batches = {model: int(cells["Batch"]) for (model, _), cells in paper.table("b158_table_3").rows.items()}
    rows = []
    for heads in (8, 64):
        shape = MODELS["70B"]._replace(d_kv=MODELS["70B"].d_attention * heads // 64)
        ternary, float16 = weight_bytes(shape)
        sequence = {bits: POSITIONS * cache_bytes(shape, bits) for bits in (16, 8)}
        rows += [{"heads": heads, "bits": bits, "ternary": ternary, "float16": float16,
                  "LLaMA": int((CARDS - float16) // sequence[16]),
                  "BitNet b1.58": int((CARDS - ternary) // sequence[bits])} for bits in (16, 8)]
    return {"printed": batches, "rows": rows, "solved": [solved(batches, r) for r in rows if r["bits"] == 16]}


def solved(batches, r):
    """budget = weights + overhead + batch * sequence, for both programs -> {"heads", "sequence" and
    "overhead": bytes}"""
    few, many = batches["LLaMA"], batches["BitNet b1.58"]
    sequence = (r["float16"] - r["ternary"]) / (many - few)
    return {"heads": r["heads"], "sequence": sequence, "overhead": CARDS - r["float16"] - few * sequence}


def largest_batch_in_words(result):
    """A line for every count of ours, and what the printed batches would mean."""
    printed, ours = result["printed"], [r["BitNet b1.58"] / r["LLaMA"] for r in result["rows"]]
    times = f"{printed['BitNet b1.58'] / printed['LLaMA']:.1f} x"
    claim = f"batch {printed['LLaMA']} against {printed['BitNet b1.58']}, {times}"
    yield Line(times, f"{min(ours):.1f} to {max(ours):.1f} x, by key-value heads and bits of the cache",
               f"70B in {CARDS / 1e9:.0f} GB, {POSITIONS} tokens; counted")
    for r in result["rows"]:
        here = f"{r['LLaMA']} against {r['BitNet b1.58']}, {r['BitNet b1.58'] / r['LLaMA']:.1f} x"
        scale = (f"{r['float16'] / 1e9:.1f} and {r['ternary'] / 1e9:.1f} GB of weights and a cache of "
                 f"{POSITIONS} tokens, {r['heads']} key-value heads, BitNet's in {r['bits']} bits")
        yield Line(claim, here, scale, differs={model: r[model] for model in printed} != printed)
    yield ("The printed batches do not come out: what a sequence and the program take beside the cache is "
           "not printed. That memory decides, and that ternary weights leave room for several times the "
           "batch, does.")
    for s in result["solved"]:
        possible = "" if s["overhead"] > 0 else ", which cannot be"
        yield ("Were it the same for both programs, the printed batches would mean "
               f"{s['sequence'] / 1e9:.2f} GB a sequence and {s['overhead'] / 1e9:.1f} GB of overhead with "
               f"{s['heads']} key-value heads{possible}.")


# ---- [b158] §4: 8 bits in the key-value cache in place of 16 double the context in the same memory; 4 again

SIZES, BITS = ("3B", "7B", "13B", "70B", "BitNet b1.58 2B"), (16, 8, 4)
CARD = 24e9              # bytes: a large consumer card


def contexts():
    """-> {"budget": bytes, "rows": for each size and number of bits, bytes a token and tokens that fit}"""
    rows = [{"size": size, "bits": bits, "bytes": cache_bytes(MODELS[size], bits),
             "ternary": context(size, bits, 0), "float16": context(size, bits, 1)}
            for size in SIZES for bits in BITS]
    return {"budget": CARD, "rows": rows}


def context(size, bits, which):
    """Tokens that fit beside the weights, ternary (0) or in 16 bits (1)."""
    return max(0, int(CARD - weight_bytes(size)[which]) // cache_bytes(MODELS[size], bits))


def contexts_in_words(result):
    """A line for every model and number of bits."""
    yield (f"Longest context in {result['budget'] / 1e9:.0f} GB, beside the weights and nothing else; below "
           "16 bits one 16-bit scale for each head and token.")
    of_16 = {r["size"]: r["ternary"] for r in result["rows"] if r["bits"] == 16}
    of_8 = [r["ternary"] / of_16[r["size"]] for r in result["rows"] if r["bits"] == 8]
    yield Line("8 bits: 2 x the context", f"{min(of_8):.2f} to {max(of_8):.2f} x",
               f"{SIZES[0]} to {SIZES[-1]}, counted", differs=min(of_8) < 2)
    for r in result["rows"]:
        longest = r["ternary"] / of_16[r["size"]]
        full = f"{r['float16']:,}" if r["float16"] else "none: the weights alone do not fit"
        here = f"{longest:.2f} x, {r['ternary']:,} tokens of {r['bytes']:,} bytes (16-bit weights: {full})"
        claim = f"{r['size']}, cache in {r['bits']} bits: {16 // r['bits']} x the context"
        yield Line(claim, here, "counted", differs=longest < 16 / r["bits"])
    yield ("What is missing is the scales. What fewer bits do to the loss is measured, not counted "
           "(b158-kv-4).")


# ---- [b158] §4: a mixture of experts needs fewer devices with ternary weights, and sends half as much
#
# The experts of a layer have the matrices of one feed-forward network as wide as all of them; a router of one
# row per expert stays in 16 bits.

EXPERTS, ACTIVE, WIDTH = 8, 2, 14_336            # Mixtral 8x7B's
ATTENTION = Shape(n_layers=32, d=4096, d_attention=4096, d_kv=1024, d_ffn=0, n_heads=32, vocab=32_000)
DEVICES = (24e9, 80e9)


def experts():
    """-> {"shape", "parameters", "active": of them at work for a token, "bytes", "sent": bytes for a token
    and layer, "devices": how many}"""
    ternary, float16 = weight_bytes(ATTENTION._replace(d_ffn=EXPERTS * WIDTH))
    _, active = weight_bytes(ATTENTION._replace(d_ffn=ACTIVE * WIDTH))
    routers = 2 * ATTENTION.n_layers * ATTENTION.d * EXPERTS            # bytes
    size = {"ternary": ternary + routers, "float16": float16 + routers}
    sent = {"ternary": ACTIVE * (ATTENTION.d + 2),                      # int8 codes and a 16-bit scale
            "float16": ACTIVE * ATTENTION.d * 2}
    devices = {f"{room / 1e9:.0f} GB": {kind: math.ceil(b / room) for kind, b in size.items()}
               for room in DEVICES}
    return {"shape": ATTENTION._asdict() | {"d_ffn": WIDTH, "experts": EXPERTS, "active": ACTIVE},
            "parameters": size["float16"] // 2, "active": (active + routers) // 2, "bytes": size,
            "sent": sent, "devices": devices}


def experts_in_words(result):
    """Memory, devices, traffic."""
    b, sent = result["bytes"], result["sent"]
    for room, n in result["devices"].items():
        yield Line("fewer devices", f"{n['ternary']} of {room} in place of {n['float16']}",
                   "weights alone, Mixtral 8x7B's shape", differs=n["ternary"] >= n["float16"])
    here = f"{sent['ternary']:,} in place of {sent['float16']:,} sent to the experts, for a token and layer"
    yield Line("fewer bytes between chips", here, "8-bit codes and a scale",
               differs=sent["ternary"] >= sent["float16"])
    parameters, active = result["parameters"] / 1e9, result["active"] / 1e9
    yield Line("less memory", f"{b['ternary'] / 1e9:.1f} GB ternary, {b['float16'] / 1e9:.1f} GB in 16 bits",
               f"{parameters:.1f}e9 parameters, {active:.1f}e9 at work for a token")


EXPERIMENTS = {
    "largest_batch": Experiment(largest_batch, largest_batch_in_words),
    "contexts": Experiment(contexts, contexts_in_words),
    "experts": Experiment(experts, experts_in_words),
}
