"""Latency against size:  [b158] Table 1 and Figure 2, measured on one block of each of the papers' widths.

Each block is made twice: as LLaMA's in dense float32 (the float variant of ``nn/model.py``) and packed in 2
bits a weight (``inference/packed_engine.py``), with random weights: time does not depend on their values. One
size is in memory at a time. Copies of a small block take turns, so that both kinds are read from memory at
every call, as in a model.

decode: one new token after 64 cached ones. prefill: a prompt in one go; the papers print no time for it, and
the quick form leaves it out.
"""
import math
from dataclasses import replace
from statistics import median

import numpy as np

from . import paper
from ..measure import plotting
from ..measure.costs import MODELS
from ..measure.random_models import SEED, decode_step, dense_block, packed_block, prefill_step
from ..measure.timing import FILL, blas_threads, peak_bytes, ratio, spread, streamed, take_turns
from .lines import Experiment, Line

SIZES = ("700M", "1.3B", "3B", "3.9B", "7B", "13B", "30B", "70B")
DENSE, PACKED = "dense float32", "packed"
PAST = 64


def quick():
    """The sizes that the paper prints a ratio for, one token, five rounds."""
    return measure(tuple(printed_ratios()), prompt=0, rounds=5, seconds=0.1)


def full(progress=iter):
    """Every size, a prompt of 64 tokens, seven rounds."""
    return measure(SIZES, prompt=64, rounds=7, seconds=0.3, progress=progress)


def printed_ratios():
    """{size: LLaMA's latency over that of BitNet b1.58 of the same size}"""
    figure, table = paper.table("b158_figure_2").rows, paper.table("b158_table_1").rows
    smallest = {"700M": float(table["BitNet b1.58", "700M"]["Latency ratio"])}
    return smallest | {size: float(cells["Latency ratio"]) for size, cells in figure.items()}


def measure(sizes, prompt, rounds, seconds, progress=iter):
    """Names of ``costs.MODELS`` -> a row for every size, the configuration, and "peak_mb", the most memory
    (MB: 10^6 bytes). prompt: its tokens; 0 for no prefill."""
    rows = []
    for size in progress(list(sizes)):
        c = replace(MODELS[size].config, n_layers=1, context=PAST + prompt)
        measured = measure_block(c, prompt, rounds, seconds)
        rows.append({"size": size, "d_model": c.d_model, "d_ffn": c.d_ffn, **measured})
    peak = peak_bytes()
    config = {
        "sizes": list(sizes),
        "past": PAST,
        "prompt": prompt,
        "rounds": rounds,
        "seconds": seconds,
        "seed": SEED,
        "threads": blas_threads(),
    }
    return {"config": config, "rows": rows, "peak_mb": None if math.isnan(peak) else peak / 1e6}


def measure_block(c, prompt, rounds, seconds):
    """-> {"weights", "bytes": {contender}, "decode", and with a prompt "prefill": see ``compare``}"""
    made = {DENSE: dense_block(c), PACKED: packed_block(c)}
    blocks = {name: streamed(block, nbytes) for name, (block, nbytes) in made.items()}
    weights = made[DENSE][1] // 4
    row = {"weights": weights, "bytes": {name: nbytes for name, (_, nbytes) in made.items()}}
    jobs = {"decode": lambda block: decode_step(block, c, 1, PAST)}
    if prompt:
        jobs["prefill"] = lambda block: prefill_step(block, c, prompt)
    for job, make in jobs.items():
        steps = {name: make(block) for name, block in blocks.items()}
        row[job] = compare(take_turns(steps, rounds, seconds, at_least=1), weights)
    return row


def compare(times, weights):
    """{contender: seconds in every round} -> {"ms", "ns_per_weight": {contender}, "speed_up": {"median",
    "least", "most"}}"""
    middle = {name: median(t) for name, t in times.items()}
    return {
        "ms": {name: 1e3 * t for name, t in middle.items()},
        "ns_per_weight": {name: 1e9 * t / weights for name, t in middle.items()},
        "speed_up": ratio(times[DENSE], times[PACKED]),
    }


def trend(weights, ratios):
    """By how much the ratio grows with each doubling of the weights: least squares -> (slope, its standard
    error); three points or more."""
    x, y = np.log2(weights) - np.log2(weights).mean(), np.array(ratios)
    slope = x @ y / (x @ x)
    rest = y - y.mean() - slope * x
    return slope, math.sqrt(rest @ rest / (len(x) - 2) / (x @ x))


def trends(rows):
    """The growth with the size, printed and measured -> {"sizes": how many, "printed", "ours": (slope, its
    standard error), "reproduced": whether the two agree within two standard errors of each}; None with fewer
    than three of the paper's sizes."""
    papers = printed_ratios()
    known = [row for row in rows if row["size"] in papers]
    if len(known) < 3:
        return None
    weights = [row["weights"] for row in known]
    printed = trend(weights, [papers[row["size"]] for row in known])
    ours = trend(weights, [row["decode"]["speed_up"]["median"] for row in known])
    reproduced = abs(ours[0] - printed[0]) <= 2 * (ours[1] + printed[1])
    return {"sizes": len(known), "printed": printed, "ours": ours, "reproduced": reproduced}


def in_words(r):
    """A line for every size and job, the growth with the size, and where it comes from."""
    c, rows, papers = r["config"], r["rows"], printed_ratios()
    yield (f"One block of each width, float32 beside 2 bits, {c['threads']}; median (least to most) of "
           f"{c['rounds']} rounds. The papers' ratios are of whole models on a GPU, FP16 beside 2 bits.")
    ratios = [row["decode"]["speed_up"]["median"] for row in rows]
    yield Line(f"{min(papers.values()):.2f} to {max(papers.values()):.2f}",
               f"{min(ratios):.2f} to {max(ratios):.2f}",
               f"one token, blocks of {rows[0]['size']} to {rows[-1]['size']}")
    for row in rows:
        d, (printed, ours) = row["decode"], beside_llama(row, rows)
        dense, packed = (row["bytes"][name] / 1e6 for name in (DENSE, PACKED))
        here = f"{spread(d['speed_up'])}: {d['ms'][DENSE]:.1f} ms dense, {d['ms'][PACKED]:.1f} packed{ours}"
        scale = (f"one token after {c['past']}, width {row['d_model']}, {dense:,.0f} and {packed:,.0f} MB of "
                 "weights")
        yield Line(f"{row['size']}: {printed}", here, scale)
    growth = trends(rows)
    if growth:
        printed, ours = (f"{slope:+.2f} ± {error:.2f}"
                         for slope, error in (growth["printed"], growth["ours"]))
        yield Line(f"the speed-up with each doubling of a block's weights: {printed}", ours,
                   f"slope of a straight line through {growth['sizes']} sizes, and its standard error",
                   differs=not growth["reproduced"])
    for row in (row for row in rows if "prefill" in row):
        p = row["prefill"]
        here = f"{spread(p['speed_up'])}: {p['ms'][DENSE]:,.0f} ms dense, {p['ms'][PACKED]:,.0f} packed"
        yield Line(f"{row['size']}: not printed", here, f"a prompt of {c['prompt']} tokens")
    yield from why(rows)
    if r["peak_mb"]:
        yield (f"At most {r['peak_mb'] / 1e3:.1f} GB were in use: one size is in memory at a time, "
               f"of a small block as many copies as fill {FILL / 1e6:.0f} MB.")


def beside_llama(row, rows):
    """What the paper prints for a size, and of 3.9B, whose time it compares with LLaMA 3B's, the same of
    ours -> two texts."""
    papers, dense = printed_ratios(), {r["size"]: r["decode"]["ms"][DENSE] for r in rows}
    if row["size"] != "3.9B":
        return f"{papers[row['size']]:.2f}" if row["size"] in papers else "not printed", ""
    printed = paper.table("b158_table_1").rows["BitNet b1.58", "3.9B"]["Latency ratio"]
    if "3B" not in dense:
        return f"{printed} beside LLaMA 3B", ""
    ours = dense["3B"] / row["decode"]["ms"][PACKED]
    return f"{printed} beside LLaMA 3B", f"; {ours:.2f} beside the dense 3B"


def why(rows):
    """Paragraphs on what the numbers are made of."""
    first, last = rows[0], rows[-1]

    def gigabytes_a_second(name):
        return " and ".join(f"{row['bytes'][name] / row['decode']['ms'][name] / 1e6:.1f}"
                            for row in (first, last))
    yield ("On a GPU decoding waits for the weights, of which 2 bits are an eighth of FP16; what does not "
           "shrink (attention, norms, the start of each kernel, the FP16 head) weighs less in a larger "
           f"model, and the ratio grows. Here the dense block reads {gigabytes_a_second(DENSE)} GB/s of "
           f"weights ({first['size']} and {last['size']}), the packed one {gigabytes_a_second(PACKED)}, for "
           "it does not wait for memory: for each of the 8 bits of an activation, xor, and, popcount are "
           "NumPy passes of their own over every word of weights, where a kernel in C would make one. Both "
           "times grow with the weights, and a block has no head.")
    prompts = [row["prefill"]["speed_up"]["median"] for row in rows if "prefill" in row]
    if prompts:
        yield ("A prompt is arithmetic, not memory: BLAS multiplies by -1, 0 and +1 as slowly as by anything "
               "else, and the weights have to be unpacked for it first. There the packed block is "
               f"{min(prompts):.2f} to {max(prompts):.2f} times as fast.")


def figure(result, path):
    """The speed-up of decoding by size, ours beside the paper's; False where matplotlib is absent."""
    speed_ups = {row["size"]: row["decode"]["speed_up"] for row in result["rows"]}
    ours = {size: (r["median"], r["least"], r["most"]) for size, r in speed_ups.items()}
    return plotting.points({"here, one block": ours}, "model", "latency, dense / packed (times)",
                           path, printed_ratios())


EXPERIMENTS = {"latency": Experiment(quick, in_words, full=full, figure=figure)}
