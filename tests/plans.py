"""A plan whose runs are there: outcomes that were made up, for tests of what is made of outcomes."""
import math

from minibitnet.experiments.plan import blocks


def outcome(excess, crosses=2000):
    return {"excess": excess and {"mean": excess}, "series": {"step": [1000, crosses], "loss": [0.9, 0.3]}}


def finished(valley=lambda arm, d: 0.012 if d == 64 else 0.003, crosses=2000):
    """Results for every run that is asked for: the excess is least at the valley's rate."""
    done = {}
    while True:
        open_runs = [run for block in blocks(done) for run in block.runs if run.name not in done]
        if not open_runs:
            return done
        for run in open_runs:
            miss = math.log(run.lr / valley(run.arm, run.d))
            done[run.name] = outcome(20 * math.exp(miss**2), crosses)
