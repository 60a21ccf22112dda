"""Is a ternary model suited to processors and small devices?   [b158] §4

One token after another on one thread of this machine, of random models: the engine of floats, the packed one,
and the one of whole numbers, which a device without floating point could run.
"""
from functools import partial

from ..measure import decode_bench
from ..measure.decode_bench import FLOAT, INTEGER, PACKED
from .lines import Experiment, Line

SHAPES, QUICK_ROUNDS, ROUNDS = ("tiny", "15m"), 3, 7


def edge(rounds=QUICK_ROUNDS, progress=iter):
    """-> {"config", "rows": what ``decode_bench.measure`` finds of each shape on one thread}"""
    return {"config": {"shapes": list(SHAPES), "rounds": rounds, "threads": 1},
            "rows": [decode_bench.measure(name, rounds, threads=1) for name in progress(SHAPES)]}


def edge_in_words(result):
    """A line for every engine."""
    last = result["rows"][-1]
    packed, full = last[PACKED], last[FLOAT]
    yield Line("suited to processors and small devices",
               f"{last['shape']}: {packed['weights_mb']:.1f} MB of weights and "
               f"{packed['decode_tokens_per_s']:,.0f} tokens/s; in floats {full['weights_mb']:.1f} MB and "
               f"{full['decode_tokens_per_s']:,.0f} tokens/s", "one thread, random weights",
               differs=packed["peak_mb"] >= full["peak_mb"])
    for row in result["rows"]:
        for engine in (PACKED, FLOAT, INTEGER):
            e = row[engine]
            yield Line(f"{row['shape']}, {engine}",
                       f"{e['decode_tokens_per_s']:,.0f} tokens/s, {e['weights_mb']:.1f} MB of weights, "
                       f"{e['peak_mb']:.0f} MB of memory in all", f"context {row['context']}")
    yield ("Memory in all has Python and NumPy in it, about 50 MB. The integer engine computes in whole "
           "numbers alone (inference/integer.py), so a processor without floating point could run it. NumPy "
           "has no product of packed weights, so here they save memory and no time.")


EXPERIMENTS = {"edge": Experiment(edge, edge_in_words, partial(edge, ROUNDS))}
