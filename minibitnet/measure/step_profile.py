"""Where the time of our training step goes, op by op, on one thread."""
import cProfile
import inspect
import operator
import os
import pstats

import numpy as np

from .. import exact, exact_attention, exact_functions, quant
from ..nn import autograd, ops, optim, ranks, ste, training
from .timing import repeat
from .train_bench import our_step, task

EXACT = exact.__file__, exact_attention.__file__, exact_functions.__file__
FILES = {quant.__file__: "quantizers", optim.__file__: "AdamW, clipping",
         training.__file__: "sum over shards", ranks.__file__: "sum over shards"}


class SameThread:
    map = staticmethod(map)              # a pool of no threads, for the profiler sees one thread only


PRODUCTS, ATTENTION, PYTHON = "matrix products", "attention, its products too", "tape, layers, Python"


def profile(size, linear):
    """Where the time of our step goes, on one thread, in ms -> {"size", "linear", "ms": a step's,
    "system_ms": what of it the system took (to map and clear pages of memory), "by_op": {name: a step's
    while profiled}}"""
    step = our_step(*task(size, linear), SameThread())
    step()
    system = os.times().system
    steps, took = repeat(step, seconds=0, at_least=4)
    system = os.times().system - system
    profiler = cProfile.Profile()
    profiler.runcall(repeat, step, seconds=0, at_least=steps)
    return {"size": size, "linear": linear, "ms": 1e3 * took / steps, "system_ms": 1e3 * system / steps,
            "by_op": {name: 1e3 * seconds / steps for name, seconds in by_op(pstats.Stats(profiler)).items()}}


def in_words(rows):
    """Rows of ``profile`` as the columns of a table to print: what takes longest in the last one first, what
    rounds to 0.0% in all not at all."""
    totals = [sum(row["by_op"].values()) for row in rows]
    names = dict.fromkeys(name for row in reversed(rows) for name in row["by_op"])
    times = {name: [row["by_op"].get(name, 0.0) for row in rows] for name in names}
    times = {name: ms for name, ms in times.items() if max(map(operator.truediv, ms, totals)) >= 0.0005}

    def line(name, cells):
        return f"{name:27}" + "".join(f"{cell:>17}" for cell in cells)

    def shares(ms):
        return [f"{own:,.1f}{own / total:7.1%}" for own, total in zip(ms, totals)]

    def alone(key):
        return [f"{row[key]:,.1f}{'':7}" for row in rows]
    longest_first = sorted(times.items(), key=lambda item: -item[1][-1])
    return "\n".join([line("ms a step, one thread", [f"{row['size']} {row['linear']}" for row in rows]),
                      *(line(name, shares(ms)) for name, ms in longest_first),
                      line("in all, while profiled", shares(totals)),
                      line("by itself", alone("ms")),
                      line("... in the system (memory)", alone("system_ms"))])


def key(function):
    """What a profile calls a function."""
    code = function.__code__
    return code.co_filename, code.co_firstlineno, code.co_name


def by_op(stats):
    """pstats.Stats -> {name: seconds}, all of them; time in NumPy and in exact*.py counts for the op that
    called it, the layers' products for themselves, and what layers have made ready for products beforehand
    for ``ready``."""
    homes = {}                           # (file, first line .. last line) of every op
    for module in (ops, ste):
        for name, fn in vars(module).items():
            if hasattr(fn, "forward"):
                lines, first = inspect.getsourcelines(fn)
                op = ATTENTION if fn is ops.causal_attention else name
                homes[op] = module.__file__, range(first, first + len(lines))

    def home(function):
        file, line, _ = function
        for op, (op_file, lines) in homes.items():
            if file == op_file and line in lines:
                return op
        return "sums on the tape" if function == key(autograd.backward) else FILES.get(file)

    def foreign(function):
        # built in, made by a named tuple (they all have one name, under which a profile keeps one of them),
        # NumPy's, or exact*.py's
        return function[0].startswith(("~", "<string>", os.path.dirname(np.__file__), *EXACT))

    def home_of_call(function, caller):  # of a foreign function with all that it calls in turn
        name = home(caller)
        if function[0] not in EXACT:
            return name
        if function in (key(exact.product), key(exact.fine_product)) and name != ATTENTION:
            return PRODUCTS
        return name or ops.ready.__name__

    times = {}

    def add(name, seconds):
        times[name or PYTHON] = times.get(name or PYTHON, 0.0) + seconds
    for function, (_, _, own, _, callers) in stats.stats.items():
        if not foreign(function):
            add(home(function), own)
        for caller, (_, _, _, whole) in callers.items():
            if foreign(function) and not foreign(caller):
                add(home_of_call(function, caller), whole)
            if not foreign(function) and foreign(caller):
                add(home(function), -whole)      # a generator that sum() draws from, say: counted with sum()
    return times
