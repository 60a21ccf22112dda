"""What the parts are worth: the sections of data/results/trained.md about large rates, ablations, questions
and weights.

Every section is a function of {name: result of a run}; it is empty while its runs are not there.
"""
from statistics import median

from ..measure import plotting
from ..stories import tasks
from . import end_tasks, plan, runner, stability, training_run, verdicts
from .ablations import CHANGES, OPTIONS
from .markdown import record, table
from .trained_sizes import NAMES, gaps
from .uncertainty import mean_of


# ---- large learning rates

def survivors(found):
    """{(guard, arm): {rate: outcome of a run}} of what is there."""
    by_arm = {(guard, arm): {run.lr: found[run.name]["outcome"] for run in plan.stability(guard)
                             if run.arm == arm and run.name in found}
              for guard in plan.GUARDS for arm in plan.ARMS}
    return {key: runs for key, runs in by_arm.items() if runs}


def survival(found):
    """The lines about large rates."""
    by_arm = survivors(found)
    if not by_arm:
        return
    trigram = record(runner.TEXT)["result"]["trigram"]
    yield "## Who survives which learning rate (b1, Fig. 5)"
    yield ""
    yield "![training loss at the end over the learning rate](trained-rates.png)"
    yield ""
    yield (f"Width {plan.ABLATED}, {plan.UNSTABLE_STEPS} steps, one seed, with the two usual guards "
           "(gradients clipped to norm 1, warm-up) or without. The training loss of the last tenth, nats a "
           f"token (trigram counts: {trigram:.2f}), and what the criterion of experiments/stability.py, "
           "which was fixed before the runs, makes of it: *trains*, *hurt* (excess above "
           f"{stability.HURT} times the arm's best; at a low rate that is only slow), *diverged*, "
           "*non-finite*. Edge: between the last rate that trains and the next; beside it the edge over the "
           "arm's own best rate here, for an arm that is at its best at higher rates is no more stable by "
           "that.")
    yield ""
    every, lines = sorted({lr for runs in by_arm.values() for lr in runs}), []
    for (guard, arm), runs in by_arm.items():
        kinds = stability.outcomes(runs, trigram)
        cells = (f"{stability.end(runs[lr]['series']['loss']):.2f} {kinds[lr]}" if lr in runs else ""
                 for lr in every)
        lines.append((guard, NAMES[arm], *cells, edge_in_words(runs, kinds)))
    yield from table(("guards", "", *(f"{lr:g}" for lr in every), "edge, over its best"), lines)
    yield ""


def edge_in_words(runs, kinds):
    """Where an arm stops training, and how far that is above its best rate."""
    finished = [rate for rate in runs if "excess" in runs[rate]]
    best = min(finished, key=lambda rate: runs[rate]["excess"]["mean"], default=None)
    edge = stability.edge(kinds)
    if best is None or isinstance(edge, tuple) and edge[0] is None:
        return "below all"
    if isinstance(edge, tuple):
        return f"above {edge[0]:g}, {edge[0] / best:.1f}"
    return f"{edge:.2g}, {edge / best:.1f}"


def draw_rates(path):
    """The training loss at the end over the rate, with guards and without."""
    by_arm = survivors(runner.done())
    panels = [(f"learning rate, guards: {guard}", "training loss at the end (nats a token)",
               {NAMES[arm]: {lr: stability.end(o["series"]["loss"]) for lr, o in runs.items()}
                for (having, arm), runs in by_arm.items() if having == guard})
              for guard in ("both", "neither")]
    panels = [panel for panel in panels if panel[-1]]
    return bool(panels) and plotting.panels(panels, path)


# ---- ablations

def judged(found):
    """The Verdicts of the ablations that are there."""
    runs = [(runner.run_of(result), result["outcome"]) for result in found.values()]
    of_block = [(run, outcome) for run, outcome in runs if (run.text, run.d, run.steps) == (
        plan.STORIES, plan.ABLATED, plan.ABLATION_STEPS) and "excess" in outcome]
    differences = verdicts.differences([(run, outcome["excess"]["mean"]) for run, outcome in of_block])
    bases = [(run, outcome) for run, outcome in of_block if verdicts.is_base(run)]
    return verdicts.judged(differences | verdicts.averaged(bases))


def ablations(found):
    """The lines about what each change is worth."""
    lines = judged(found)
    if not lines:
        return
    yield "## What each part is worth (b1, Table 4)"
    yield ""
    yield "![difference of each change](trained-ablations.png)"
    yield ""
    apart = gaps(found).get(plan.ABLATED)
    yardstick = (f" As a yardstick: ternary is {mean_of(apart):+.1f} nats from float at this width on the "
                 "ladder." if apart else "")
    yield (f"One change at a time, width {plan.ABLATED}, {plan.ABLATION_STEPS:,} steps: the excess less that "
           "of the unchanged run of the same seed, from the best to the worst. Below 0 the change helps. How "
           "far seeds differ is pooled over all changes; *better* and *worse* are beyond the 95 % interval, "
           f"**bold** beyond three standard errors. Of {len(lines)} comparisons one in twenty is a false one "
           f"by chance.{yardstick} So short a run of so small a model remembers little of a story: nothing "
           "here is about memory.")
    yield ""
    yield from table(("arm", "change", "nats a story (95 %)", "seeds", ""), (
        (NAMES[v.arm], changed(v), f"{v.mean:+.1f}" + (f" ± {v.half:.1f}" if v.half is not None else ""),
         len(v.differences), f"**{v.says}**" if v.clear else v.says) for v in lines))
    yield ""


def changed(v):
    """What a Verdict is about."""
    what = CHANGES[v.change].words if v.change in CHANGES else OPTIONS.get(v.change, v.change)
    return what + (f", at {v.share:g} of the rate" if v.share != 1 else "")


def draw_ablations(path):
    """Each change's difference as a point with its interval."""
    lines = judged(runner.done())
    return bool(lines) and plotting.differences(
        [(f"{NAMES[v.arm]}: {changed(v)}", v.mean, v.half or 0.0) for v in lines],
        "nats a story, against the unchanged run of the seed", path)


# ---- questions

def answered(found):
    """{(width, arm): {kind: end_tasks.Share}} of the ladder's runs."""
    done, shares = runner.outcomes(found), {}
    for arm in NAMES:
        for d, runs in plan.trained(done, arm).items():
            given = [done[run.name]["answers"] for run in runs if "answers" in done[run.name]]
            if given:
                shares[d, arm] = {kind: end_tasks.share([answers[kind] for answers in given])
                                  for kind in tasks.KINDS}
    return shares


def questions(found):
    """The lines about questions that the stories decide."""
    done, shares = runner.outcomes(found), answered(found)
    if not shares:
        return
    yield "## Questions (b1, Fig. 4; b1.58, Table 2)"
    yield ""
    yield "![share of right answers over the energy](trained-questions.png)"
    yield ""
    guesses = {kind: tasks.guess(training_run.items(kind, training_run.FIRST_TASK_SEED))
               for kind in tasks.KINDS}
    yield (f"Percent right of {training_run.ITEMS} questions of each kind and seed, four choices each, "
           "zero-shot, ± one standard error of items and seeds; *guess*: who remembers only which words were "
           "named. *mean*: all kinds alike. Solved stories before a question can teach nothing, for stories "
           "are independent of each other: few-shot is for b1-fig-4's miniature.")
    yield ""
    lines = [("guess", "", *(f"{100 * share:.0f}" for share in guesses.values()),
              f"{100 * mean_of(list(guesses.values())):.0f}")]
    for (d, arm), of_kind in sorted(shares.items()):
        mean, error = end_tasks.mean_share(list(of_kind.values()))
        lines.append((d, NAMES[arm], *(f"{100 * s.right:.0f} ± {100 * s.standard_error:.0f}"
                                       for s in of_kind.values()), f"{100 * mean:.1f} ± {100 * error:.1f}"))
    yield from table(("width", "", *tasks.KINDS, "mean"), lines)
    yield ""
    lines = []
    for d in sorted({d for d, _ in shares}):
        pairs = [(done[run.name]["answers"], done[other.name]["answers"])
                 for run in plan.trained(done, "ternary", (d,)).get(d, ())
                 if plan.finished(done, other := plan.ladder(done, "float", d, run.seed))]
        if pairs:
            ours, theirs = ([answers[kind] for answers in some for kind in tasks.KINDS]
                            for some in zip(*pairs))
            difference, error = end_tasks.paired(ours, theirs)
            lines.append((d, f"{100 * difference:+.1f} ± {100 * error:.1f}"))
    if lines:
        yield "Ternary less float, question by question (McNemar), percentage points ± one standard error:"
        yield ""
        yield from table(("width", "difference"), lines)
        yield ""


def draw_questions(path):
    """The mean share of right answers over energy."""
    found, series = runner.done(), {}
    done = runner.outcomes(found)
    for (d, arm), of_kind in answered(found).items():
        mean, error = end_tasks.mean_share(list(of_kind.values()))
        cost = round(found[plan.trained(done, arm, (d,))[d][0].name]["counts"]["microjoules"])
        series.setdefault(NAMES[arm], {})[cost] = tuple(100 * x for x in (mean, mean - error, mean + error))
    return bool(series) and plotting.points(series, "µJ for 512 tokens, 7 nm", "right (%)", path)


# ---- weights

def weights(found):
    """The lines about codes: zeros and flips, by layer and over time."""
    done = runner.outcomes(found)
    largest = [runs[0] for runs in plan.trained(done, "ternary").values()][-1:]
    largest += [run for run in plan.sweep({}, "ternary", 64)[1:2] if not largest and run.name in done]
    for run in largest:
        o = done[run.name]
        yield "## Weights (b1.58 §1: what a zero does)"
        yield ""
        yield "![zeros and flips over the steps](trained-weights.png)"
        yield ""
        zeros, flips = o["matrices"]["zeros"], o["matrices"]["flips"]
        steps = o["matrices"]["step"]
        yield (f"`{run.name}`: the share of its codes that are 0 goes from "
               f"{o['series']['zeros'][0]:.1%} to {o['series']['zeros'][-1]:.1%}; a step changes "
               f"{max(o['series']['flips']):.2%} of all codes where it changes most and "
               f"{o['series']['flips'][-1]:.4%} at the end. By kind of matrix, at the end (zeros of normally "
               "distributed weights: 31.0%; of evenly spread ones: 25%):")
        yield ""
        kinds = {}
        for name in zeros:
            kinds.setdefault(name.split(".")[-2], []).append(name)
        half = steps.index(min(steps, key=lambda step: abs(step - steps[-1] / 2)))
        yield from table(("matrix", "zeros, layer by layer", "flips half-way",
                          "median magnitude over the mean one"), (
            (kind, ", ".join(f"{zeros[name][-1]:.1%}" for name in names),
             f"{mean_of([flips[name][half] for name in names]):.3%}",
             f"{median(o['weights']['quantiles'][name][MEDIAN] for name in names):.2f}")
            for kind, names in kinds.items()))
        yield ""


MEDIAN = training_run.QUANTILES.index(0.5)


def draw_weights(path):
    """Zeros and flips over the steps, of the arms of the middle width that are there."""
    done, zeros, flips = runner.outcomes(runner.done()), {}, {}
    for run in (plan.sweep({}, arm, 64)[1] for arm in ("ternary", "binary")):
        if run.name in done:
            series = done[run.name]["series"]
            flips[NAMES[run.arm]] = dict(zip(series["step"], (100 * f for f in series["flips"])))
            if run.arm == "ternary":
                zeros[NAMES[run.arm]] = dict(zip(series["step"], (100 * z for z in series["zeros"])))
    return bool(zeros) and plotting.curves(
        [("codes that are 0 (%)", zeros), ("codes that a step changes (%)", flips)], "step", path)
