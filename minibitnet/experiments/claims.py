"""Every table, figure, equation and claim of the papers: data/paper/claims.toml, read and checked.

The file itself says what its fields mean. ``python -m minibitnet.reproduce NAME`` runs the experiment of a
row: an ``Experiment`` (lines.py) that ``catalogue.py`` lists by its name.
"""
import difflib
import functools
import tomllib
from typing import NamedTuple

from ..data_files import packaged
from ..errors import UserError

EXACT, INFERRED, MEASURED, NOT_YET = "exact", "inferred", "measured small", "not yet"
NEVER = "not reproducible here"
STATES = {
    EXACT: "the printed number, or the formula itself",
    INFERRED: "exact with a formula or a shape that the papers do not print",
    MEASURED: "run here, at the scale said",
    NOT_YET: "needs training or conversion that is not here",
    NEVER: "for the reason given",
}


class Row(NamedTuple):
    name: str
    source: str
    claim: str
    state: str               # one of STATES
    because: str = ""        # of NEVER: why
    experiment: str = ""     # a name of catalogue.py, of this row alone
    home: str = ""           # where there is none: the function or class that is the formula
    departure: str = ""      # what differs from the claim

    @property
    def explained(self):
        """The state, and why it is no other."""
        return self.state + f", because {self.because}" * bool(self.because)

    @property
    def standing(self):
        """The same, and what differs."""
        return self.explained + f", but {self.departure}" * bool(self.departure)

    def as_json(self):
        """A row of ``--list --json``."""
        fields = self._asdict() | {"state": self.explained}
        del fields["because"]
        return fields


@functools.cache
def rows():
    """All rows, in the order of the file."""
    path = packaged("paper/claims.toml")
    return parse(path.read_text(encoding="utf-8"), path)


def parse(text, where):
    """Text of a claims.toml -> (Row, ...); UserError, with ``where``, for what is not as the file says."""
    try:
        found = tuple(row(name, fields) for name, fields in tomllib.loads(text).items())
        names = [name for r in found for name in {r.name, r.experiment} if name]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{min(twice)} is the name of two rows or experiments")
    except ValueError as e:                      # TOML's own errors are ValueErrors, too
        raise UserError(f"{where}: {e}") from None
    return found


def row(name, fields):
    """A table of the file -> Row; ValueError where it is not one."""
    if not isinstance(fields, dict) or not {"source", "claim", "state"} <= set(fields):
        raise ValueError(f"row {name}: expected a source, a claim and a state")
    if unknown := set(fields) - set(Row._fields[1:]):
        raise ValueError(f"row {name}: unknown field {min(unknown)!r}")
    for key, value in fields.items():
        if not isinstance(value, str) or not value.strip() or "\n" in value:
            raise ValueError(f"row {name}: {key}: expected one line of text")
    state = fields["state"]
    if state not in STATES:
        raise ValueError(f"row {name}: state {state!r}: expected one of {', '.join(STATES)}")
    if (state == NEVER) != ("because" in fields):
        raise ValueError(f"row {name}: because: expected with the state {NEVER!r}, and with no other")
    if "experiment" in fields and "home" in fields:
        raise ValueError(f"row {name}: expected an experiment or a home, not both")
    return Row(name, **fields)


def after(row, experiment, result):
    """The row as it stands after a run: what cannot be measured here another machine may measure."""
    measured = experiment.measured and experiment.measured(result)
    return row._replace(state=MEASURED, because="") if measured else row


def find(name):
    """The row of a name, or of an experiment's name; UserError for an unknown one."""
    for r in rows():
        if name and name in (r.name, r.experiment):
            return r
    known = [n for r in rows() for n in (r.name, r.experiment) if n]
    near = difflib.get_close_matches(name.lower(), known, 1)
    did_you_mean = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"no row is named {name!r}{did_you_mean} (python -m minibitnet.reproduce --list)")
