"""The papers' printed numbers, as data/paper/ holds them: one JSON file for each table or figure.

    paper, item, title     "arXiv 2310.11453", "Table 1", what it shows
    checked                "text": every cell was compared with the paper's text;  "no": labels of a picture,
                           which the text lacks, or a source whose text was not at hand
    note                   what else must be known (may be absent)
    labels, columns, rows  the first ``labels`` columns name a row; the others hold numbers *as printed*,
                           "13.80" or "4.8e4" or "-"

Cells are strings because 13.8 is not 13.80: a number of ours agrees with a printed one if it rounds to the
same digits.
"""
import json
import re
from decimal import Decimal
from typing import NamedTuple

from ..data_files import packaged
from ..errors import UserError

CHECKED = ("text", "no")


class Table(NamedTuple):
    name: str
    paper: str
    item: str
    title: str
    checked: str
    note: str
    columns: list            # without those of the labels
    rows: dict               # {label or (label, label): {column: cell}}

    @property
    def source(self):
        return f"{self.paper}, {self.item}"


def table(name):
    """The file data/paper/NAME.json -> Table; UserError for one that is not as the module says."""
    path = packaged(f"paper/{name}.json")
    return parse(name, path.read_text(encoding="utf-8"), path)


def parse(name, text, where):
    """Text of a file of data/paper -> Table; where: for messages."""
    try:
        data = json.loads(text)
        labels, columns, rows = data.pop("labels"), data.pop("columns"), data.pop("rows")
        head = {"note": "", **data}
        result = Table(name, columns=columns[labels:], rows={}, **head)
        lines = [(tuple(row[:labels]) if labels > 1 else row[0], row[labels:]) for row in rows]
    except (ValueError, KeyError, TypeError, IndexError) as e:
        raise UserError(f"{where}: {e!r}: expected the keys that experiments/paper.py lists") from None
    named = re.fullmatch(r"arXiv \d{4}\.\d{5}|\w+/\w+, \S+\.pdf", result.paper) and result.item
    if not named or result.checked not in CHECKED:
        raise UserError(f"{where}: source {result.source!r}, checked {result.checked!r}: expected an arXiv "
                        f"number or a file, a table or figure, one of {CHECKED}")
    for label, cells in lines:
        if label in result.rows:
            raise UserError(f"{where}: two rows are {label!r}")
        numbers = all(isinstance(cell, str) and is_number(cell) for cell in cells)
        if not numbers or len(cells) != len(result.columns):
            raise UserError(f"{where}: row {label!r}: expected {len(result.columns)} numbers as printed, "
                            f"each a string, got {cells}")
        result.rows[label] = dict(zip(result.columns, cells))
    return result


def is_number(cell):
    """Is this a number as papers print it, or the dash of an empty cell?"""
    return cell == "-" or re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", cell) is not None


def how_many_agree(rows):
    """Rows with "agrees", in words."""
    return f"{sum(r['agrees'] for r in rows)} of {len(rows)} to the digits printed"


def agrees(value, printed):
    """Does a value, rounded to the digits that are printed, give what is printed?   13.798 and "13.80" do,
    13.806 and "13.80" do not."""
    return Decimal(value).quantize(Decimal(printed)) == Decimal(printed)
