"""data/results/quality.md: what trained models reach."""
from statistics import mean, stdev

from ..exact import exp_float
from ..measure import plotting
from .markdown import made_by, page, record, table
from .recipes import FRESH, FRESH_TEXT

VARIANTS = {"ternary": "BitNet b1.58", "float": "LLaMA block", "binary": "b1's quantizers"}


def quality():
    """What trained models reach."""
    result = record("recipes")["result"]
    text = ("Loss is nats a token, of the validation part. Every run is the command beside its name in "
            "[recipes.json](recipes.json); one seed gives these figures, to the last digit, on every "
            f"machine. The text of `fresh-float` is `python -m minibitnet.{FRESH_TEXT} --out "
            f"{FRESH.as_posix()}`.")
    return page("# What trained models reach", text,
                ["![losses by variant, and perplexities beside the floor](quality.png)", ""],
                tinyshakespeare(result["runs"]),
                stories(result["runs"], result["trigram_loss"]),
                answers(result["tasks"]),
                made_by("recipes"))


def seeds_of(runs, variant):
    """The losses of the three seeds."""
    return [runs[f"tinyshakespeare-{variant}-{seed}"]["val_loss"] for seed in (0, 1, 2)]


def tinyshakespeare(runs):
    """The lines about real text."""
    first = runs["tinyshakespeare-ternary-0"]
    yield "## tinyshakespeare, by characters"
    yield ""
    yield (f"{first['parameters']:,} parameters, {first['tokens']:,} characters read. At this size ternary "
           "is worse than full precision, and binary worse again.")
    yield ""
    lines = []
    for variant, what in VARIANTS.items():
        losses = seeds_of(runs, variant)
        lines.append((f"`{variant}` ({what})", *(f"{loss:.3f}" for loss in losses),
                      f"**{mean(losses):.3f}**", f"{stdev(losses) / 3**0.5:.3f}"))
    yield from table(("`--linear`", "seed 0", "seed 1", "seed 2", "mean", "standard error"), lines)
    yield ""
    larger = runs["tinyshakespeare-bpe-ternary"]["parameters"]
    yield ("The same text as byte-pair tokens (a vocabulary of 512), seed 0, in bits a byte, which compare: "
           "both read as many bytes. Not all else is equal: the models of byte pairs have "
           f"{larger:,} parameters, and their context holds more text.")
    yield ""
    lines = []
    for variant in ("ternary", "float"):
        by_both = (runs[f"tinyshakespeare-{kind}"] for kind in (f"{variant}-0", f"bpe-{variant}"))
        lines.append((f"`{variant}`", *(f"{r['bits_per_byte']:.3f}" for r in by_both)))
    yield from table(("`--linear`", "characters", "BPE of 512"), lines)
    yield ""


def stories(runs, trigram_loss):
    """The lines about the language whose entropy is known."""
    yield "## Stories, whose entropy is known"
    yield ""
    yield ("The floor is the grammar's own perplexity: on stories that it has not read no model has less. "
           "*Excess*: nats a story above it; *right*: of ten sampled stories, those that the grammar can "
           "tell, to the last letter.")
    yield ""
    millions = runs["stories-ternary"]["tokens"] / 1e6
    named = {
        "tiny-0": "`train --tiny`",
        "tiny-1": "the same, seed 1",
        "tiny-2": "the same, seed 2",
        "stories-ternary": f"ternary, {millions:.1f} million tokens",
        "stories-float": "float, the same",
        "fresh-float": "float, no story twice",
    }
    perplexity, to_floor = exp_float(trigram_loss), exp_float(trigram_loss - runs["tiny-0"]["floor"])
    lines = [("trigram counts", "", "", f"{perplexity:.3f}", f"{to_floor:.3f}", "", "")]
    for name, what in named.items():
        r = runs[name]
        to_floor = exp_float(r["val_loss"] - r["floor"])
        lines.append((f"`{name}`", what, f"{r['val_loss']:.4f}", f"{r['val_ppl']:.3f}", f"{to_floor:.3f}",
                      f"{r['excess_per_story']:.1f}", f"{r['stories_of_10']} of 10"))
    yield from table(("run", "", "loss", "perplexity", "perplexity / floor", "excess", "right"), lines)
    long = runs["stories-float"]
    yield ""
    yield ("Read again and again, the stories are too few for the float model: training loss "
           f"{long['train_loss']:.3f} at the end, floor {long['floor']:.3f}, best validation loss "
           f"{long['best_val_loss']:.3f}, last {long['val_loss']:.3f}. (The one that reads no story twice is "
           f"scored on the end of its own text, whose floor is {runs['fresh-float']['floor']:.3f}.)")
    yield ""


def answers(tasks):
    """The lines about multiple-choice questions."""
    def percent(r):
        return f"{100 * r['accuracy']:.1f} ± {100 * r['standard_error']:.1f}"
    yield "## Questions about stories"
    yield ""
    yield ("Multiple choice, percent right, ± a standard error. A guess among all choices is right as "
           "often as *chance* says; *named*: among those that the story has named, so that of *place* it "
           "is always right, for a reader who knows what a place is.")
    yield ""
    first = next(iter(tasks.values()))
    kinds = list(first)
    lines = [(name, *(percent(by[kind]) for kind in kinds)) for name, by in tasks.items()]
    guesses = [(name, *(f"{100 * first[kind][name]:.1f}" for kind in kinds)) for name in ("chance", "named")]
    yield from table(("run", *kinds), [*lines, *guesses])
    yield ""


def draw(path):
    """Left the losses of every seed by variant, right stories' perplexities over their floor."""
    runs = record("recipes")["result"]["runs"]
    losses = {variant: seeds_of(runs, variant) for variant in VARIANTS}
    named = {"train --tiny": "tiny-0", "ternary": "stories-ternary", "float": "stories-float",
             "float, no\nstory twice": "fresh-float"}
    above = {what: exp_float(runs[name]["val_loss"] - runs[name]["floor"]) for what, name in named.items()}
    return plotting.two_categories(("tinyshakespeare", "loss (nats a character)", losses, None),
                                   ("stories", "perplexity / floor (times)", above, 1), path)
