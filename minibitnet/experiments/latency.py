"""Latency against size:  [b158] Table 1 and Figure 2, measured on one block of each of the papers' widths.

Each block is made twice: as LLaMA's in dense float32 (the float arm of ``nn/model.py``) and packed in 2 bits a weight
(``inference/packed.py``), with random weights: time does not depend on their values. One size is in memory at a time. Copies of a
small block take turns, so that both kinds are read from memory at every call, as in a model.

decode: one new token after 64 cached ones. prefill: a prompt in one go.
"""
from statistics import median

from ..nn.config import ModelConfig
from . import plotting
from .random_models import decode_step, dense_block, packed_block, prefill_step
from .timing import blas_threads, peak_mb, ratio, streamed, take_turns

# [faq] up to 3.9B, [a48] Table 6 for 7B; inferred for the larger ones, which no paper of BitNet prints: LLaMA's 13B and 30B
# (arXiv 2302.13971) and LLaMA 2's 70B (arXiv 2307.09288).
SIZES = {
    "700M": dict(d_model=1536, d_ffn=4096, n_heads=24),
    "1.3B": dict(d_model=2048, d_ffn=5460, n_heads=32),
    "3B": dict(d_model=3200, d_ffn=8640, n_heads=32),
    "3.9B": dict(d_model=3200, d_ffn=12800, n_heads=32),
    "7B": dict(d_model=4096, d_ffn=11008, n_heads=32),
    "13B": dict(d_model=5120, d_ffn=13824, n_heads=40),
    "30B": dict(d_model=6656, d_ffn=17920, n_heads=52),
    "70B": dict(d_model=8192, d_ffn=28672, n_heads=64, n_kv_heads=8),
}
LATENCY_RATIO = {"700M": 1.23, "1.3B": 1.67, "3B": 2.71, "7B": 2.90, "13B": 3.68, "70B": 4.10}      # [b158] Table 1, Figure 2
DENSE, PACKED = "dense float32", "packed"
PAST = 64


def quick():
    """The sizes that the paper prints a ratio for, a prompt of 32 tokens, three rounds."""
    return measure({size: SIZES[size] for size in LATENCY_RATIO}, prompt=32, rounds=3, seconds=0.1)


def full(progress=iter):
    """Every size, a prompt of 64 tokens, nine rounds."""
    return measure(SIZES, prompt=64, rounds=9, seconds=0.5, progress=progress)


def measure(sizes, prompt, rounds, seconds, progress=iter):
    """{size: fields of ModelConfig} -> a row for every size, and the configuration."""
    rows = [measure_size(size, ModelConfig(n_layers=1, context=PAST + prompt, **sizes[size]), prompt, rounds, seconds) for size in progress(list(sizes))]
    return {"config": {"past": PAST, "prompt": prompt, "rounds": rounds, "seconds": seconds, "blas_threads": blas_threads()},
            "rows": rows, "peak_mb": peak_mb()}


def measure_size(size, c, prompt, rounds, seconds):
    """-> {"size", "d_model", "d_ffn", "weights", "bytes": {contender}, "decode", "prefill": see ``compare``}"""
    made = {DENSE: dense_block(c), PACKED: packed_block(c)}
    blocks = {name: streamed(block, nbytes) for name, (block, nbytes) in made.items()}
    weights = made[DENSE][1] // 4
    jobs = {"decode": lambda block: decode_step(block, c, 1, PAST), "prefill": lambda block: prefill_step(block, c, prompt)}
    return {"size": size, "d_model": c.d_model, "d_ffn": c.d_ffn, "weights": weights, "bytes": {name: nbytes for name, (_, nbytes) in made.items()}} | {
        job: compare(take_turns({name: step(blocks[name]) for name in made}, rounds, seconds, at_least=1), weights) for job, step in jobs.items()}


def compare(times, weights):
    """{contender: seconds in every round} -> {"ms", "ns_per_weight": {contender}, "speed_up": {"median", "least", "most"}}"""
    return {"ms": {name: 1e3 * median(t) for name, t in times.items()}, "ns_per_weight": {name: 1e9 * median(t) / weights for name, t in times.items()},
            "speed_up": ratio(times[DENSE], times[PACKED])}


def in_words(r):
    """The lines that tell a result."""
    c, rows = r["config"], r["rows"]
    yield "paper   the speed-up of decoding grows with size, from 1.23 at 700M to 4.1 at 70B ([b158] Table 1, Figure 2): whole models, GPU, FP16 beside 2 bits"
    yield (f"here    one block, NumPy, {c['blas_threads'] or 'all'} BLAS thread{'s' * (c['blas_threads'] != 1)}, float32 beside 2 bits; median "
           f"(least to most) of {c['rounds']} rounds; decode after {c['past']} tokens, prompt of {c['prompt']}")
    yield (f"        {'size':6}{'width':>6}{'MB':>7}{'packed':>8}{'decode, ms':>12}{'packed':>8}{'speed-up':>10}{'':16}{'paper':>6}"
           f"{'prompt, ms':>12}{'packed':>8}{'speed-up':>10}")
    for row in rows:
        (dense, packed), d, p = (row["bytes"][name] / 1e6 for name in (DENSE, PACKED)), row["decode"], row["prefill"]
        spread = f"({d['speed_up']['least']:.2f} to {d['speed_up']['most']:.2f})"
        yield (f"        {row['size']:6}{row['d_model']:>6}{dense:>7,.0f}{packed:>8,.1f}{d['ms'][DENSE]:>12.1f}{d['ms'][PACKED]:>8.1f}"
               f"{d['speed_up']['median']:>10.2f}{spread:>16}{LATENCY_RATIO.get(row['size'], ''):>6}{p['ms'][DENSE]:>12,.0f}{p['ms'][PACKED]:>8,.0f}"
               f"{p['speed_up']['median']:>10.2f}")
    first, last = (row["decode"]["ns_per_weight"] for row in (rows[0], rows[-1]))
    yield (f"why     On a GPU decoding waits for the weights, of which 2 bits are an eighth of FP16, and what does not shrink (attention, norms, starting "
           f"kernels, the FP16 head) weighs less in a larger model: the ratio grows. Here the dense block, too, waits for memory "
           f"({first[DENSE]:.2f} ns a weight at {rows[0]['size']}, {last[DENSE]:.2f} at {rows[-1]['size']}), but the packed one does not: NumPy's "
           f"xor, and, popcount are passes of their own over every word ({first[PACKED]:.2f} and {last[PACKED]:.2f} ns a weight), a kernel in C "
           f"would make one. Both times grow with the weights, so their ratio has little to grow from.")
    yield ("        A prompt is arithmetic, not memory: BLAS multiplies by -1, 0 and +1 as slowly as by anything else, and the weights have to be "
           "unpacked for it first.")
    yield (f"scale   one block of each width in place of a model, random weights, no head; {rows[-1]['size']} takes {rows[-1]['bytes'][DENSE] / 1e9:.1f} GB "
           f"dense and {rows[-1]['bytes'][PACKED] / 1e6:,.0f} MB packed; at most {r['peak_mb'] / 1e3:.1f} GB were in use")


def figure(result, path):
    """The speed-up of decoding against size, ours beside the paper's; False where matplotlib is absent."""
    rows = result["rows"]
    ours = {row["size"]: tuple(row["decode"]["speed_up"][key] for key in ("median", "least", "most")) for row in rows}
    return plotting.ratios_by_size(ours, LATENCY_RATIO, "dense latency / packed latency, one token", path)
