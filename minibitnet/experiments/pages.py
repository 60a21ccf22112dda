"""The pages of data/results: every figure comes from a file there, which says by which command, where and
when it was made.

A page is a function of its records, so a test can make it again and compare.
"""
from statistics import mean, stdev

from ..errors import UserError
from ..exact import exp_float
from ..measure import plotting, results
from ..measure.train_bench import COMPILED, EAGER, FLOOR, OURS, task

RECORDS = "recipes", "train", "compile", "profile", "decode_tiny", "decode_15m", "decode_2b4t", "kernels"
ARMS = {"ternary": "BitNet b1.58", "float": "LLaMA block", "binary": "b1's quantizers"}


def write(folder):
    """Write every page and draw every picture -> the names of the files; UserError, and no page, where a record is
    missing."""
    for name, text in {name: make() for name, make in PAGES.items()}.items():
        folder.joinpath(name).write_text(text, encoding="utf-8", newline="\n")
    return [*PAGES, *(name for name, draw in PICTURES.items() if draw(folder / name))]


def record(name):
    """The envelope of data/results/NAME.json; UserError where it is not there."""
    found = results.load(name)
    if found is None:
        raise UserError(f"{results.home() / name}.json is not there: expected the results that the pages are made of")
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
    runs, tasks = result["runs"], result["tasks"]
    return page("# What trained models reach", "Loss is nats a token, of the validation part. Every run is the command beside its name in recipes.json; one "
                "seed gives these figures, to the last digit, on every machine.", tinyshakespeare(runs), stories(runs, result["trigram_loss"]), answers(tasks),
                made_by("recipes"))


def seeds_of(runs, arm):
    """The losses of the three seeds."""
    return [runs[f"tinyshakespeare-{arm}-{seed}"]["val_loss"] for seed in (0, 1, 2)]


def tinyshakespeare(runs):
    """The lines about real text."""
    first = runs["tinyshakespeare-ternary-0"]
    yield "## tinyshakespeare, by characters"
    yield ""
    yield f"{first['parameters']:,} parameters, {first['tokens']:,} characters read. At this size ternary is worse than full precision, and binary worse again."
    yield ""
    yield from table(("`--linear`", "seed 0", "seed 1", "seed 2", "mean", "standard error"),
                     [(f"`{arm}` ({what})", *(f"{loss:.3f}" for loss in seeds_of(runs, arm)), f"**{mean(seeds_of(runs, arm)):.3f}**",
                       f"{stdev(seeds_of(runs, arm)) / 3**0.5:.3f}") for arm, what in ARMS.items()])
    yield ""
    larger = runs["tinyshakespeare-bpe-ternary"]["parameters"]
    yield (f"As many bytes read as byte-pair tokens (512), in bits a byte. Not all else is equal: these models have "
           f"{larger:,} parameters, and as many tokens of context are more text:")
    yield ""
    yield from table(("`--linear`", "characters", "BPE of 512"),
                     [(f"`{arm}`", *(f"{runs[f'tinyshakespeare-{kind}']['bits_per_byte']:.3f}" for kind in (f"{arm}-0", f"bpe-{arm}")))
                      for arm in ("ternary", "float")])
    yield ""


def stories(runs, trigram_loss):
    """The lines about the language whose entropy is known."""
    yield "## Stories, whose entropy is known"
    yield ""
    yield "No model needs less than the floor on stories that it has not read. *Excess*: nats a story above it; *right*: of ten sampled stories, those that"
    yield "the grammar can tell, to the last letter."
    yield ""
    named = {"tiny-0": "`train --tiny`", "tiny-1": "the same, seed 1", "tiny-2": "the same, seed 2", "stories-ternary": f"ternary, {runs['stories-ternary']['tokens'] / 1e6:.1f} million tokens",
             "stories-float": "float, the same", "fresh-float": "float, no story twice"}
    floor = runs["tiny-0"]["floor"]
    lines = [("trigram counts", "", f"{exp_float(trigram_loss):.3f}", f"{exp_float(trigram_loss - floor):.3f}", "", "")]
    for name, what in named.items():
        r = runs[name]
        lines.append((what, f"{r['val_loss']:.4f}", f"{r['val_ppl']:.3f}", f"{exp_float(r['val_loss'] - r['floor']):.3f}", f"{r['excess_per_story']:.1f}",
                      f"{r['stories_of_10']} of 10"))
    yield from table(("run", "loss", "perplexity", "perplexity / floor", "excess", "right"), lines)
    long = runs["stories-float"]
    yield ""
    yield (f"Read again and again, the stories are too few for the float model: training loss {long['train_loss']:.3f} at the end, floor {long['floor']:.3f}, best "
           f"validation loss {long['best_val_loss']:.3f}, last {long['val_loss']:.3f}.")
    yield ""


def answers(tasks):
    """The lines about multiple-choice questions."""
    yield "## Questions about stories"
    yield ""
    yield "Multiple choice, percent right; *named*: a guess among the choices that the story has named."
    yield ""
    kinds = list(next(iter(tasks.values())))
    lines = [(name, *(f"{100 * r[kind]['accuracy']:.1f} ± {100 * r[kind]['standard_error']:.1f}" for kind in kinds)) for name, r in tasks.items()]
    first = next(iter(tasks.values()))
    yield from table(("run", *kinds), [*lines, ("named", *(f"{100 * first[kind]['named']:.1f}" for kind in kinds))])
    yield ""


# ---- speed

def speed():
    """A training step, beside PyTorch's and beside its own products."""
    return page("# Speed of training", "Tokens a second and peak memory (MB: 10^6 bytes) of one step: forward, backward, clipping, AdamW. Contenders take turns in "
                "one run; a ratio is the median of the rounds' ratios, with the least and the most. Measured with no OPENBLAS variable set.",
                contenders("train", (OURS, EAGER, FLOOR)), made_by("train"), ["### Beside torch.compile", ""], contenders("compile", (OURS, COMPILED)),
                made_by("compile"), profile(), made_by("profile"), ["![tokens a second](speed.png)", ""])


def contenders(name, names):
    """A table of a training benchmark's record: ours, and each other one with its ratio."""
    def cell(r, who):
        return f"{r[who]['tokens_per_s']:,.0f} · {r[who]['peak_mb']:,.0f} MB"

    def beside(r, who):
        of = r[who]["ours_to_this"]
        return f"{of['median']:.2f} ({of['least']:.2f} to {of['most']:.2f})"
    others = names[1:]
    yield from table(("", names[0], *(head for who in others for head in (who, f"ours / {who}"))),
                     [(f"{r['size']} {r['linear']}", cell(r, names[0]), *(text for who in others for text in (cell(r, who), beside(r, who)))) for r in rows(name)])


def profile():
    """A table of where a step's time goes."""
    profiled = rows("profile")
    ops = sorted(profiled[-1]["by_op"], key=lambda op: -profiled[-1]["by_op"][op])
    total = [sum(r["by_op"].values()) for r in profiled]
    yield "### Where the time of a step goes, ms on one thread"
    yield ""
    yield from table(("", *(f"{r['size']} {r['linear']}" for r in profiled)),
                     [*((op, *(f"{r['by_op'].get(op, 0):,.1f} · {r['by_op'].get(op, 0) / all_ms:.1%}" for r, all_ms in zip(profiled, total))) for op in ops),
                      ("by itself, not profiled", *(f"{r['ms']:,.1f}" for r in profiled))])


def draw_speed(path):
    """Tokens a second of ternary models by their number of parameters."""
    ternary = [r for r in rows("train") if r["linear"] == "ternary"]
    parameters = {r["size"]: f"{task(r['size'], 'ternary')[0].n_parameters / 1e6:.2g}M" for r in ternary}
    series = {who: {parameters[r["size"]]: r[who]["tokens_per_s"] for r in ternary} for who in (OURS, EAGER)}
    return plotting.points(series, "parameters of a ternary model", "tokens a second", path)


# ---- engines

def engines():
    """Running packed models."""
    return page("# Engines", "Three engines run a model; all make the same whole-number products. `packed` gives the float engine's logits to the bit.",
                agreement(), made_by("recipes"), decoding(), made_by("decode_tiny", "decode_15m", "decode_2b4t"), products(), made_by("kernels"), sizes(),
                made_by("recipes"))


def agreement():
    """The lines that compare engines."""
    result = record("recipes")["result"]
    yield "## Beside the float engine"
    yield ""
    yield "The tiny run on its validation text; *clear*: where the float engine's two best tokens are more than 0.1 nats apart."
    yield ""
    yield from table(("engine", "loss", "difference", "likeliest token the same", "of the clear ones", "logits equal to the bit"),
                     [(f"`{name}`", f"{r['loss']:.5f}", f"{r['loss'] - r['reference_loss']:+.5f}", f"{r['agree']:.2%}",
                       f"{r['agree_clear']:.3%}", f"{r['identical']:.1%}")
                      for name, r in ((name, r["against_float"]) for name, r in result["engines"].items())])


def decoding():
    """The lines about tokens a second."""
    yield "## Whole models of random weights"
    yield ""
    yield "Tokens a second, one after another, and of a prompt of 64; memory in MB."
    yield ""
    lines = []
    for r in (row for name in ("decode_tiny", "decode_15m", "decode_2b4t") for row in rows(name)):
        for engine in (key for key in r if key.endswith(" engine")):
            e = r[engine]
            lines.append((r["shape"], engine, f"{e['decode_tokens_per_s']:,.1f}", f"{e['prefill_tokens_per_s']:,.0f}", f"{e['weights_mb']:,.1f}",
                          f"{e['peak_mb']:,.0f}"))
    yield from table(("shape", "engine", "decode", "prompt", "weights", "peak"), lines)


def products():
    """The lines about single products."""
    yield "## One ternary matrix times one token's codes"
    yield ""
    yield "Milliseconds, each call with another copy of the matrix; beside it bytes a weight."
    yield ""
    found = rows("kernels")
    names = [key for key in found[0] if isinstance(found[0][key], dict)]
    yield from table(("outputs x inputs", *names),
                     [(r["shape"], *(f"{r[name]['ms']:.3g} · {r[name]['bytes_per_weight']:.2g}" if name in r else "" for name in names)) for r in found])


def sizes():
    """The lines about bytes."""
    found = record("recipes")["result"]["bytes"]["components"]
    yield "## Bytes of the tiny run"
    yield ""
    yield from table(("", "numbers", "packed", "float16", "float32"), [(name, *(f"{n:,}" for n in row.values())) for name, row in found.items()])


# ---- all of them

def index():
    """The list of pages and of files."""
    names = sorted(path.stem for path in results.home().glob("*.json"))
    lines = []
    for name in names:
        found = record(name)
        lines.append((f"[{name}.json]({name}.json)", f"`{found['command']}`", found.get("date", ""), found["environment"]["numpy"],
                      found["environment"].get("blas_kernel") or ""))
    return page("# Results", "Pages that `python -m minibitnet.reproduce pages` makes from the files beside them: [quality](quality.md), [speed](speed.md), "
                "[engines](engines.md). The papers, row by row: `python -m minibitnet.reproduce report`.",
                table(("file", "command", "date", "NumPy", "BLAS kernel"), lines))


def page(title, text, *sections):
    """Markdown of a title, a paragraph and sections of lines."""
    return "\n".join([title, "", text, "", *(line for section in sections for line in section)]).rstrip() + "\n"


PAGES = {"README.md": index, "quality.md": quality, "speed.md": speed, "engines.md": engines}
PICTURES = {"speed.png": draw_speed}
