"""Measure contenders in one process, by turns: what the machine does meanwhile hits all of them alike."""
import copy
import itertools
import os
import time
from statistics import median

FILL, MOST_COPIES = 192e6, 64        # bytes that the copies of a thing fill together, several times a cache; at most so many


def repeat(step, seconds, at_least=3):
    """Call step for a while -> (calls, seconds they took)."""
    began, calls = time.perf_counter(), 0
    while calls < at_least or time.perf_counter() - began < seconds:
        step()
        calls += 1
    return calls, time.perf_counter() - began


def take_turns(steps, rounds, seconds, at_least=3):
    """{name: function to call} -> {name: [seconds a call, in every round]}. Each is called once before the first round."""
    for step in steps.values():
        step()
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            calls, took = repeat(step, seconds, at_least)
            times[name].append(took / calls)
    return times


def ratio(times, others):
    """How many times longer the first took: the median of the rounds' ratios, and the smallest and the largest of them."""
    ratios = [a / b for a, b in zip(times, others, strict=True)]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def spread(r):
    """A median with the least and the most of the rounds, in words."""
    return f"{r['median']:.2f} ({r['least']:.2f} to {r['most']:.2f})"


def streamed(thing, nbytes):
    """An endless cycle of a thing of so many bytes and of copies of it, enough of them that each has left the caches when its turn
    comes: what is used is read from memory, as in a model of many layers."""
    copies = int(min(MOST_COPIES, -(-FILL // nbytes)))
    return itertools.cycle([thing, *(copy.deepcopy(thing) for _ in range(copies - 1))])


def peak_bytes():
    """The most memory that this process has held, or on Linux its parent before it began (NaN where the system does not tell)."""
    if os.name == "nt":
        return float("nan")
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)


def blas_threads():
    """How many threads BLAS was told to use, in words. (The commands tell it 1 before NumPy loads.)"""
    told = os.environ.get("OPENBLAS_NUM_THREADS", "any number of")
    return f"{told} BLAS thread{'s' * (told != '1')}"
