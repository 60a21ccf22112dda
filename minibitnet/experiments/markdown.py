"""What the pages of data/results are written with: records, tables, and where their figures are from."""
from ..errors import UserError
from ..measure import results


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
        yield f"{results.origin(found)}."
        yield ""


def page(title, text, *sections):
    """Markdown of a title, a paragraph and sections of lines, no two empty ones together."""
    lines = [title, "", text, "", *(line for section in sections for line in section)]
    kept = (line for line, before in zip(lines, ["x", *lines]) if line or before)
    return "\n".join(kept).rstrip() + "\n"
