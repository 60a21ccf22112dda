"""data/results/speed.md: a training step, beside PyTorch's and beside its own products."""
from ..measure import plotting
from ..measure.timing import spread
from ..measure.train_bench import COMPILED, EAGER, GEMMS, OURS, SIZES
from ..nn.config import ModelConfig
from .markdown import made_by, page, rows, table


def speed():
    """A training step, beside PyTorch's and beside its own products."""
    text = ("Tokens a second and peak memory (MB: 10^6 bytes) of one step: forward, backward, clipping, "
            "AdamW. Contenders take turns in one run; a ratio is the median of the rounds' ratios, with the "
            "least and the most. Measured with no OPENBLAS variable set.")
    return page("# Speed of training", text,
                shapes(), contenders("train", (OURS, EAGER, GEMMS)),
                ["", "![tokens a second](speed.png)"], made_by("train"),
                ["### Beside torch.compile", ""],
                contenders("compile", (OURS, COMPILED)), made_by("compile"),
                profile(), made_by("profile"))


def shapes():
    """What S, M and L are, and what stands beside our step."""
    for name, (c, batch) in SIZES.items():
        parameters = ModelConfig(**c).n_parameters
        yield (f"- {name}: {parameters / 1e6:.1f} million parameters, {c['n_layers']} layers, "
               f"{c['d_model']} wide, {batch} sequences of {c['context']} tokens a step")
    yield ""
    yield (f"*{GEMMS}*: the products of a step by the same BLAS, and nothing else. "
           f"{rows('train')[0]['threads']} threads each.")
    yield ""


def contenders(name, names):
    """A table of a training benchmark's record: ours, and each other one with its ratio."""
    def cell(r, who):
        return f"{r[who]['tokens_per_s']:,.0f} · {r[who]['peak_mb']:,.0f} MB"

    def beside(r, who):
        return spread(r[who]["ours_to_this"])
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
    yield ("By operation of `nn/ops.py` and `nn/ste.py`, forward and backward. *ready*: an input put on "
           "the grid of its products; *sum over shards*: the gradients of the batch's shards added up; "
           "*sums on the tape*: gradients of what is used more than once.")
    yield ""
    yield from table(("", *(f"{r['size']} {r['linear']}" for r in profiled)),
                     [*lines, ("by itself, not profiled", *(f"{r['ms']:,.1f}" for r in profiled))])


def draw(path):
    """Tokens a second of ternary models."""
    series = {who: {r["size"]: r[who]["tokens_per_s"] for r in rows("train") if r["linear"] == "ternary"}
              for who in (OURS, EAGER, GEMMS)}
    return plotting.categories("one step of a ternary model", "tokens a second", series, path)
