"""One page of all rows: paper | here | scale | command, with pictures where matplotlib is."""
from urllib.parse import quote

from ..errors import UserError
from ..measure import results
from .catalogue import EXPERIMENTS
from .claims import STATES, after
from .lines import Line

INTRODUCTION = f"""# The papers, row by row

`python -m minibitnet.reproduce report` makes this page on your machine.
{"; ".join(f"*{state}*: {meaning}" for state, meaning in STATES.items())}.
What does not come out as printed is said after a *but*, and marked "(differs)" below.

[bitnet] arXiv 2310.11453 · [b158] arXiv 2402.17764 · [2b4t] arXiv 2504.12285 ·
[repo] github.com/microsoft/BitNet, as of 16da220

| row | paper | state | here | scale | command |
|---|---|---|---|---|---|"""


def draw(experiment, result, path):
    """Is the experiment's picture drawn to the path?"""
    return bool(experiment.figure and experiment.figure(result, path))


def page(rows, out, tell, draw=draw, runs=lambda experiment: True):
    """rows: of claims.toml; out: the path of the page, beside which pictures go; tell(experiment) is
    called before one runs; runs(experiment): may it run live, where there is no record?
    -> (Markdown, pictures, live runs)."""
    overview, sections, said, pictures, live = [INTRODUCTION], [], {}, 0, 0
    for row in rows:
        if not row.experiment:
            overview.append(entry(row, f"`minibitnet.{row.home}`" if row.home else ""))
            continue
        name, experiment = row.experiment, EXPERIMENTS[row.experiment]
        try:
            record = results.load(name, experiment.in_words)
            if not (record or runs(experiment)):
                overview.append(entry(row, "as your machine has it"))
                continue
            result = record["result"] if record else quick(experiment, name, tell)
        except UserError as e:                   # no trained model, say: the page tells, and goes on
            overview.append(entry(row, "not run"))
            sections.append(f"## {row.name}\n\nnot run: {escaped(str(e))}\n")
            continue
        live += record is None
        picture = out.with_name(f"{out.stem}-{name}.png")
        drawn = draw(experiment, result, picture)
        pictures += drawn
        row, lines = after(row, experiment, result), list(once(experiment.in_words(result), row.name, said))
        overview.append(entry(row, *headline(lines)))
        sections += section(row, lines, record, picture.name if drawn else None)
    return "\n".join([*overview, "", *sections]) + "\n", pictures, live


def quick(experiment, name, tell):
    """Run an experiment's quick form, and tell that it runs."""
    tell(name)
    return experiment.quick()


def entry(row, here, scale=""):
    """A row's line of the overview; here and scale are Markdown."""
    name = f"[{row.name}](#{row.name})" if row.experiment else row.name
    paper, state = escaped(f"{row.source}: {row.claim}"), escaped(row.standing)
    return f"| {name} | {paper} | {state} | {here} | {scale} | `python -m minibitnet.reproduce {row.name}` |"


def headline(lines):
    """The first Line of an experiment is what the overview shows -> its here and scale."""
    return map(escaped, next(line for line in lines if isinstance(line, Line)).cells[1:])


def once(lines, name, said):
    """The lines of a row; of a paragraph that an earlier row had, only what it begins with. said: {paragraph:
    its first row}, which grows."""
    for line in lines:
        first = said.setdefault(line, name)
        yield line if first == name or isinstance(line, Line) else f"{line.partition(': ')[0]}: see {first}."


def section(row, lines, record, picture):
    """A row's experiment: its lines as a table or as they are, its picture, where its numbers come from."""
    yield f"## {row.name}\n\n{escaped(f'{row.source}: {row.claim} ({row.standing})')}\n"
    yield from body(lines)
    if picture:
        yield f"![{row.name}]({quote(picture)})\n"
    live = f"`python -m minibitnet.reproduce {row.name}`, run live"
    yield f"{results.origin(record) if record else live}\n"


def body(lines):
    """Lines become a table, others are paragraphs."""
    in_table = False
    for line in lines:
        was_in_table, in_table = in_table, isinstance(line, Line)
        if in_table and not was_in_table:
            yield "| paper | here | scale |\n|---|---|---|"
        elif was_in_table and not in_table:
            yield ""
        yield f"| {' | '.join(map(escaped, line.cells))} |" if in_table else escaped(line) + "\n"
    yield ""


def escaped(text):
    """Text that Markdown leaves as it is."""
    for mark in "\\|*_<[`":
        text = text.replace(mark, "\\" + mark)
    return text
