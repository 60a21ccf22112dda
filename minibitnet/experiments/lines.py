"""What an experiment is, and what it says: Lines and paragraphs of text; the first Line sums up its row."""
from collections.abc import Callable, Iterator
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


class Experiment(NamedTuple):
    """What runs behind a row of claims.toml. A result is whatever JSON holds."""
    quick: Callable[[], dict]                            # at most a minute, live
    in_words: Callable[[dict], Iterator[Line | str]]
    full: Callable | None = None         # progress, which is like tqdm -> the result that data/results/ holds
    figure: Callable | None = None       # result, path -> is it drawn? Not where matplotlib is absent
    measured: Callable | None = None     # result -> could this machine measure it? See ``claims.after``


def as_text(line):
    """A Line or a paragraph, for the terminal."""
    return " | ".join(line.cells) if isinstance(line, Line) else line
