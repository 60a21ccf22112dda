"""Measure contenders in one process, by turns: what the machine does meanwhile hits all of them alike."""
import copy
import itertools
import os
import time
from statistics import median

FILL, MOST_COPIES = 192e6, 64        # bytes that the copies of a thing fill together, several times a cache; at most so many


def repeat(step, seconds):
    """Call step for a while, three times at least -> (calls, seconds they took)."""
    began, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - began < seconds:
        step()
        calls += 1
    return calls, time.perf_counter() - began


def take_turns(steps, rounds, seconds):
    """{name: function to call} -> {name: [seconds a call, in every round]}. Each is called once before the first round."""
    for step in steps.values():
        step()
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            calls, took = repeat(step, seconds)
            times[name].append(took / calls)
    return times


def ratio(times, others):
    """How many times longer the first took: the median of the rounds' ratios, and the smallest and the largest of them."""
    ratios = [a / b for a, b in zip(times, others, strict=True)]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def streamed(thing, nbytes):
    """An endless cycle of copies of a thing of so many bytes that each has left the caches when its turn comes: as in a model of
    many layers, what is used is read from memory."""
    copies = int(min(MOST_COPIES, max(2, -(-FILL // nbytes))))
    return itertools.cycle([copy.deepcopy(thing) for _ in range(copies)])


def blas_threads():
    """How many threads BLAS was told to use; None: as many as it likes. (The commands tell it 1 before NumPy loads.)"""
    told = os.environ.get("OPENBLAS_NUM_THREADS")
    return int(told) if told else None
