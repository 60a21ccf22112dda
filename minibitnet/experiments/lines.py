"""What an experiment says: Lines, the first of which sums up its row, and paragraphs, which are text."""
from typing import NamedTuple


class Line(NamedTuple):
    """What a paper says beside what is found here, and at which scale."""
    paper: str
    here: str
    scale: str
    differs: bool = False               # does what is found here differ from what the paper says?

    @property
    def cells(self):
        return self.paper, self.here + " (differs)" * self.differs, self.scale


def as_text(line):
    """A Line or a paragraph, for the terminal."""
    return " | ".join(line.cells) if isinstance(line, Line) else line
