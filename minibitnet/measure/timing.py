"""Time contenders by turns: what the machine does meanwhile hits all of them alike.

``take_turns`` runs them in this process, ``processes_take_turns`` gives each a process of its own, and so a
peak of memory of its own.
"""
import copy
import itertools
import multiprocessing
import os
import signal
import threading
import time
import traceback
from multiprocessing import resource_tracker
from statistics import median

import threadpoolctl

from ..errors import UserError
from ..threads import one_blas_thread

FILL = 192e6             # bytes that the copies of a thing fill together, several times a cache,
MOST_COPIES = 64         # but no more copies than these


def repeat(step, seconds, at_least=3):
    """Call step for a while -> (calls, seconds they took)."""
    began, calls = time.perf_counter(), 0
    while calls < at_least or time.perf_counter() - began < seconds:
        step()
        calls += 1
    return calls, time.perf_counter() - began


def in_rounds(measures, rounds):
    """{name: function that measures once} -> {name: [what it measured, in every round]}"""
    found = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def take_turns(steps, rounds, seconds, at_least=3):
    """{name: function to call} -> {name: [seconds a call, in every round]}, after one call of each."""
    def seconds_a_call(step):
        calls, took = repeat(step, seconds, at_least)
        return took / calls

    for step in steps.values():
        step()
    return in_rounds({name: (lambda step=step: seconds_a_call(step)) for name, step in steps.items()}, rounds)


# ---- the same with a process for each

def processes_take_turns(jobs, rounds, seconds):
    """jobs: {name: (make, its arguments)}, make(*arguments) -> a step to call, and facts.

    Each has a process of its own -> {name: (seconds a step in every round, facts, peak memory in MB)}
    """
    spawn = multiprocessing.get_context("spawn")
    pipes, processes, facts = {}, [], {}

    def answer(name, word=None):
        try:
            if word:
                pipes[name].send(word)
            got = pipes[name].recv()
        except (EOFError, ConnectionError):
            raise UserError(f"the process of {name} ended early: out of memory, or for a reason of its own "
                            f"that is told above") from None
        if isinstance(got, UserError):
            raise UserError(f"{name}: {got}") from got
        return got

    try:
        for name, job in jobs.items():
            pipes[name], theirs = spawn.Pipe()
            process = spawn.Process(target=work, args=(theirs, seconds, *job), daemon=True)
            start_deaf(process)
            processes.append(process)
            theirs.close()
            facts[name] = answer(name)   # when it is warm, before the next one starts: some measure meanwhile
        times = in_rounds({name: (lambda name=name: answer(name, "go")) for name in jobs}, rounds)
        return {name: (times[name], facts[name], answer(name, "stop")) for name in jobs}
    finally:
        for process in processes:
            process.terminate()
            process.join()


def start_deaf(process):
    """Start a process that does not hear Ctrl-C, which a terminal sends to all: the command hears it, says so
    once and ends the others."""
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        return process.start()                           # nothing to inherit there; here nobody hears it
    resource_tracker.ensure_running()                    # its start would unblock the signal
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))   # BLAS's threads are not blocked
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})              # inherited
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if heard:
        signal.raise_signal(signal.SIGINT)


def work(pipe, seconds, make, *arguments):
    """A contender's process: its facts when it is warm; at each "go" steps for a while -> seconds a step; at
    "stop" peak memory. A failure is sent as a UserError, for the command to tell."""
    try:
        with one_blas_thread:
            step, facts = make(*arguments)
            for _ in range(3):
                step()
            pipe.send(facts)
            while pipe.recv() == "go":
                calls, took = repeat(step, seconds)
                pipe.send(took / calls)
            pipe.send(peak_bytes() / 1e6)
    except (EOFError, ConnectionError, KeyboardInterrupt):
        pass                                                     # the command has ended, and will say why
    except Exception as e:
        failure = UserError(str(e).strip().partition("\n")[0] or type(e).__name__)
        failure.add_note(traceback.format_exc())                 # for --traceback
        pipe.send(failure)


# ---- from times to figures

def ratio(times, others):
    """How many times as long the first took as the others, that is, how many times as fast these were:
    median, least and most of the rounds' ratios."""
    ratios = [a / b for a, b in zip(times, others, strict=True)]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def spread(r):
    """A median with the least and the most of the rounds, in words."""
    return f"{r['median']:.2f} ({r['least']:.2f} to {r['most']:.2f})"


def streamed(thing, nbytes):
    """An endless cycle of a thing of so many bytes and of copies of it, enough of them that each has left the
    caches when its turn comes: what is used is read from memory, as in a model of many layers."""
    copies = int(min(MOST_COPIES, -(-FILL // nbytes)))
    return itertools.cycle([thing, *(copy.deepcopy(thing) for _ in range(copies - 1))])


def peak_bytes():
    """The most memory that this process has held, or on Linux its parent before it began (NaN where the
    system does not tell)."""
    if os.name == "nt":
        return float("nan")
    import resource
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def blas_threads():
    """How many threads BLAS may use now, in words."""
    pools = threadpoolctl.threadpool_info()
    most = max((pool["num_threads"] for pool in pools if pool["user_api"] == "blas"), default="any number of")
    return f"{most} BLAS thread{'s' * (most != 1)}"
