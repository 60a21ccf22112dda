"""A prompt, read at once by the packed engine: the same random model with activations of 8 and of 4 bits."""
from dataclasses import replace
from statistics import median

import numpy as np

from ..inference.packed_engine import PackedModel
from ..nn.config import ModelConfig
from .decode_bench import model_file, weights_of
from .random_models import SHAPES
from .timing import processes_take_turns, ratio, spread

EIGHT, CONTENDERS = "ternary", ("ternary", "a48", "v2")        # variants, of the same weights


def measure(name, tokens, rounds, threads):
    """-> {"shape", "tokens", "threads", "rounds", variant: {"tokens_per_s", "peak_mb", "to_eight"}}. To
    eight: its speed over that of 8-bit activations."""
    c = replace(ModelConfig(**SHAPES[name]), context=tokens)
    with model_file(name, c) as file:
        jobs = {variant: (reading, replace(c, linear=variant), file, threads) for variant in CONTENDERS}
        results = processes_take_turns(jobs, rounds, seconds=0.5)
    row = {"shape": name, "tokens": tokens, "threads": threads, "rounds": rounds}
    for variant, (times, _, peak) in results.items():
        row[variant] = {"tokens_per_s": tokens / median(times), "peak_mb": peak,
                        "to_eight": ratio(results[EIGHT][0], times)}
    return row


def reading(c, file, threads):
    """-> a function that reads a prompt as long as the context, no facts"""
    engine = PackedModel(c, *weights_of(file), threads)
    prompt = np.random.default_rng(0).integers(0, c.vocab_size, (1, c.context))
    return lambda: engine(prompt, last=True), {}


def in_words(row):
    """A row of ``measure`` as a table to print."""
    lines = [f"{row['shape']}, a prompt of {row['tokens']}, {row['threads']} threads, "
             f"median of {row['rounds']} rounds",
             f"  {'':10}{'tokens/s':>10}{'peak MB':>9}   speed / {EIGHT}"]
    for name in CONTENDERS:
        r = row[name]
        lines.append(f"  {name:10}{r['tokens_per_s']:>10.1f}{r['peak_mb']:>9,.0f}   {spread(r['to_eight'])}")
    return "\n".join(lines)
