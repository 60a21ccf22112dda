"""Quantizing after training beside training with few bits: a section of data/results/trained.md.

[bitnet] Table 3 with its methods and bits, on full precision's models of the ladder."""
from ..measure import plotting
from ..stories import tasks
from . import plan, runner
from .end_tasks import share
from .markdown import table
from .paper import table as printed_table
from .quantized_run import OURS, QUESTIONS, TABLE
from .trained_sizes import NAMES
from .uncertainty import mean_of, spread

TRAINED = {"float": ("16", "Transformer"), "ternary": None, "binary": ("1", "BitNet")}     # in the paper


def cells(found):
    """{width: {way, or arm that was trained so: {"excess": [of each seed], "right": [of each seed, the mean
    share over the kinds of question]}}} of the widths whose models were quantized."""
    done, widths = runner.outcomes(found), {}
    for d in plan.QUANTIZED_WIDTHS:
        outcomes = [done[run.name] for seed in plan.SEEDS for run in plan.quantized(done, seed)
                    if run.d == d and run.name in done]
        if not outcomes:
            continue
        widths[d] = {}
        for arm in TRAINED:
            runs = plan.trained(done, arm, (d,)).get(d)
            if runs:
                widths[d][arm] = {"excess": [plan.excess(done, run) for run in runs],
                                  "right": [right_of(done[run.name]["answers"]) for run in runs]}
        for what in (TABLE | OURS):
            each = [o["ways"][what] for o in outcomes]
            widths[d][what] = {"excess": [way["excess"]["mean"] for way in each],
                               "right": [mean_of(list(way["right"].values())) for way in each]}
    return widths


def right_of(answers):
    """The mean share of right answers over the kinds."""
    return mean_of([share([answers[kind]]).right for kind in tasks.KINDS])


def quantized(found):
    """The lines."""
    widths = cells(found)
    if not widths:
        return
    printed = printed_table("b1_table_3").rows
    yield "## Quantized after training (b1, Table 3)"
    yield ""
    yield "![excess of each way](trained-quantized.png)"
    yield ""
    yield ("Full precision's models of the ladder, quantized in every way of the paper's table (W: bits of "
           "weights, A: of activations) and in four of ours; above them the arms that were trained so. The "
           "excess, nats a story, mean (least to most) over the seeds; beside it the share of questions "
           f"answered right, the mean over {len(tasks.KINDS)} kinds (chance 25 %; of a quantized model "
           f"{QUESTIONS} of each kind). The paper's are perplexities at 6.7B.")
    yield ""
    for answer in conclusions(widths):
        yield f"- {answer}"
    yield ""
    head = [text for d in widths for text in (f"width {d}", "right")]
    lines = []
    for what in dict.fromkeys(what for ways in widths.values() for what in ways):
        columns = [text for ways in widths.values() for text in (
            (excess_in_words(ways[what]["excess"]), f"{mean_of(ways[what]['right']):.0%}")
            if what in ways else ("", ""))]
        at = key(what)
        lines.append((f"{NAMES[what]}, trained" if what in TRAINED else what,
                      printed[at]["PPL"] if at in printed else "", *columns))
    yield from table(("", "printed", *head), lines)
    yield ""


def key(what):
    """A way's row in [bitnet] Table 3, or None."""
    if what in TRAINED:
        return TRAINED[what]
    return (str(TABLE[what][1]), what.partition(",")[0]) if what in TABLE else None


def excess_in_words(seeds):
    """Mean (least to most)."""
    mean, least, most = spread(seeds)
    return f"{mean:.1f}" + (f" ({least:.1f} to {most:.1f})" if len(seeds) > 1 else "")


def conclusions(widths):
    """Where quantizing after training collapses and where it does not, of each width."""
    for d, ways in widths.items():
        mean = {what: mean_of(cell["excess"]) for what, cell in ways.items()}
        by_bits = {bits: min(mean[what] for what, how in (TABLE | OURS).items() if how[1] == bits)
                   for bits in (8, 4, 2, 1.58, 1)}
        said = ", ".join(f"{bits:g} bits {least - mean['float']:+.1f}" for bits, least in by_bits.items())
        trained = ", ".join(f"{NAMES[arm]} {mean[arm] - mean['float']:+.1f}"
                            for arm in ("ternary", "binary") if arm in mean)
        better = [what for what in (TABLE | OURS) if mean[what] < mean["ternary"]]
        yield (f"Width {d}: against full precision's {mean['float']:.1f}, the best way of {said}; trained "
               f"so: {trained}. Better than ternary that was trained so: {', '.join(better) or 'none'}.")


def draw_quantized(path):
    """Every way's excess, of the widest model that was quantized."""
    widths = cells(runner.done())
    if not widths:
        return False
    d, ways = max(widths.items())
    return plotting.differences([
        (f"{NAMES[what]}, trained" if what in TRAINED else what, mean_of(cell["excess"]),
         (max(cell["excess"]) - min(cell["excess"])) / 2) for what, cell in ways.items()],
        f"excess (nats a story), width {d}", path)
