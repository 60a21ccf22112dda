"""A language whose entropy is known exactly: short English stories, told by a grammar with a memory.

How can one know the entropy of a language? By making the language of choices that leave a trace:

1. A story is a sequence of choices, of a phrase [one|another] or of a word {hero=people}, and copies of earlier words. An
   option of weight w among options of total weight W has surprisal log(W / w) nats.
2. The options of a choice are told apart by the text that follows: none can begin with the text that decides for another (a
   prefix code; ``_decided`` proves it for every choice when the grammar is built). So different choices make different texts,
   ``read`` finds the choices of a text again, and
       -log p(document) = the sum of its choices' surprisals                                                      (``nats``)
3. A remembered word is only copied. Which one it was never decides how the story goes on, so the entropy of the source
   needs no average over 10^24 stories, only one walk over the grammar:
       H(a b ...) = H(a) + H(b) + ...    H([...]) = sum_i p_i (-log p_i + H(option i))    H({...}) = log n       (``expected``)

H is the floor: on fresh stories no model whatever needs fewer nats a document on average, with any tokenizer. What pulls a model
down to it is memory: names, pronouns, owners, places, numbers, promises return long after they were chosen, and then cost nothing.

One walk through the grammar, ``_Walker.walk``, serves the teller, who rolls dice at each choice, and the reader, who looks at the text.
The words and rules, with their notation, are in ``storybook.py``.
"""
import math
import re
from collections import deque
from functools import cache
from itertools import count, groupby, permutations, product, takewhile
from os.path import commonprefix
from typing import NamedTuple

import numpy as np
from numpy.random import PCG64

from ..errors import UserError
from ..exact import log
from .storybook import RULES, WORDS

END = "\n<|endoftext|>\n"       # follows every document of a corpus


class Choice(NamedTuple):
    """One choice of a story: option number ``option`` of the place ``name``, at -log p = ``nats``. The first ``end``
    characters of the text are enough to know it. Along the text only *cumulative* sums are bounds: the choices with
    end <= n cost at most -log p(first n characters), which ``prefix_nats`` gives exactly; on average over documents no
    model needs less. (On one document a model may: it has luck where it expects too much of what then comes.)"""
    name: str
    option: int
    nats: float
    end: int


class Mention(NamedTuple):
    """text[start:end] says a form of the word remembered as ``slot``, from the list ``words``: one of ``column``. ``new``: it
    is drawn here."""
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
        """A uniform whole number in [0, n): the next word mod n, where a word of the last, incomplete n-tuple is thrown away."""
        while True:
            if not self._words:
                self._words = self._bits.random_raw(64).tolist()[::-1]
            word = self._words.pop()
            if word < 2**64 - 2**64 % n:
                return word % n


# ---- the grammar as a tree ------------------------------------------------------------------------------------------
# A sequence is a tuple of parts; a part is a str, a Copy, a Draw or a Branch.

class Copy(NamedTuple):
    """Say a form of a remembered word; ``column`` has the form's text for each word of the list ``words``."""
    slot: str
    words: str
    form: str
    column: tuple


class Draw(NamedTuple):
    """Draw a word, uniform over those of the list that no slot in ``taken`` holds; say and remember it."""
    slot: str
    words: str
    form: str
    column: tuple
    taken: tuple
    nats: float


class Branch(NamedTuple):
    """Choose option i with probability weights[i] / total. Its text is leads[i], which decides for it, then rests[i]."""
    name: str
    weights: tuple
    nats: tuple        # -log(weight / total) of each option
    leads: tuple       # sequences of str and Copy only
    rests: tuple


class GrammarError(ValueError):
    """The rules do not make a readable language; the message names the rule."""


@cache
def grammar():
    """The stories' grammar as one sequence."""
    return build(RULES, WORDS)


def build(rules, words, start="story"):
    """Text of rules, {list: {form: texts}} -> the sequence of rule ``start``; GrammarError where it could not be read back."""
    return _Builder(rules, words).rule(start, {})


class _Builder:
    """Recursive descent over a rule's text. scope: {name: (slot, its word list, the form that the bare name says)}."""
    TOKEN = re.compile(r"//|\d+\*|[\[|\]]|\{[^{}]*\}|<[^<>]*>|[^\[|\]{}<>/]+")

    def __init__(self, rules, words):
        blocks = re.findall(r"^(\w+):\n((?: +.*\n)+)", rules, re.MULTILINE)
        self.words, self.rules = words, {name: re.sub(r" (?=\|)| ?(//) ?", r"\1", " ".join(text.split())) for name, text in blocks}

    def rule(self, name, scope):
        if name not in self.rules:
            raise GrammarError(f"there is no rule {name!r}")
        tokens = deque(self.TOKEN.findall(self.rules[name]))
        if "".join(tokens) != self.rules[name]:
            raise GrammarError(f"rule {name!r}: a brace or an angle is not closed, or a / stands alone")
        parts = self.sequence(tokens, scope, name)
        if tokens:
            raise GrammarError(f"rule {name!r}: unexpected {tokens[0]!r}")
        return parts

    def sequence(self, tokens, scope, rule):
        parts = []
        while tokens and tokens[0] not in ("|", "]"):
            token = tokens.popleft()
            if token == "[":
                parts.append(self.branch(tokens, scope, rule))
            elif token[0] == "{" and "=" in token:
                parts.append(self.draw(*token[1:-1].split("="), scope, rule))
            elif token[0] == "{":
                parts.append(Copy(*self.remembered(token[1:-1], scope, rule)))
            elif token[0] == "<":
                called, *names = token[1:-1].split()
                for name, old in (pair.split("=") for pair in names):
                    scope[name] = self.remembered(old, scope, rule)[:3]
                parts.extend(self.rule(called, scope))
            else:
                parts.append("\n" if token == "//" else token)
        return _merge(parts)

    def draw(self, slot, words, scope, rule):             # hero=people.intro
        words, _, form = words.partition(".")
        if slot in scope:
            raise GrammarError(f"rule {rule!r}: {slot!r} already holds a word")
        taken = tuple(sorted({other for other, listed, _ in scope.values() if listed == words}))
        form, column = self.column(words, form, rule)
        for text, other in permutations(column, 2):
            if other.startswith(text):
                raise GrammarError(f"rule {rule!r}: of the words {words!r}, {other!r} begins with {text!r}")
        scope[slot] = slot, words, ""
        return Draw(slot, words, form, column, taken, log(len(column) - len(taken)))

    def remembered(self, name, scope, rule):              # hero.his -> slot, words, form, column
        name, _, form = name.partition(".")
        small = name[0].lower() + name[1:]
        if small in scope:
            slot, words, default = scope[small]
            form = form or default or next(iter(self.words[words]))
            form = form if name == small else form[0].upper() + form[1:]
        elif "hero" in scope:
            (slot, words, _), form = scope["hero"], name
        else:
            raise GrammarError(f"rule {rule!r}: {name!r} is not remembered here")
        return slot, words, *self.column(words, form, rule)

    def column(self, words, form, rule):
        """The texts of a form; with a capital, where only the small form is listed."""
        forms = self.words.get(words, {})
        form = form or next(iter(forms), "")
        small = form[:1].lower() + form[1:]
        if small not in forms:
            raise GrammarError(f"rule {rule!r}: the words {words!r} have no form {form!r}")
        return form, tuple(text if form == small else text[0].upper() + text[1:] for text in forms[small])

    def branch(self, tokens, scope, rule):
        weights, options, scopes, mark = [], [], [], "|"
        while mark == "|":
            weights.append(int(tokens.popleft()[:-1]) if tokens and tokens[0][-1] == "*" else 1)
            scopes.append(dict(scope))
            options.append(self.sequence(tokens, scopes[-1], rule))
            if not tokens:
                raise GrammarError(f"rule {rule!r}: a choice is not closed")
            mark = tokens.popleft()
        scope.update({name: held for name, held in scopes[0].items() if all(other.get(name) == held for other in scopes)})
        leads, rests = zip(*_cut(options, rule))
        return Branch(rule, tuple(weights), tuple(log(sum(weights) / weight) for weight in weights), leads, rests)


def _merge(parts):
    """Neighbouring strings become one."""
    merged = []
    for text, group in groupby(parts, type):
        merged.extend(["".join(group)] if text is str else group)
    return tuple(part for part in merged if part != "")


def _cut(options, rule):
    """Each option -> (lead, rest), where no other option can begin with the lead's text."""
    heads = [tuple(_atoms(option)) for option in options]
    for i, (option, head) in enumerate(zip(options, heads)):
        n = max((_decided(head, other, rule) for other in heads[:i] + heads[i + 1:]), default=0)
        yield _merge(head[:n]), _merge((*head[n:], *option[len(_opening(option)):]))


def _opening(option):
    """The parts of an option before its first choice."""
    return tuple(takewhile(lambda part: isinstance(part, (str, Copy)), option))


def _atoms(option):
    """The characters and copies of the opening."""
    for part in _opening(option):
        yield from part if isinstance(part, str) else [part]


def _decided(head, other, rule):
    """How many atoms of head tell it from the other head, whatever words are remembered."""
    for n, (a, b) in enumerate(zip(head, other)):
        if a != b:
            break
    else:
        raise GrammarError(f"rule {rule!r}: an option begins as another one does, {_show(head)!r}")
    shared = 0
    for (i, text), (j, other_text) in product(_spelled(head[n:]), _spelled(other[n:])):
        if isinstance(a, Copy) and isinstance(b, Copy) and a.slot != b.slot and (a.words, i) == (b.words, j):
            continue                                      # two slots never hold one word
        if text.startswith(other_text) or other_text.startswith(text):
            raise GrammarError(f"rule {rule!r}: options that begin {_show(head)!r} and {_show(other)!r} are not told apart: "
                               f"{text!r}, {other_text!r}")
        shared = max(shared, len(commonprefix([text, other_text])))
    return n + 1 if isinstance(a, Copy) else n + 1 + shared


def _spelled(atoms):
    """(number, text) of all that a first copy may say, or else the characters up to the next copy."""
    characters = "".join(takewhile(lambda atom: isinstance(atom, str), atoms))
    return list(enumerate([characters] if characters else atoms[0].column))


def _show(atoms):
    return "".join(atom if isinstance(atom, str) else f"{{{atom.slot}.{atom.form}}}" for atom in atoms[:40])


# ---- one walk, two walkers --------------------------------------------------------------------------------------------

class _Walker:
    """Goes through a sequence and notes what was chosen and mentioned; ``say``, ``branch`` and ``draw`` are its two kinds' own."""

    def __init__(self):
        self.at, self.memory, self.choices, self.mentions = 0, {}, [], []     # memory: {slot: number of its word in the list}

    def walk(self, sequence):
        for part in sequence:
            kind = type(part)
            if kind is str:
                self.say(part)
            elif kind is Copy:
                start = self.at
                self.say(part.column[self.memory[part.slot]])
                self.mentions.append(Mention(*part, start, self.at, False))
            elif kind is Draw:
                start = self.at
                word = self.memory[part.slot] = self.draw(part)
                self.say(part.column[word])
                self.choices.append(Choice(part.slot, word, part.nats, self.at))
                self.mentions.append(Mention(*part[:4], start, self.at, True))
            else:
                option = self.branch(part)
                self.walk(part.leads[option])
                self.choices.append(Choice(part.name, option, part.nats[option], self.at))
                self.walk(part.rests[option])


class _Teller(_Walker):
    """Rolls dice and says what they choose."""

    def __init__(self, dice):
        super().__init__()
        self.below, self.said = dice.below, []

    def say(self, text):
        self.said.append(text)
        self.at += len(text)

    def draw(self, part):
        word = self.below(len(part.column) - len(part.taken))
        for held in sorted(self.memory[slot] for slot in part.taken):        # count over those that are not held
            word += word >= held
        return word

    def branch(self, part):
        ticket = self.below(sum(part.weights))
        for option, weight in enumerate(part.weights):
            if ticket < weight:
                return option
            ticket -= weight


class _TextEnds(Exception):
    """The text ends inside a story; nats: -log of the chance that the choice at its end goes on as the text does."""

    def __init__(self, nats=0.0):
        self.nats = nats


class _Reader(_Walker):
    """Follows a text and finds what it chose."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def say(self, text):
        if not self.text.startswith(text, self.at):
            self.one_of([text], [1])
        self.at += len(text)

    def draw(self, part):
        held = {self.memory[slot] for slot in part.taken}
        return self.one_of(part.column, [word not in held for word in range(len(part.column))])

    def branch(self, part):
        return self.one_of(["".join(piece if type(piece) is str else piece.column[self.memory[piece.slot]] for piece in lead)
                            for lead in part.leads], part.weights)

    def one_of(self, openings, weights):
        """The option of which the text has the opening: at most one, because they decide."""
        for option, opening in enumerate(openings):
            if weights[option] and self.text.startswith(opening, self.at):
                return option
        rest = self.text[self.at:]
        possible = sum(weight for opening, weight in zip(openings, weights) if opening.startswith(rest))
        if possible:
            raise _TextEnds(log(sum(weights) / possible))
        known = max(len(commonprefix([opening, rest])) for opening in openings)
        expected = " or ".join(repr(opening) for opening in openings[:3]) + " or ..." * (len(openings) > 3)
        raise UserError(f"character {self.at + known}: no story goes on with {rest[:known + 20]!r} after {self.text[:self.at][-20:]!r}; "
                        f"expected {expected}")


# ---- what can be asked of the language ---------------------------------------------------------------------------------
# ``language``: a sequence made by ``build``; the stories' own where none is given.

def tell(dice, language=None):
    """Tell a Story, each choice by a throw of the dice."""
    teller = _Teller(dice)
    teller.walk(language or grammar())
    return Story("".join(teller.said), tuple(teller.choices), tuple(teller.mentions))


def retell(text, language=None):
    """The Story of a text; UserError names the place from which on the grammar cannot have produced it."""
    reader = _Reader(text)
    try:
        reader.walk(language or grammar())
    except _TextEnds:
        raise UserError(f"character {len(text)}: the text ends before the story does") from None
    if reader.at < len(text):
        raise UserError(f"character {reader.at}: the story is over, but the text goes on with {text[reader.at:reader.at + 20]!r}")
    return Story(text, tuple(reader.choices), tuple(reader.mentions))


def read(text, language=None):
    """The choices that made a text."""
    return retell(text, language).choices


def nats(text, language=None):
    """-log p(document): the floor of this document."""
    return math.fsum(choice.nats for choice in read(text, language))


def floor(texts):
    """The sum of the documents' floors; None if there is one that no story can be."""
    try:
        return math.fsum(map(nats, texts))
    except UserError:
        return None


def along(text, ends, language=None):
    """The floor along a document: each choice's nats, given to the piece of text that completes it. ends: where the pieces (tokens, say)
    end, in characters, rising to len(text) -> one number a piece. Only the cumulative sums are bounds, for a model may know half of a choice
    one piece earlier, and only on average over documents: on a single one a model may be lucky."""
    spent = np.zeros(len(ends))
    for choice in read(text, language):
        spent[np.searchsorted(ends, choice.end)] += choice.nats
    return spent


def prefix_nats(text, language=None):
    """-log p(a document begins with this text), exactly; infinite where none does. What it gains over a piece of text is
    the true distribution's loss on that piece, hence on any tokenizer's token. All choices before the last are decided, and
    at the last one the chances of all options that go on as the text does add up."""
    reader = _Reader(text)
    try:
        reader.walk(language or grammar())
    except _TextEnds as end:
        return math.fsum(choice.nats for choice in reader.choices) + end.nats
    except UserError:
        return math.inf
    return math.fsum(choice.nats for choice in reader.choices) if reader.at == len(text) else math.inf


def log_likelihood(context, continuation):
    """log p(the document goes on with continuation | it begins with context), of the true distribution."""
    return prefix_nats(context) - prefix_nats(context + continuation)


class Expectation(NamedTuple):
    """Exact means over all documents; that of the nats is the entropy of the source."""
    nats: float
    characters: float
    words: float


@cache
def expected(language=None):
    """The expectations over all documents, by one walk over the grammar (3. of the module's docstring)."""
    nats, characters, spaces = _expected(language or grammar()).tolist()
    return Expectation(nats, characters, spaces + 1)


def _expected(sequence):
    """(nats, characters, white space) that a sequence adds on average. A remembered word is uniform over its list (drawing
    without replacement changes nothing, by symmetry), so a copy adds the average of its column."""
    total = np.zeros(3)
    for part in sequence:
        if isinstance(part, Branch):
            for weight, nats, lead, rest in zip(part.weights, part.nats, part.leads, part.rests):
                total += weight / sum(part.weights) * ((nats, 0, 0) + _expected(lead) + _expected(rest))
        else:
            texts = [part] if isinstance(part, str) else part.column
            nats = part.nats if isinstance(part, Draw) else 0
            total += nats, sum(map(len, texts)) / len(texts), sum(sum(map(str.isspace, text)) for text in texts) / len(texts)
    return total


def stories(seed):
    """Stories without end; story i of seed s is a pure function of (s, i)."""
    return (tell(Dice(seed, i)) for i in count())


def corpus(seed, size):
    """The first stories of a seed, each followed by a line <|endoftext|>, as many as fit into ``size`` bytes of ASCII."""
    documents, room = [], size
    for story in stories(seed):
        room -= len(story.text) + len(END)
        if room < 0:
            return "".join(documents)
        documents.append(story.text + END)
