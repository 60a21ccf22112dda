"""data/results/trained.md: what the plan's runs found, as far as they are there."""
from ..measure import plotting
from . import plan, runner
from .markdown import page, table
from .trained_parts import (ablations, changed, draw_ablations, draw_questions, draw_rates, draw_weights,
                            judged, questions, survival, weights)
from .trained_quantized import draw_quantized, quantized
from .trained_sizes import (NAMES, at_equal, draw_sizes, gaps, in_brackets, law, ratios, real_text, sizes,
                            slope)
from .uncertainty import interval, pooled, words


def trained():
    """The page."""
    found = runner.done()
    text = (f"{len(found)} models of the plan (minibitnet/experiments/plan.py) are trained; `python -m "
            "minibitnet.reproduce runs` goes on with it. Each is a file of [runs](runs), with the sha256 of "
            "its parameters: `python -m minibitnet.reproduce verify NAME` trains it again and compares, to "
            "the last digit. On stories a number is the *excess*: nats a story above that story's own "
            f"entropy, the mean over {validation_stories(found)} that no model has read. Less is better, 0 "
            "is perfect.")
    return page("# What the papers' trained rows need", text, in_short(found), sizes(found), law(found),
                rates(found), survival(found), quantized(found), ablations(found), questions(found),
                weights(found), real_text(found), left(found))


def validation_stories(found):
    """How many stories every run is scored on."""
    return next((f"{r['outcome']['excess']['n']:,} stories" for r in found.values()
                 if "excess" in r["outcome"]), "stories")


# ---- in short

def in_short(found):
    """The answers to what is asked most, as far as there are any."""
    answers = [answer for ask in (cost_of_ternary, does_it_shrink, same_bytes, matters_most)
               for answer in ask(found)]
    if answers:
        yield "## In short"
        yield ""
        yield from (f"- {answer}" for answer in answers)
        yield ""


def cost_of_ternary(found):
    """At a million parameters."""
    d, apart = 128, gaps(found)
    if d not in apart:
        return
    spread = pooled(list(apart.values()))
    full = plan.by_width(runner.outcomes(found), "float")[d]
    yield (f"**What does ternary cost at 1M parameters?** {words(*interval(apart[d], *spread))} nats a story "
           f"(width {d}), beside {words(*interval(full, None, 0))} that full precision itself has above the "
           "floor. Scale: one text, one recipe, models of 1M; the papers' are 700 times as large.")


def does_it_shrink(found):
    """The gap over N."""
    steepness, between = slope(ratios(found))
    if steepness is not None:
        resolved = between and (between[0] > 0 or between[1] < 0)
        says = ("it shrinks" if steepness < 0 else "it grows") if resolved else "not resolved"
        yield (f"**Does it shrink with size?** {says[0].upper()}{says[1:]}: the logarithm of the two "
               f"excesses' ratio changes by {steepness:+.2f}{in_brackets(between)} for every e-fold of N.")


def same_bytes(found):
    """Which arm the same bytes should buy."""
    points = at_equal(found, "bytes")
    if points:
        better = sum(p["ratio"] < 1 for p in points)
        largest = points[-1]
        yield (f"**What would you buy with the same bytes of weights?** Ternary is better at {better} of the "
               f"{len(points)} sizes that can be compared; at {largest['cost']:,.0f} bytes its excess is "
               f"{largest['ratio']:.2f}{in_brackets(largest['interval'])} times float's.")


def matters_most(found):
    """The ablation that does most harm, and the one that helps."""
    lines = [v for v in judged(found) if v.clear]
    if lines and lines[-1].mean > 0:
        worst, best = lines[-1], lines[0]
        helps = (f"; what helps most: {in_words(best)}" if best.mean < 0 else "; nothing helps clearly")
        yield f"**Which part matters most?** {in_words(worst)}{helps}."


def in_words(v):
    """A Verdict in words."""
    return f"{changed(v)} ({NAMES[v.arm]}: {words(v.mean, v.half)} nats)"


# ---- learning rates

def by_rate(found, arm, d):
    """{rate: excess} of the runs of a sweep that are there."""
    done = runner.outcomes(found)
    return {run.lr: plan.excess(done, run) for run in plan.sweep(done, arm, d) if run.name in done}


def rates(found):
    """The lines about learning rates."""
    done = runner.outcomes(found)
    yield "## Each arm at its own learning rate"
    yield ""
    if found:
        yield "![excess over the learning rate, by width](trained.png)"
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
            best = plan.optimum(done, plan.sweep(done, arm, d))
            lines.append((NAMES[arm], *(f"{values[lr]:.1f}" if lr in values else "" for lr in every),
                          f"{best:g}" if best else "not yet"))
        yield from table(("", *(f"{lr:g}" for lr in every), "best"), lines)
        yield ""


def draw_sweeps(path):
    """Excess over the learning rate."""
    found = runner.done()
    series = {f"{NAMES[arm]}, {d}": dict(sorted(values.items())) for d in plan.RATES for arm in plan.RATES[d]
              if len(values := by_rate(found, arm, d)) > 1}
    return bool(series) and plotting.points(series, "learning rate", "excess (nats a story)", path)


PICTURES = {"trained.png": draw_sweeps, "trained-sizes.png": draw_sizes, "trained-rates.png": draw_rates,
            "trained-ablations.png": draw_ablations, "trained-questions.png": draw_questions,
            "trained-weights.png": draw_weights, "trained-quantized.png": draw_quantized}


# ---- what is left

def left(found):
    """The lines about what is not trained yet."""
    yield "## What is left"
    yield ""
    lines = []
    for block, there, hours in runner.state(found):
        waits = f"waits for {block.waits}" if block.waits else f"{hours:.1f} hours of one processor"
        if hours or block.waits:
            lines.append((block.name, block.question, f"{there} of {len(block.runs)}", waits))
    if not lines:
        yield "Nothing."
        return
    yield ("Full form not run: `python -m minibitnet.reproduce runs` trains them, in this order. Hours are "
           "those of the machine that trained the runs above. What waits is planned, but its learning rates "
           "are not known yet.")
    yield ""
    yield from table(("block", "asks", "runs there", "left"), lines)
    yield ""
