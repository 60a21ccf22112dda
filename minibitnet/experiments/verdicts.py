"""What each ablation is worth: its excess less that of the unchanged run of the same seed.   [bitnet] Table 4

Seeds share first weights and batches, so differences are taken seed by seed. How far they spread is pooled
over all changes with two seeds or more; a change is *better* or *worse* where its interval leaves 0 out, and
beyond three standard errors it says so. Of a dozen comparisons at 95 % one false verdict is to be expected.
"""
from typing import NamedTuple

from . import plan
from .uncertainty import interval, mean_of, pooled

NOT_RESOLVED, BETTER, WORSE = "not resolved", "better", "worse"


class Verdict(NamedTuple):
    """What a change does to the excess of an arm."""
    arm: str
    change: str              # its name, or the training option that it sets
    share: float             # of the arm's rate
    differences: tuple       # nats a story, a seed each
    half: float | None       # of the 95 % interval of their mean
    says: str
    clear: bool              # beyond three standard errors

    @property
    def mean(self):
        return mean_of(self.differences)


def is_base(run):
    """Is it an unchanged run of the block?"""
    return (run.text, run.d, run.steps, run.train) == (
        plan.STORIES, plan.ABLATED, plan.ABLATION_STEPS, ()) and run.change in ("", "ema")


def differences(runs):
    """[(Run, excess)] of the block, the sweep's left out -> {(arm, change, share): {seed: difference}}. The
    unchanged run of an arm and seed is the one at the arm's best rate."""
    bases, found = {}, {}
    for run, excess in runs:
        if is_base(run):
            bases[run.arm, run.seed] = run.lr, excess
    for run, excess in runs:
        if is_base(run) or (base := bases.get((run.arm, run.seed))) is None:
            continue
        lr, unchanged = base
        what = run.change or ", ".join(name for name, _ in run.train)
        found.setdefault((run.arm, what, round(run.lr / lr, 2)), {})[run.seed] = excess - unchanged
    return found


def averaged(bases):
    """[(Run, outcome)] of unchanged runs -> the same, of averages of their weights beside their last ones."""
    found = {}
    for run, outcome in bases:
        for decay, excess in outcome.get("averages", {}).items():
            found.setdefault((run.arm, f"average of the weights, {decay}", 1.0), {})[run.seed] = (
                excess - outcome["excess"]["mean"])
    return found


def judged(found):
    """{(arm, change, share): {seed: difference}} -> Verdicts, from the best to the worst."""
    sd, freedom = pooled([list(by_seed.values()) for by_seed in found.values()])
    verdicts = []
    for (arm, change, share), by_seed in found.items():
        each = tuple(by_seed[seed] for seed in sorted(by_seed))
        mean, half = interval(each, sd, freedom)
        resolved = half is not None and abs(mean) > half
        says = (BETTER if mean < 0 else WORSE) if resolved else NOT_RESOLVED
        clear = sd is not None and abs(mean) > 3 * sd / len(each)**0.5
        verdicts.append(Verdict(arm, change, share, each, half, says, clear))
    return sorted(verdicts, key=lambda v: v.mean)
