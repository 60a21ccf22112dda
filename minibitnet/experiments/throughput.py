"""Tokens a second against the batch size:  the mechanism of [b158] Table 3, measured.

Table 3 gives LLaMA 70B and BitNet b1.58 70B the same two GPUs: the one has room for the caches of 16
sequences, the other, whose weights are smaller, for 176, and a step costs little more for a larger batch. So
here: the memory that a dense block needs with 16 sequences is the budget, the packed block fills it with as
many as fit, and both are timed. Weights and caches are counted from the arrays, which are float32 where the
paper's are FP16.

One block of the 3B shape decodes, in the middle of sequences of 512 tokens; and a whole model of the shape of
``train --tiny``.
"""
from dataclasses import replace
from statistics import median

from ..inference.cache import KVCache
from ..nn.config import ModelConfig
from . import paper
from ..measure import plotting
from ..measure.costs import MODELS
from .latency import DENSE, PACKED
from ..measure.random_models import (
    SEED, SHAPES, decode_step, dense_block, engines, model_step, packed_block)
from ..measure.timing import blas_threads, ratio, spread, streamed, take_turns
from .lines import Experiment, Line

POSITIONS, SEQUENCES = 512, 16       # of Table 3: length of a sequence, LLaMA's batch


def quick():
    """Three rounds."""
    return measure("3B", "tiny", batches=(1, 4), model_batches=(1, 4, 16, 64), rounds=3, seconds=0.2)


def full(progress=iter):
    """More batch sizes, seven rounds."""
    return measure("3B", "tiny", batches=(1, 2, 4, 8, 32), model_batches=(1, 2, 4, 8, 16, 32, 64, 128),
                   rounds=7, seconds=0.4, progress=progress)


def measure(size, shape, batches, model_batches, rounds, seconds, progress=iter):
    """-> {"config", "block": see ``measure_block``, "model": {contender: {batch: tokens a second}}}"""
    config = {
        "block": size,
        "positions": POSITIONS,
        "batches": list(batches),
        "model": shape,
        "model_batches": list(model_batches),
        "rounds": rounds,
        "seconds": seconds,
        "seed": SEED,
        "threads": blas_threads(),
    }
    block = replace(MODELS[size].config, n_layers=1, context=POSITIONS)
    jobs = {"block": lambda: measure_block(block, batches, rounds, seconds),
            "model": lambda: measure_model(ModelConfig(**SHAPES[shape]), model_batches, rounds, seconds)}
    return {"config": config} | {name: jobs[name]() for name in progress(list(jobs))}


def measure_model(c, batches, rounds, seconds):
    """-> {contender: {batch: tokens a second}}"""
    makers = {name: (lambda batch, engine=engine: model_step(engine, c, batch, c.context // 2))
              for name, (engine, _) in engines(c).items()}
    return rates(by_batch(makers, batches, rounds, seconds))


def measure_block(c, batches, rounds, seconds):
    """-> {"weights": {contender: bytes}, "sequence": bytes of its cache, "budget", "largest": {contender:
    batch}, "rates": {contender: {batch: tokens a second}}, "at_equal_batch", "in_equal_memory": how many
    times as many tokens the packed block makes}"""
    made = {DENSE: dense_block(c), PACKED: packed_block(c)}
    weights, sequence = {name: nbytes for name, (_, nbytes) in made.items()}, KVCache(c).nbytes
    budget = weights[DENSE] + SEQUENCES * sequence
    largest = {name: (budget - weights[name]) // sequence for name in made}
    blocks = {name: streamed(block, nbytes) for name, (block, nbytes) in made.items()}
    makers = {name: (lambda batch, blocks=blocks[name]: decode_step(blocks, c, batch, c.context // 2))
              for name in made}
    times = by_batch(makers, sorted({*batches, *largest.values()}), rounds, seconds)
    dense, packed = (times[largest[name]][name] for name in (DENSE, PACKED))
    sequences = largest[PACKED] / largest[DENSE]
    return {
        "weights": weights,
        "sequence": sequence,
        "budget": budget,
        "largest": largest,
        "rates": rates(times),
        "at_equal_batch": ratio(dense, times[largest[DENSE]][PACKED]),
        "in_equal_memory": {key: sequences * r for key, r in ratio(dense, packed).items()},
    }


def by_batch(makers, batches, rounds, seconds):
    """{contender: batch -> a function to call} -> {batch: {contender: [seconds a call, in every round]}}.
    All batches take turns, for they are compared with each other."""
    steps = {(batch, name): make(batch) for batch in batches for name, make in makers.items()}
    times = take_turns(steps, rounds, seconds, at_least=1)
    return {batch: {name: times[batch, name] for name in makers} for batch in batches}


def rates(times):
    """{batch: {contender: seconds}} -> {contender: {batch: {"median", "least", "most"} tokens a second}};
    batches as text, for JSON."""
    def rate(batch, t):
        return {"median": batch / median(t), "least": batch / max(t), "most": batch / min(t)}
    contenders = list(next(iter(times.values())))
    return {name: {str(batch): rate(batch, t[name]) for batch, t in times.items()} for name in contenders}


def in_words(r):
    """Batches and tokens a second in equal memory, and every rate."""
    c, b = r["config"], r["block"]
    n, m = (b["largest"][name] for name in (DENSE, PACKED))
    (few, slow), (many, fast) = ((int(cells["Batch"]), int(cells["Tokens/s"]))
                                 for cells in paper.table("b158_table_3").rows.values())
    slower, faster = b["rates"][DENSE][str(n)]["median"], b["rates"][PACKED][str(m)]["median"]
    printed, ours, there, here = f"{many / few:.1f} x", f"{m / n:.1f} x", fast / slow, b["in_equal_memory"]
    scale = (f"one block of {c['block']} in equal memory, {c['threads']}, median (least to most) of "
             f"{c['rounds']} rounds")
    yield Line(f"{slow} against {fast:,} tokens/s, {there:.1f} x",
               f"{slower:,.0f} against {faster:,.0f} tokens/s, {spread(here)} x", scale,
               differs=not here["least"] <= there <= here["most"])
    dense, packed = (b["weights"][name] / 1e6 for name in (DENSE, PACKED))
    scale = (f"the same block, {b['budget'] / 1e6:,.0f} MB: weights of {dense:,.0f} and {packed:,.0f} MB in "
             f"float32 and 2 bits, {b['sequence'] / 1e6:.1f} MB a sequence of {c['positions']} tokens")
    yield Line(f"70B in 160 GB: batch {few} against {many}, {printed}", f"{n} against {m}, {ours}", scale,
               differs=ours != printed)
    yield Line("at an equal batch: not printed", f"{spread(b['at_equal_batch'])} x at batch {n}",
               "the same block")
    of_block, of_model = f"one block of {c['block']}", f"a model of the shape {c['model']}"
    for title, contenders in ((of_block, b["rates"]), (of_model, r["model"])):
        for name, by in contenders.items():
            each = ", ".join(f"{batch}: {rate['median']:,.0f}" for batch, rate in by.items())
            yield f"tokens/s of {title}, {name}, by batch: {each}"
    yield from why(b, m / n, many / few, there)


def why(block, sequences, printed_sequences, printed_tokens):
    """Paragraphs on the tokens of more sequences, so many times as many here and in the paper."""
    dense, packed = ({int(batch): rate["median"] for batch, rate in block["rates"][name].items()}
                     for name in (DENSE, PACKED))
    tokens = block["in_equal_memory"]["median"]
    at_equal_batch = ", ".join(f"{packed[batch] / dense[batch]:.2f}" for batch in packed)
    yield (f"Memory decides the batch here as there, but the tokens do not follow in proportion: "
           f"{sequences:.1f} times the sequences, {tokens:.2f} times the tokens, against "
           f"{printed_sequences:.1f} and {printed_tokens:.1f} times in the paper. A GPU reads the weights "
           "once in a step and has arithmetic to spare. One core has none from a few sequences on: more of "
           "them help only while reading or unpacking weights is a part of the time. And a packed block of "
           "more than three sequences unpacks its weights and then multiplies as the dense one does: from "
           f"batch {min(packed)} to {max(packed)} it makes {at_equal_batch} times the tokens of the dense "
           "block at the same batch.")
    if dense.get(2, dense[1]) < dense[1]:
        yield (f"Two sequences make fewer tokens than one ({dense[2]:.0f} against {dense[1]:.0f} in the "
               "dense block): one is a product with a vector, which reads the weights as fast as memory "
               "gives them; two are BLAS's product of matrices, which is slow for so few columns.")


def figure(result, path):
    """Tokens a second of one block against the batch, by contender; False where matplotlib is absent."""
    series = {name: {int(batch): tuple(rate.values()) for batch, rate in by.items()}
              for name, by in result["block"]["rates"].items()}
    ylabel = f"tokens/s of one block of {result['config']['block']}"
    return plotting.points(series, "sequences in the batch", ylabel, path)


EXPERIMENTS = {"throughput": Experiment(quick, in_words, full=full, figure=figure)}
