"""The pages of data/results: every figure comes from a file there, which says by which command, where and
when it was made.

A page is a function of its records, so a test can make it again and compare.
"""
from statistics import mean, stdev

from ..errors import UserError
from ..exact import exp_float
from ..measure import plotting, results
from ..measure.train_bench import COMPILED, EAGER, FLOOR, OURS, task

DECODING = "decode_tiny", "decode_15m", "decode_2b4t"
RECORDS = "recipes", "train", "compile", "profile", *DECODING, "kernels"
VARIANTS = {"ternary": "BitNet b1.58", "float": "LLaMA block", "binary": "b1's quantizers"}


def write(folder):
    """Write every page and draw every picture -> the names of the files; UserError, and no page, where a
    record is missing."""
    for name, text in {name: make() for name, make in PAGES.items()}.items():
        folder.joinpath(name).write_text(text, encoding="utf-8", newline="\n")
    return [*PAGES, *(name for name, draw in PICTURES.items() if draw(folder / name))]


def record(name):
    """The envelope of data/results/NAME.json; UserError where it is not there."""
    found = results.load(name)
    if found is None:
        raise UserError(f"{results.home() / name}.json is not there: expected the results that the pages are "
                        "made of")
    return found


def rows(name):
    """The rows of a benchmark's record."""
    return record(name)["result"]["rows"]


def table(head, lines):
    """Markdown: column names, rows of cells."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for cells in lines:
        yield "| " + " | ".join(map(str, cells)) + " |"


def made_by(*names):
    """The last lines of a section: where its figures come from."""
    yield ""
    for found in map(record, names):
        yield f"{results.origin(found)}, {found['environment']['blas_kernel']} kernels."
        yield ""


# ---- quality

def quality():
    """What trained models reach."""
    result = record("recipes")["result"]
    text = ("Loss is nats a token, of the validation part. Every run is the command beside its name in "
            "recipes.json; one seed gives these figures, to the last digit, on every machine.")
    return page("# What trained models reach", text,
                tinyshakespeare(result["runs"]),
                stories(result["runs"], result["trigram_loss"]),
                answers(result["tasks"]),
                made_by("recipes"))


def seeds_of(runs, arm):
    """The losses of the three seeds."""
    return [runs[f"tinyshakespeare-{arm}-{seed}"]["val_loss"] for seed in (0, 1, 2)]


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
    yield ("As many bytes read as byte-pair tokens (512), in bits a byte. Not all else is equal: these "
           f"models have {larger:,} parameters, and as many tokens of context are more text:")
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
    yield ("No model needs less than the floor on stories that it has not read. *Excess*: nats a story above "
           "it; *right*: of ten sampled stories, those that")
    yield "the grammar can tell, to the last letter."
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
    lines = [("trigram counts", "", f"{perplexity:.3f}", f"{to_floor:.3f}", "", "")]
    for name, what in named.items():
        r = runs[name]
        to_floor = exp_float(r["val_loss"] - r["floor"])
        lines.append((what, f"{r['val_loss']:.4f}", f"{r['val_ppl']:.3f}", f"{to_floor:.3f}",
                      f"{r['excess_per_story']:.1f}", f"{r['stories_of_10']} of 10"))
    yield from table(("run", "loss", "perplexity", "perplexity / floor", "excess", "right"), lines)
    long = runs["stories-float"]
    yield ""
    yield ("Read again and again, the stories are too few for the float model: training loss "
           f"{long['train_loss']:.3f} at the end, floor {long['floor']:.3f}, best validation loss "
           f"{long['best_val_loss']:.3f}, last {long['val_loss']:.3f}.")
    yield ""


def answers(tasks):
    """The lines about multiple-choice questions."""
    def percent(r):
        return f"{100 * r['accuracy']:.1f} ± {100 * r['standard_error']:.1f}"
    yield "## Questions about stories"
    yield ""
    yield "Multiple choice, percent right; *named*: a guess among the choices that the story has named."
    yield ""
    first = next(iter(tasks.values()))
    kinds = list(first)
    lines = [(name, *(percent(by[kind]) for kind in kinds)) for name, by in tasks.items()]
    guess = [f"{100 * first[kind]['named']:.1f}" for kind in kinds]
    yield from table(("run", *kinds), [*lines, ("named", *guess)])
    yield ""


# ---- speed

def speed():
    """A training step, beside PyTorch's and beside its own products."""
    text = ("Tokens a second and peak memory (MB: 10^6 bytes) of one step: forward, backward, clipping, "
            "AdamW. Contenders take turns in one run; a ratio is the median of the rounds' ratios, with the "
            "least and the most. Measured with no OPENBLAS variable set.")
    return page("# Speed of training", text,
                contenders("train", (OURS, EAGER, FLOOR)), made_by("train"),
                ["### Beside torch.compile", ""],
                contenders("compile", (OURS, COMPILED)), made_by("compile"),
                profile(), made_by("profile"),
                ["![tokens a second](speed.png)", ""])


def contenders(name, names):
    """A table of a training benchmark's record: ours, and each other one with its ratio."""
    def cell(r, who):
        return f"{r[who]['tokens_per_s']:,.0f} · {r[who]['peak_mb']:,.0f} MB"

    def beside(r, who):
        of = r[who]["ours_to_this"]
        return f"{of['median']:.2f} ({of['least']:.2f} to {of['most']:.2f})"
    ours, *others = names
    head = ["", ours, *(title for who in others for title in (who, f"ours / {who}"))]
    lines = []
    for r in rows(name):
        of_others = [text for who in others for text in (cell(r, who), beside(r, who))]
        lines.append((f"{r['size']} {r['linear']}", cell(r, ours), *of_others))
    yield from table(head, lines)


def profile():
    """A table of where a step's time goes."""
    def cell(by_op, op):
        ms = by_op.get(op, 0)
        return f"{ms:,.1f} · {ms / sum(by_op.values()):.1%}"
    profiled = rows("profile")
    of_last = profiled[-1]["by_op"]
    largest_first = sorted(of_last, key=lambda op: -of_last[op])
    lines = [(op, *(cell(r["by_op"], op) for r in profiled)) for op in largest_first]
    yield "### Where the time of a step goes, ms on one thread"
    yield ""
    yield from table(("", *(f"{r['size']} {r['linear']}" for r in profiled)),
                     [*lines, ("by itself, not profiled", *(f"{r['ms']:,.1f}" for r in profiled))])


def draw_speed(path):
    """Tokens a second of ternary models by their number of parameters."""
    ternary = [r for r in rows("train") if r["linear"] == "ternary"]
    parameters = {r["size"]: task(r["size"], "ternary")[0].n_parameters for r in ternary}
    names = {size: f"{n / 1e6:.2g}M" for size, n in parameters.items()}
    series = {who: {names[r["size"]]: r[who]["tokens_per_s"] for r in ternary} for who in (OURS, EAGER)}
    return plotting.points(series, "parameters of a ternary model", "tokens a second", path)


# ---- engines

def engines():
    """Running packed models."""
    text = ("Three engines run a model; all make the same whole-number products. `packed` gives the float "
            "engine's logits to the bit.")
    return page("# Engines", text,
                agreement(), made_by("recipes"),
                decoding(), made_by(*DECODING),
                products(), made_by("kernels"),
                sizes(), made_by("recipes"))


def agreement():
    """The lines that compare engines."""
    yield "## Beside the float engine"
    yield ""
    yield ("The tiny run on its validation text; *clear*: where the float engine's two best tokens are more "
           "than 0.1 nats apart.")
    yield ""
    head = ("engine", "loss", "difference", "likeliest token the same", "of the clear ones",
            "logits equal to the bit")
    lines = []
    for name, found in record("recipes")["result"]["engines"].items():
        r = found["against_float"]
        lines.append((f"`{name}`", f"{r['loss']:.5f}", f"{r['loss'] - r['reference_loss']:+.5f}",
                      f"{r['agree']:.2%}", f"{r['agree_clear']:.3%}", f"{r['identical']:.1%}"))
    yield from table(head, lines)


def decoding():
    """The lines about tokens a second."""
    yield "## Whole models of random weights"
    yield ""
    yield "Tokens a second, one after another, and of a prompt of 64; memory in MB."
    yield ""
    lines = []
    for r in (row for name in DECODING for row in rows(name)):
        for engine, e in ((key, value) for key, value in r.items() if key.endswith(" engine")):
            lines.append((r["shape"], engine,
                          f"{e['decode_tokens_per_s']:,.1f}", f"{e['prefill_tokens_per_s']:,.0f}",
                          f"{e['weights_mb']:,.1f}", f"{e['peak_mb']:,.0f}"))
    yield from table(("shape", "engine", "decode", "prompt", "weights", "peak"), lines)


def products():
    """The lines about single products."""
    def cell(r):
        return f"{r['ms']:.3g} · {r['bytes_per_weight']:.2g}"
    yield "## One ternary matrix times one token's codes"
    yield ""
    yield "Milliseconds, each call with another copy of the matrix; beside it bytes a weight."
    yield ""
    found = rows("kernels")
    names = [key for key in found[0] if isinstance(found[0][key], dict)]
    lines = [(r["shape"], *(cell(r[name]) if name in r else "" for name in names)) for r in found]
    yield from table(("outputs x inputs", *names), lines)


def sizes():
    """The lines about bytes."""
    found = record("recipes")["result"]["bytes"]["components"]
    yield "## Bytes of the tiny run"
    yield ""
    yield from table(("", "numbers", "packed", "float16", "float32"),
                     [(name, *(f"{n:,}" for n in row.values())) for name, row in found.items()])


# ---- all of them

def index():
    """The list of pages and of files."""
    lines = []
    for name in sorted(path.stem for path in results.home().glob("*.json")):
        found = record(name)
        where = found["environment"]
        lines.append((f"[{name}.json]({name}.json)", f"`{found['command']}`", found.get("date", ""),
                      where["numpy"], where.get("blas_kernel") or ""))
    text = ("Pages that `python -m minibitnet.reproduce pages` makes from the files beside them: "
            "[quality](quality.md), [speed](speed.md), [engines](engines.md). The papers, row by row: "
            "`python -m minibitnet.reproduce report`.")
    return page("# Results", text, table(("file", "command", "date", "NumPy", "BLAS kernel"), lines))


def page(title, text, *sections):
    """Markdown of a title, a paragraph and sections of lines."""
    lines = (line for section in sections for line in section)
    return "\n".join([title, "", text, "", *lines]).rstrip() + "\n"


PAGES = {"README.md": index, "quality.md": quality, "speed.md": speed, "engines.md": engines}
PICTURES = {"speed.png": draw_speed}
