"""One page of all rows: paper | here | scale | command, with pictures where matplotlib is."""
import importlib

from ..errors import UserError
from . import results
from .rows import ROWS

INTRODUCTION = """# The papers, row by row

Made by `python -m minibitnet.reproduce report`. *exact*: the printed number, or the formula itself; *inferred*: exact with a formula or a shape that
the papers do not print; *measured small*: run here, at the scale said; *not yet*: needs training or conversion that is not here; the others say
why they cannot be run. What does not come out as printed is said after a *but*, and marked "(differs)" below.

[bitnet] arXiv 2310.11453 · [b158] arXiv 2402.17764 · [2b4t] arXiv 2504.12285 · [repo] github.com/microsoft/BitNet, as of 16da220
"""


def page(out, tell):
    """out: the path of the page, beside which pictures go; tell(experiment) is called before one runs -> (Markdown, pictures, live runs)."""
    parts, pictures, live = [INTRODUCTION, *overview()], 0, 0
    for row in (row for row in ROWS if row.experiment):
        name, experiment = row.experiment, importlib.import_module(f".{row.experiment}", __package__)
        try:
            record = results.load(name)
            result = record["result"] if record else quick(experiment, name, tell)
        except UserError as e:                   # no trained model, say: the page tells, and goes on
            parts += [f"## {row.name}\n\nnot run: {escaped(str(e))}\n"]
            continue
        live += record is None
        picture = out.with_name(f"{out.stem}-{name}.png")
        drawn = hasattr(experiment, "figure") and experiment.figure(result, picture)
        pictures += bool(drawn)
        parts += section(row, experiment.in_words(result), record, picture.name if drawn else None)
    return "\n".join(parts) + "\n", pictures, live


def quick(experiment, name, tell):
    """Run an experiment's quick form, and tell that it runs."""
    tell(name)
    return experiment.quick()


def overview():
    """All rows in one table: what is claimed, how it stands here, and where to look."""
    yield "| row | source | paper | here | command |\n|---|---|---|---|---|"
    for row in ROWS:
        where = f"[`reproduce {row.name}`](#{row.name})" if row.experiment else f"`minibitnet.{row.home}`" if row.home else ""
        yield f"| {row.name} | {escaped(row.source)} | {escaped(row.claim)} | {escaped(row.standing)} | {where} |"
    yield ""


def section(row, lines, record, picture):
    """A row's experiment: its lines as a table or as they are, its picture, and where its numbers come from."""
    yield f"## {row.name}\n\n{escaped(f'{row.source}: {row.claim} ({row.standing})')}\n"
    yield from body(list(lines))
    if picture:
        yield f"![{row.name}]({picture})\n"
    if record:
        yield f"`{record['command']}`, {record['seconds']:,.0f} s on {record['environment']['platform']}, NumPy {record['environment']['numpy']}\n"
    else:
        yield f"`python -m minibitnet.reproduce {row.name}`, run live\n"


def body(lines):
    """Lines "paper | here | scale" become a table, others paragraphs; lines in columns of their own stay as they are."""
    if not any(line.count(" | ") == 2 for line in lines):
        yield "\n".join(["```text", *lines, "```", ""])
        return
    in_table = False
    for line in lines:
        cells = line.split(" | ")
        if len(cells) == 3 and not in_table:
            yield "| paper | here | scale |\n|---|---|---|"
        elif len(cells) != 3 and in_table:
            yield ""
        in_table = len(cells) == 3
        yield f"| {' | '.join(map(escaped, cells))} |" if in_table else escaped(line) + "\n"
    yield ""


def escaped(text):
    """Text that Markdown leaves as it is."""
    for mark in "\\|*_<[`":
        text = text.replace(mark, "\\" + mark)
    return text
