"""Carry out the plan: each run once, whoever has made it, and verify one by making it again.

A finished run is data/results/runs/NAME.json, and is never made again. Any number of processes may work at
once in one folder, started one by one or by mpiexec: each takes the next run that nobody has, and where all
are taken it waits, for what comes next may need them. Over machines without a common folder, ``share`` (i, n)
gives each its part of the runs, and their files are put together by copying. An interrupted run goes on where
it was.
"""
import hashlib
import json
import re
import time
from typing import NamedTuple

from ..errors import UserError
from ..files import write_atomically
from ..formats.rundir import Taken
from ..measure import results
from . import plan, scaling
from .quantized_run import carry_out
from .training_run import HOME, facts

FOLDER, TEXT = "runs", "stories-text"  # in data/results
# CPU seconds of 1,000 tokens of one thread, about, by arm: a + b N, N the numbers in the matrices. To say
# how long it will take, and to stay within a budget; the runs that are there correct it.
COSTS = {"ternary": (0.030, 6.4e-8), "float": (0.026, 7.2e-8), "binary": (0.032, 6.9e-8),
         plan.CONTROL: (0.030, 7.4e-8)}
QUANTIZED_STEPS = 1500                 # of training, that to quantize in every way takes as long as
LOOK_AGAIN = 5                         # seconds, where all runs are taken


class Progress(NamedTuple):
    """What is being done: for whoever shows it."""
    run: plan.Run
    step: int
    loss: float
    left: str                          # of the list, in words


def folder():
    """Where the results of runs are."""
    return results.home() / FOLDER


def done():
    """{name of a run: its result} of all that are there."""
    return {path.stem: read(path)["result"] for path in sorted(folder().glob("*.json"))}


def read(path):
    """The record of a run; UserError for a file that is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["result"]["outcome"], run_of(record["result"])
        return record
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as e:
        raise UserError(f"{path}: not the result of a run ({type(e).__name__}: {e}): expected what "
                        "reproduce runs writes") from None


def run_of(result):
    """The plan.Run of a result."""
    config = {name: result["config"][name] for name in plan.Run._fields}
    return plan.Run(**config | {"train": tuple((name, value) for name, value in config["train"])})


def write(run, result, seconds):
    """Write the result of a run -> its path."""
    path = folder() / f"{run.name}.json"
    record = results.envelope(run.name, result, seconds, f"python -m minibitnet.reproduce verify {run.name}")
    text = json.dumps(record, indent=1, allow_nan=False)
    text = re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text)      # a list, a line
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, [raw := (text + "\n").encode()], len(raw))
    return path


def outcomes(found):
    """{name of a run: its result} -> {name: its outcome}"""
    return {name: result["outcome"] for name, result in found.items()}


def blocks(found):
    """The plan's Blocks by the results that are there; those that wait for a file, without it."""
    for block in plan.blocks(outcomes(found)):
        there = (results.home() / f"{block.waits}.json").is_file()
        yield block._replace(waits="") if there else block


def open_runs(found, share=(1, 1)):
    """The runs that are to be made, in order."""
    runs = (run for block in blocks(found) if not block.waits for run in block.runs)
    return [run for run in dict.fromkeys(runs) if run.name not in found and part(run, share[1]) == share[0]]


def part(run, n):
    """Which of n parts a run is in, from 1: by its name, whatever else is planned."""
    return int(hashlib.sha256(run.name.encode()).hexdigest(), 16) % n + 1


def seconds_of(run, found):
    """About how long a run takes on one thread of this machine."""
    def expected(run):
        fixed, each = COSTS[run.arm]
        sizes, options = plan.RECIPES[run.text]
        steps = run.steps if run.change != plan.QUANTIZED else QUANTIZED_STEPS
        return (fixed + each * run.matrices) * steps * options["batch"] * sizes["context"] / 1000
    pairs = [(expected(run_of(result)), result["cpu_seconds"]) for result in found.values()]
    return expected(run) * (sum(b for _, b in pairs) / sum(a for a, _ in pairs) if pairs else 1)


def state(found, share=(1, 1)):
    """-> [(Block, how many of its runs are there, hours of one processor for the rest of this share)]"""
    todo = {run.name for run in open_runs(found, share)}
    return [(block, sum(run.name in found for run in block.runs),
             sum(seconds_of(run, found) for run in block.runs if run.name in todo) / 3600)
            for block in blocks(found)]


def foretell(found):
    """Write what the law says of the held-out size, once its runs are there and before that size begins."""
    path = results.home() / f"{scaling.NAME}.json"
    if not path.exists() and scaling.ready(outcomes(found)):
        began = time.monotonic()
        said = scaling.predict(outcomes(found))
        results.save(path, results.envelope(scaling.NAME, said, time.monotonic() - began,
                                            "python -m minibitnet.reproduce runs"))


def describe():
    """Write what the stories are made of, once."""
    path = results.home() / f"{TEXT}.json"
    if not path.exists():
        began = time.monotonic()
        found = facts()
        results.save(path, results.envelope(TEXT, found, time.monotonic() - began,
                                            "python -m minibitnet.reproduce runs"))


def work(share=(1, 1), budget=None, stopped=lambda: False, report=lambda progress: None,
         wrote=lambda path: None, waits=lambda n: None):
    """Make runs until none is left that can be made, the budget (hours) is spent, or stopped() says so.
    -> the runs that are left. Another process's run is passed over; where others have all n that are left it
    waits(n) and looks again."""
    describe()
    began, taken = time.monotonic(), set()
    while not stopped():
        found = done()
        foretell(found)
        todo = [run for run in open_runs(found, share) if run.name not in taken]
        left = sum(seconds_of(run, found) for run in todo)
        if taken and not todo:
            waits(len(taken))
            time.sleep(LOOK_AGAIN)
            taken.clear()
            continue
        if not todo:
            break
        run, rest = todo[0], len(todo) - 1
        if budget and time.monotonic() - began + seconds_of(run, found) > 3600 * budget:
            break
        lap = time.monotonic()

        def say(line, run=run, left=left, rest=rest, of_run=seconds_of(run, found)):
            hours = (left - of_run * line["step"] / run.steps) / 3600
            report(Progress(run, line["step"], line.get("loss", line.get("val_loss")),
                            f"{rest} runs, {hours:.1f} h in all on one processor"))
        try:
            result = carry_out(run, HOME, stopped, say)
        except Taken:
            taken.add(run.name)
            continue
        taken.clear()                            # others may be done with theirs
        if result:
            wrote(write(run, result, time.monotonic() - lap))
    return open_runs(done(), share)


def to_verify(name=None):
    """-> the plan.Run of a name, by default the one that takes least time, and how many seconds it takes."""
    found = done()
    if not found:
        raise UserError(f"{folder()} has no run: expected one to verify (python -m minibitnet.reproduce "
                        "runs)")
    if name and name not in found:
        raise UserError(f"no run is named {name!r}: expected one of {folder()}")
    runs = [run_of(found[one]) for one in ([name] if name else found)]
    run = min(runs, key=lambda run: seconds_of(run, found))
    return run, seconds_of(run, found)


def verify(name, report=lambda line: None, stopped=lambda: False):
    """Make a run that is there again -> (its result, [what differs from the file]); None for the result where
    stopped() said so."""
    old = done()[name]
    run = run_of(old)
    new = carry_out(run, HOME.with_name("verified"), stopped, lambda line: report(Progress(
        run, line["step"], line.get("loss", line.get("val_loss")), "the comparison")))
    return new, [] if new is None else list(differences(old["outcome"], as_read(new["outcome"])))


def as_read(value):
    """As it is when it was written and read."""
    return json.loads(json.dumps(value))


def differences(old, new, where=""):
    """The places where two outcomes differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{where} {key}".lstrip())
    elif old != new:
        yield f"{where}: {brief(old)} in the file, {brief(new)} here"


def brief(value):
    """Its repr, or the beginning of it."""
    text = repr(value)
    return text if len(text) < 60 else text[:50] + " .."
