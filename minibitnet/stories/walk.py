"""One walk through the grammar for two walkers: the teller, who rolls dice at each choice, and the reader,
who looks at the text.

``language`` is a sequence made by ``building.build``; the stories' own where none is given.
"""
from itertools import count
from os.path import commonprefix
from typing import NamedTuple

from numpy.random import PCG64

from ..errors import UserError
from ..exact import log
from . import building
from .building import Copy, Draw

SEPARATOR = "\n<|endoftext|>\n"       # follows every document of a corpus


class Choice(NamedTuple):
    """One choice of a story: option number ``option`` of the place ``name``, at -log p = ``nats``. The
    first ``end`` characters of the text are enough to know it. Along the text only *cumulative* sums are
    bounds: the choices with end <= n cost at most -log p(first n characters), which ``prefix_nats`` gives
    exactly; on average over documents no model needs less. (On one document a model may: it has luck where
    it expects too much of what then comes.)"""
    name: str
    option: int
    nats: float
    end: int


class Mention(NamedTuple):
    """text[start:end] says a form of the word remembered as ``slot``, from the list ``words``: one of
    ``column``. ``new``: it is drawn here."""
    slot: str
    words: str
    form: str
    column: tuple
    start: int
    end: int
    new: bool


class Story(NamedTuple):
    text: str
    choices: tuple
    mentions: tuple


class Dice:
    """Fair dice from the raw 64-bit words of PCG64, whose stream is the same under every NumPy version."""

    def __init__(self, *seed):
        self._bits, self._words = PCG64(seed), []

    def below(self, n):
        """A uniform whole number in [0, n): the next word mod n, where a word of the last, incomplete
        n-tuple is thrown away."""
        while True:
            if not self._words:
                self._words = self._bits.random_raw(64).tolist()[::-1]
            word = self._words.pop()
            if word < 2**64 - 2**64 % n:
                return word % n


class _Walker:
    """Goes through a sequence and notes what was chosen and mentioned; ``say``, ``branch`` and ``draw`` are
    its two kinds' own."""

    def __init__(self):
        # memory: {slot: number of its word in the list}
        self.at, self.memory, self.choices, self.mentions = 0, {}, [], []

    def walk(self, sequence):
        for element in sequence:
            kind = type(element)
            if kind is str:
                self.say(element)
            elif kind is Copy:
                start = self.at
                self.say(element.column[self.memory[element.slot]])
                self.mentions.append(Mention(*element, start, self.at, False))
            elif kind is Draw:
                start = self.at
                word = self.memory[element.slot] = self.draw(element)
                self.say(element.column[word])
                self.choices.append(Choice(element.slot, word, element.nats, self.at))
                self.mentions.append(Mention(*element[:4], start, self.at, True))
            else:
                option = self.branch(element)
                self.walk(element.leads[option])
                self.choices.append(Choice(element.name, option, element.nats[option], self.at))
                self.walk(element.rests[option])


class _Teller(_Walker):
    """Rolls dice and says what they choose."""

    def __init__(self, dice):
        super().__init__()
        self.below, self.said = dice.below, []

    def say(self, text):
        self.said.append(text)
        self.at += len(text)

    def draw(self, element):
        word = self.below(len(element.column) - len(element.taken))
        # count over those that are not held
        for held in sorted(self.memory[slot] for slot in element.taken):
            word += word >= held
        return word

    def branch(self, element):
        ticket = self.below(sum(element.weights))
        for option, weight in enumerate(element.weights):
            if ticket < weight:
                return option
            ticket -= weight


class TextEnds(Exception):
    """The text ends inside a story; choices: those before; nats: -log of the chance that the choice at its
    end goes on as the text does."""

    def __init__(self, choices, nats):
        self.choices, self.nats = choices, nats


class Reader(_Walker):
    """Follows a text and finds what it chose."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def say(self, text):
        if not self.text.startswith(text, self.at):
            self.one_of([text], [1])
        self.at += len(text)

    def draw(self, element):
        held = {self.memory[slot] for slot in element.taken}
        return self.one_of(element.column, [word not in held for word in range(len(element.column))])

    def branch(self, element):
        return self.one_of(["".join(piece if type(piece) is str else piece.column[self.memory[piece.slot]]
                                    for piece in lead)
                            for lead in element.leads], element.weights)

    def one_of(self, openings, weights):
        """The option of which the text has the opening: at most one, because they decide."""
        for option, opening in enumerate(openings):
            if weights[option] and self.text.startswith(opening, self.at):
                return option
        rest = self.text[self.at:]
        possible = sum(weight for opening, weight in zip(openings, weights) if opening.startswith(rest))
        if possible:
            raise TextEnds(self.choices, log(sum(weights) / possible))
        known = max(len(commonprefix([opening, rest])) for opening in openings)
        expected = " or ".join(repr(opening) for opening in openings[:3]) + " or ..." * (len(openings) > 3)
        raise UserError(f"character {self.at + known}: no story goes on with {rest[:known + 20]!r} after "
                        f"{self.text[:self.at][-20:]!r}; expected {expected}")


# ---- stories and their choices

def tell(dice, language=None):
    """Tell a Story, each choice by a throw of the dice."""
    teller = _Teller(dice)
    teller.walk(language or building.grammar())
    return Story("".join(teller.said), tuple(teller.choices), tuple(teller.mentions))


def retell(text, language=None):
    """The Story of a text; UserError names the place from which on the grammar cannot have produced it."""
    try:
        reader = follow(text, language)
    except TextEnds:
        raise UserError(f"character {len(text)}: the text ends before the story does") from None
    return Story(text, tuple(reader.choices), tuple(reader.mentions))


def follow(text, language=None):
    """A Reader that has read a whole story; TextEnds where the text is only the beginning of one, UserError
    where it is none."""
    reader = Reader(text)
    reader.walk(language or building.grammar())
    if reader.at < len(text):
        raise UserError(f"character {reader.at}: the story is over, but the text goes on with "
                        f"{text[reader.at:reader.at + 20]!r}")
    return reader


def read(text, language=None):
    """The choices that made a text."""
    return retell(text, language).choices


def stories(seed, language=None):
    """Stories without end; story i of seed s is a pure function of (s, i)."""
    return (tell(Dice(seed, i), language) for i in count())


def corpus(seed, size, language=None):
    """The first stories of a seed, each followed by a line <|endoftext|>, as many as fit into ``size``
    bytes of ASCII."""
    documents, room = [], size
    for story in stories(seed, language):
        room -= len(story.text) + len(SEPARATOR)
        if room < 0:
            return "".join(documents)
        documents.append(story.text + SEPARATOR)
