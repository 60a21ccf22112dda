"""What size buys: the sections of data/results/trained.md that the ladder's runs fill.

Every section is a function of {name: result of a run}; it is empty while its runs are not there.
"""
import math

from ..measure import plotting, results
from . import paper, plan, runner, scaling
from .equal_cost import compared
from .markdown import table
from .uncertainty import interval, mean_of, normal_draws, pooled, quantiles, spread, words

NAMES = {"ternary": "ternary", "float": "float", "binary": "binary", plan.CONTROL: "float with sub-norms"}
DROP_IN_WORDS, EXCESS = "30 nats", "excess (nats a story)"


def ladder(found):
    """{arm: {width: [excess of each seed]}} of the arms that have some."""
    cells = {arm: plan.by_width(runner.outcomes(found), arm) for arm in NAMES}
    return {arm: by_width for arm, by_width in cells.items() if by_width}


def gaps(found, arm="ternary", base="float"):
    """{width: [excess of an arm less that of another, seed by seed]}"""
    done = runner.outcomes(found)
    both = {}
    for d, runs in plan.trained(done, arm).items():
        pairs = [(run, other) for run in runs
                 if (other := plan.ladder(done, base, d, run.seed)) and plan.finished(done, other)]
        if pairs:
            both[d] = [plan.excess(done, run) - plan.excess(done, other) for run, other in pairs]
    return both


def sizes(found):
    """The lines about loss by size."""
    cells = ladder(found)
    if not cells:
        return
    arms = list(cells)
    apart = {base: by_width for base in ("float", plan.CONTROL) if (by_width := gaps(found, base=base))}
    of_runs, of_gaps = (pooled([cell for by_width in many.values() for cell in by_width.values()])
                        for many in (cells, apart))
    yield "## By size"
    yield ""
    yield ("![excess over size and over bytes, and the paper's perplexities](trained-sizes.png)")
    yield ""
    yield (f"Every model has read {steps_in_words(found)}, at its own arm's learning rate. N: the numbers in "
           "the matrices, the same in every arm. Means over seeds"
           + (f", ± 95 %, of a spread that is pooled over all cells ({of_runs[0]:.1f} nats within a model)"
              if of_runs[0] else ", of which there is one")
           + ". The gap is taken seed by seed, for both arms of a seed read the same stories.")
    yield ""
    lines = []
    for d in sorted({d for by_width in cells.values() for d in by_width}):
        each = (words(*interval(cells[arm][d], *of_runs)) if d in cells[arm] else "" for arm in arms)
        gap = (words(*interval(by_width[d], *of_gaps)) if d in by_width else ""
               for by_width in apart.values())
        lines.append((d, f"{plan.matrices(d):,}", *each, *gap))
    yield from table(("width", "N", *(NAMES[arm] for arm in arms),
                      *(f"ternary - {NAMES[base]}" for base in apart)), lines)
    yield ""
    if plan.CONTROL in apart:
        yield (f"*{NAMES[plan.CONTROL]}*: full precision with the two norms that BitNet adds. What is left "
               "of the gap beside it is the bits'.")
        yield ""
    yield from twice_as_wide(cells)
    yield from shrinking(found)
    yield from drops(found, arms)
    yield from equal(found)


def twice_as_wide(cells):
    """Ternary beside float of half its width, in a sentence."""
    ternary, full = (cells.get(arm, {}) for arm in plan.PAIR)
    pairs = [f"{mean_of(ternary[2 * d]):.1f} beside {mean_of(full[d]):.1f} (widths {2 * d} and {d})"
             for d in full if 2 * d in ternary]
    if pairs:
        yield (f"Ternary of twice the width beside float: {', '.join(pairs)}. It then has four times the "
               "numbers in half the bits.")
        yield ""


def steps_in_words(found):
    """How long the ladder's runs are."""
    steps = plan.length(runner.outcomes(found))
    rows = plan.RECIPES[plan.STORIES][1]["batch"]
    return f"{steps * rows:,} stories once each ({steps:,} steps)"


def ratios(found):
    """{N: [ln(excess of ternary / of float) of each seed]}"""
    done = runner.outcomes(found)
    return {plan.matrices(d): [math.log(plan.excess(done, run) / plan.excess(done, other)) for run in runs
                               if plan.finished(done, other := plan.ladder(done, "float", d, run.seed))]
            for d, runs in plan.trained(done, "ternary").items()}


def slope(cells, seed=0):
    """{N: [numbers of each seed]} -> (slope over ln N by least squares, its 95 % interval by draws of what
    seeds differ, or None)"""
    cells = {n: cell for n, cell in cells.items() if cell}
    if len(cells) < 3:
        return None, None
    x, means = [math.log(n) for n in cells], [mean_of(cell) for cell in cells.values()]
    sd, _ = pooled(list(cells.values()))

    def fitted(y):
        centre, middle = mean_of(x), mean_of(y)
        return math.fsum((a - centre) * (b - middle) for a, b in zip(x, y)) / math.fsum(
            (a - centre)**2 for a in x)
    if sd is None:
        return fitted(means), None
    drawn = [fitted([m + sd * z / math.sqrt(len(cell)) for m, z, cell in zip(means, row, cells.values())])
             for row in normal_draws(seed, len(cells))]
    return fitted(means), quantiles(drawn, 0.95)


def shrinking(found):
    """Whether the gap shrinks with N, in a paragraph."""
    steepness, between = slope(ratios(found))
    if steepness is None:
        return
    if between is None:
        says = "with one seed a size nobody can say whether that is more than chance"
    elif between[0] > 0:
        says = "**ternary falls behind as models grow**"
    elif between[1] < 0:
        says = "**the gap shrinks**"
    else:
        says = "**whether the gap shrinks or grows is not resolved**"
    yield (f"Does it shrink? The logarithm of ternary's excess over float's changes by {steepness:+.2f} for "
           f"every e-fold of N" + (f" (95 %: {between[0]:+.2f} to {between[1]:+.2f})" if between else "")
           + f": {says}. The paper (b1.58, Table 1) has perplexities of 700M to 3B, where the two meet.")
    yield ""


def drops(found, arms):
    """The lines about when a model begins to remember."""
    done, lines = runner.outcomes(found), []
    trained = {arm: plan.trained(done, arm) for arm in arms}
    for d in sorted({d for by_width in trained.values() for d in by_width}):
        cells = [", ".join(f"{step:,}" if (step := plan.drop(done[run.name])) else "not reached"
                           for run in trained[arm].get(d, ())) for arm in arms]
        lines.append((d, *cells))
    yield (f"Below {DROP_IN_WORDS} a story ({plan.DROP} nats a token of training loss) a model remembers who "
           "and whose. The step at which each seed comes there; where it is near the end, the table above "
           "ranks who came first, not who can hold more:")
    yield ""
    yield from table(("width", *(NAMES[arm] for arm in arms)), lines)
    yield ""


# ---- at equal cost

def by_cost(found, arm, cost):
    """{cost: [excess of each seed]} of an arm; cost: "bytes" or "microjoules"."""
    done = runner.outcomes(found)
    return {found[runs[0].name]["counts"][cost]: [plan.excess(done, run) for run in runs]
            for runs in plan.trained(done, arm).values()}


def at_equal(found, cost):
    """[compared(ternary, float)] at the cost of each ternary size that lies between float's."""
    ours, theirs = (by_cost(found, arm, cost) for arm in plan.PAIR)
    return [compared(ours, theirs, c) for c in ours if theirs and min(theirs) <= c <= max(theirs)]


def equal(found):
    """The lines about the same bytes, and the same joules."""
    for cost, title, unit in (("bytes", "At equal bytes of weights", "bytes"),
                              ("microjoules", "At equal energy (512 tokens, 7 nm, b1's formula)", "µJ")):
        points = at_equal(found, cost)
        if not points:
            continue
        yield f"### {title}"
        yield ""
        lines = []
        for p in points:
            ratio = f"{p['ratio']:.2f}" + in_brackets(p["interval"])
            times = (f"{p['times']:.1f}" + in_brackets(p["times_interval"], 1) if p["times"]
                     else "beyond the sizes")
            lines.append((f"{p['cost']:,.0f}", f"{p['ours']:.1f}", f"{p['theirs']:.1f}", ratio, times))
        yield from table((unit, "ternary", "float", "ratio (95 %)", f"{unit} float needs, in times (95 %)"),
                         lines)
        yield ""
    if at_equal(found, "bytes"):
        yield ("Each ternary size beside full precision of the same cost, interpolated between its sizes. A "
               "ratio below 1 says that ternary is the better buy. Ternary matrices are counted at 2 bits a "
               "weight, as they are stored; all else, and all of float, at 16. At these widths attention, "
               "which both arms do in FP16, is most of the energy.")
        yield ""


def in_brackets(between, digits=2):
    """An interval, or nothing where there is none."""
    return f" ({between[0]:.{digits}f} to {between[1]:.{digits}f})" if between else ""


# ---- the law

def law(found):
    """The lines about eq. 19: what was foretold of the held-out size, and what came."""
    record = results.load(scaling.NAME)
    if record is None:
        return
    measured = {arm: plan.by_width(runner.outcomes(found), arm, (plan.HELD_OUT,)).get(plan.HELD_OUT)
                for arm in plan.PAIR}
    yield "## A law of size (b1, eq. 19)"
    yield ""
    yield (f"Fitted to widths {plan.SIZES[0]} to {plan.SIZES[-1]}, and written down on {record['date']}, "
           f"before a run of width {plan.HELD_OUT} began ([{scaling.NAME}.json]({scaling.NAME}.json)). E is "
           "the excess over the entropy, so the law's c is known: 0 for an unlimited model *that has read "
           "unlimited text*. c' is what the fit itself would have it be.")
    yield ""
    lines = []
    for arm in plan.PAIR:
        said = record["result"]["arms"][arm]["held out"]
        rows = {"E = a N^b": said["M1"], "E = a N^b + c'": said["M2"],
                "as the largest fitted": {"excess": said["as the largest"]},
                "line through the last two": {"excess": said["the last two"]}}
        for name, law in rows.items():
            found_here = "not run" if measured[arm] is None else f"{mean_of(measured[arm]):.1f}"
            off = ("" if measured[arm] is None
                   else f"{law['excess'] / mean_of(measured[arm]) - 1:+.0%}")
            form = "" if "b" not in law else f"b {law['b']:.2f}" + (
                f", c' {law['c']:.1f}{in_brackets(law['c_interval'], 1)}" if "c" in law else "")
            foretold = f"{law['excess']:.1f}" + in_brackets(law.get("interval"), 1)
            lines.append((NAMES[arm], name, form, foretold, found_here, off))
    yield from table(("", "rule", "", f"foretold for width {plan.HELD_OUT} (90 %)", "found", "off"), lines)
    yield ""


# ---- real text

def real_text(found):
    """The lines about tinyshakespeare."""
    cells = {}
    for run in plan.real_text((*plan.SIZES, plan.HELD_OUT)):
        if run.name in found:
            cells.setdefault(run.d, {})[run.arm] = found[run.name]["outcome"]["bits_per_byte"]
    if not cells:
        return
    yield "## Real text"
    yield ""
    yield (f"tinyshakespeare by characters, {plan.CHARACTER_STEPS:,} steps, the library's own learning "
           "rates, one seed; bits a byte of text that was not read. Its entropy is not known.")
    yield ""
    lines = []
    for d, by_arm in sorted(cells.items()):
        gap = f"{by_arm['ternary'] - by_arm['float']:+.3f}" if {"ternary", "float"} <= set(by_arm) else ""
        lines.append((d, f"{plan.matrices(d):,}",
                      *(f"{by_arm[arm]:.3f}" if arm in by_arm else "" for arm in plan.ARMS), gap))
    yield from table(("width", "N", *plan.ARMS, "ternary - float"), lines)
    yield ""


# ---- pictures

def draw_sizes(path):
    """Excess over N and over bytes, seeds as bars; on logarithmic scales."""
    found = runner.done()
    cells = ladder(found)
    by_n = {NAMES[arm]: {plan.matrices(d): spread(cell) for d, cell in by_width.items()}
            for arm, by_width in cells.items()}
    by_bytes = {NAMES[arm]: {cost: spread(cell) for cost, cell in by_cost(found, arm, "bytes").items()}
                for arm in cells}
    printed = {}
    for model in ("BitNet b1.58", "LLaMA"):                    # in the order of our arms, for their styles
        printed[f"{model} (paper)"] = {size: float(cell["PPL"]) for (of, size), cell in paper.table(
            "b158_table_1").rows.items() if of == model}
    return bool(cells) and plotting.panels(
        [("N, numbers in the matrices", EXCESS, by_n), ("bytes of weights", EXCESS, by_bytes),
         ("parameters", "perplexity, b1.58 Table 1", printed)], path, log=True)
