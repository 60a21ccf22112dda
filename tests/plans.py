"""A plan whose runs are there: results that were made up, for tests of what is made of results."""
import math

from minibitnet.experiments.plan import ARMS, CHARACTERS, CONTROL, QUANTIZED, RATES, blocks, sweep
from minibitnet.experiments.quantized_run import OURS, TABLE
from minibitnet.stories import tasks


def outcome(excess, crosses=2000):
    return {"excess": excess and {"mean": excess}, "series": {"step": [1000, crosses], "loss": [0.9, 0.3]}}


def finished(valley=lambda arm, d: 0.012 if d == 64 else 0.003, crosses=2000):
    """{name: outcome} of every run that is asked for: the excess is least at the valley's rate."""
    done = {}
    while True:
        open_runs = [run for block in blocks(done) for run in block.runs if run.name not in done]
        if not open_runs:
            return done
        for run in open_runs:
            miss = math.log(run.lr / valley(run.arm, run.d))
            done[run.name] = outcome(20 * math.exp(miss**2), crosses)


def results(law=lambda run: 4e4 * run.matrices**-0.6 * (1.5 if run.arm == "ternary" else 1)):
    """{name: result} of the whole plan, whose ladder's runs obey a law."""
    done, found = finished(), {}
    runs = {run.name: run for block in blocks(done) for run in block.runs}
    sweeps = {run.name for arm in ARMS for d in RATES for run in sweep(done, arm, d)}
    for name, run in runs.items():
        on_ladder = run.steps >= 4500 and run.arm != CONTROL and name not in sweeps
        mean = law(run) if on_ladder else done[name]["excess"]["mean"]
        o = {"excess": {"mean": mean, "n": 1963}, "bits_per_byte": 2.0, "series": series(run),
             "weights": {"quantiles": {}}}
        if run.arm in ("ternary", "binary"):
            names = [f"layers.{i}.self_attn.q_proj.weight" for i in range(4)]
            o["matrices"] = {"step": [1, 2000, 4500], "zeros": dict.fromkeys(names, [0.3, 0.33, 0.36]),
                             "flips": dict.fromkeys(names, [0.01, 0.002, 0.0])}
            o["weights"]["quantiles"] = dict.fromkeys(names, [0.1, 0.1, 0.1, 0.2, 0.85, 1.4, 2.0, 3.0, 4.0])
        if run.questions:
            o["answers"] = dict.fromkeys(tasks.KINDS, "f0" * 50 if run.arm == "ternary" else "ff00" * 25)
        if run.change == QUANTIZED:
            o = {"model_sha256": "0" * 64, "ways": {what: {
                "sha256": "1" * 64, "excess": {"mean": mean + 2 * (8 / bits)**2}, "right": dict.fromkeys(
                    tasks.KINDS, 0.5)} for what, (_, bits, _) in (TABLE | OURS).items()}}
        if run.change == "ema":
            o["averages"] = {"0.99": mean + 2, "0.999": mean - 2}
        if run.text == CHARACTERS:
            del o["excess"]
        size = run.matrices * (2 if run.arm in ("ternary", "binary") else 16) // 8 + 2000 * run.d
        found[name] = {"config": run._asdict(), "cpu_seconds": 600.0, "outcome": o,
                       "counts": {"matrices": run.matrices, "bytes": size, "microjoules": size / 1000}}
    return found


def series(run):
    """A loss that falls, faster at a higher rate."""
    steps = list(range(10, run.steps + 1, 10))
    falling = [0.2 + 4 * math.exp(-step * run.lr) for step in steps]
    found = {"step": steps, "loss": falling}
    if run.arm in ("ternary", "binary"):
        found |= {"zeros": [0.33] * len(steps), "flips": [1 / step for step in steps]}
    return found
