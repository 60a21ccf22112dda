"""data/results/trained.md: what the plan's runs found, as far as they are there."""
from ..measure import plotting
from . import plan, runner, stability
from .markdown import page, record, table
from .uncertainty import interval, mean_of, pooled

NAMES = {"ternary": "ternary", "float": "float", "binary": "binary", plan.CONTROL: "float with sub-norms"}


def trained():
    """The page."""
    found = runner.done()
    text = (f"{len(found)} models of the plan (minibitnet/experiments/plan.py) are trained; `python -m "
            "minibitnet.reproduce runs` goes on with it. Each is a file of [runs](runs), with the sha256 of "
            "its parameters: `python -m minibitnet.reproduce verify NAME` trains it again and compares, to "
            "the last digit. On stories a number is the *excess*: nats a story above that story's own "
            f"entropy, the mean over {validation_stories(found)} that no model has read. Less is better, 0 "
            "is perfect.")
    return page("# What the papers' trained rows need", text,
                ["![excess over the learning rate, by width](trained.png)", ""] if found else [],
                rates(found), sizes(found), survival(found), left(found))


def validation_stories(found):
    """How many stories every run is scored on."""
    return next((f"{r['outcome']['excess']['n']:,} stories" for r in found.values()
                 if "excess" in r["outcome"]), "stories")


def by_rate(found, arm, d):
    """{rate: excess} of the runs of a sweep that are there."""
    outcomes = runner.outcomes(found)
    return {run.lr: plan.excess(outcomes, run) for run in plan.sweep(outcomes, arm, d)
            if run.name in outcomes}


def rates(found):
    """The lines about learning rates."""
    outcomes = runner.outcomes(found)
    yield "## Each arm at its own learning rate"
    yield ""
    yield ("One seed. A sweep goes on outward while its best rate is at an end of it; *best* is where a "
           "parabola through the best three, in logarithms, is lowest. Every later run has the best rate of "
           "its own arm, so no arm is compared at another's.")
    yield ""
    for d in plan.RATES:
        columns = {arm: by_rate(found, arm, d) for arm in plan.RATES[d]}
        every = sorted({lr for values in columns.values() for lr in values})
        if not every:
            continue
        yield f"Width {d}, {plan.SWEEP_STEPS[d]:,} steps:"
        yield ""
        lines = []
        for arm, values in columns.items():
            best = plan.optimum(outcomes, plan.sweep(outcomes, arm, d))
            lines.append((NAMES[arm], *(f"{values[lr]:.1f}" if lr in values else "" for lr in every),
                          f"{best:g}" if best else "not yet"))
        yield from table(("", *(f"{lr:g}" for lr in every), "best"), lines)
        yield ""


def sizes(found):
    """The lines about loss by size; none before a run of the ladder is there."""
    cells = {arm: plan.by_width(runner.outcomes(found), arm) for arm in NAMES}
    widths = sorted({d for by_width in cells.values() for d in by_width})
    if not widths:
        return
    sd, freedom = pooled([cell for by_width in cells.values() for cell in by_width.values()])
    yield "## By size"
    yield ""
    yield ("Means over seeds"
           + (f", ± 95 %, of seeds that differ by {sd:.1f} within a model" if sd else
              ", of which there is one")
           + ". N: the numbers in the matrices, the same in every arm.")
    yield ""
    lines = []
    for d in widths:
        lines.append((d, f"{plan.matrices(d):,}",
                      *(cell_in_words(cells[arm].get(d), sd, freedom) for arm in NAMES)))
    yield from table(("width", "N", *NAMES.values()), lines)
    yield ""


def cell_in_words(numbers, sd, freedom):
    """A mean, and how far it may be off."""
    if not numbers:
        return ""
    if sd is None:
        return f"{mean_of(numbers):.1f}"
    mean, half = interval(numbers, sd, freedom)
    return f"{mean:.1f} ± {half:.1f}"


def survival(found):
    """The lines about large rates; none before a run at one is there."""
    by_arm = {}
    for guard, train in plan.GUARDS.items():
        for arm in plan.ARMS:
            runs = {run.lr: found[run.name]["outcome"] for run in plan.stability(guard)
                    if (run.arm, run.train) == (arm, train) and run.name in found}
            if runs:
                by_arm[guard, arm] = runs
    if not by_arm:
        return
    trigram = record(runner.TEXT)["result"]["trigram"]
    yield "## Who survives which learning rate"
    yield ""
    yield (f"Width {plan.ABLATED}, {plan.UNSTABLE_STEPS} steps, one seed, with the two usual guards "
           "(gradients clipped to norm 1, warm-up) or without. The training loss of the last tenth, nats a "
           f"token (trigram counts: {trigram:.2f}), and what the criterion of experiments/stability.py, "
           "which was fixed before the runs, makes of it: *trains*, *hurt* (excess above "
           f"{stability.HURT} times the arm's best; at a low rate that is only slow), *diverged*, "
           "*non-finite*.")
    yield ""
    every = sorted({lr for runs in by_arm.values() for lr in runs})
    lines = []
    for (guard, arm), runs in by_arm.items():
        kinds = stability.outcomes(runs, trigram)
        lines.append((guard, NAMES[arm], *(f"{stability.end(runs[lr]['series']['loss']):.2f} {kinds[lr]}"
                                           if lr in runs else "" for lr in every)))
    yield from table(("guards", "", *(f"{lr:g}" for lr in every)), lines)
    yield ""


def left(found):
    """The lines about what is not trained yet."""
    yield "## What is left"
    yield ""
    lines = []
    for block in runner.blocks(found):
        there = sum(run.name in found for run in block.runs)
        open_runs = [run for run in block.runs if run.name not in found]
        hours = sum(runner.seconds_of(run, found) for run in open_runs) / 3600
        waits = f"waits for {block.waits}" if block.waits else f"{hours:.1f} hours of one processor"
        if open_runs or block.waits:
            lines.append((block.name, block.question, f"{there} of {len(block.runs)}", waits))
    if not lines:
        yield "Nothing."
        return
    yield ("Hours are those of the machine that trained the runs above. What waits is planned, but its "
           "learning rates are not known yet.")
    yield ""
    yield from table(("block", "asks", "runs there", "left"), lines)
    yield ""


def draw(path):
    """Excess over the learning rate."""
    found = runner.done()
    series = {f"{NAMES[arm]}, {d}": dict(sorted(values.items())) for d in plan.RATES for arm in plan.RATES[d]
              if len(values := by_rate(found, arm, d)) > 1}
    return bool(series) and plotting.points(series, "learning rate", "excess (nats a story)", path)
