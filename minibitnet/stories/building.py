"""The grammar as a tree, read from the rules' text.

A sequence is a tuple of elements; an element is a str, a Copy, a Draw or a Branch. The options of a choice
are told apart by the text that follows: none can begin with the text that decides for another (a prefix
code). ``_decided`` proves it for every choice when the grammar is built: so different choices make different
texts, and a text can be read back. The notation of the rules is in ``storybook.py``.
"""
import re
from collections import deque
from functools import cache
from itertools import groupby, permutations, product, takewhile
from os.path import commonprefix
from typing import NamedTuple

from ..exact import log
from .storybook import RULES, WORDS


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
    """Choose option i with probability weights[i] / total. Its text is leads[i], which decides for it, then
    rests[i]."""
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
    """Text of rules, {list: {form: texts}} -> the sequence of rule ``start``; GrammarError where it could
    not be read back."""
    return _Builder(rules, words).rule(start, {})


class _Builder:
    """Recursive descent over a rule's text. scope: {name: (slot, its word list, the form that the bare name
    says)}."""
    TOKEN = re.compile(r"//|\d+\*|[\[|\]]|\{[^{}]*\}|<[^<>]*>|[^\[|\]{}<>/]+")

    def __init__(self, rules, words):
        blocks = re.findall(r"^(\w+):\n((?: +.*\n)+)", rules, re.MULTILINE)
        self.words, self.rules = words, {name: re.sub(r" (?=\|)| ?(//) ?", r"\1", " ".join(text.split()))
                                         for name, text in blocks}

    def rule(self, name, scope):
        if name not in self.rules:
            raise GrammarError(f"there is no rule {name!r}")
        tokens = deque(self.TOKEN.findall(self.rules[name]))
        if "".join(tokens) != self.rules[name]:
            raise GrammarError(f"rule {name!r}: a brace or an angle is not closed, or a / stands alone")
        elements = self.sequence(tokens, scope, name)
        if tokens:
            raise GrammarError(f"rule {name!r}: unexpected {tokens[0]!r}")
        return elements

    def sequence(self, tokens, scope, rule):
        elements = []
        while tokens and tokens[0] not in ("|", "]"):
            token = tokens.popleft()
            if token == "[":
                elements.append(self.branch(tokens, scope, rule))
            elif token[0] == "{" and "=" in token:
                elements.append(self.draw(*token[1:-1].split("="), scope, rule))
            elif token[0] == "{":
                elements.append(Copy(*self.remembered(token[1:-1], scope, rule)))
            elif token[0] == "<":
                called, *names = token[1:-1].split()
                for name, old in (pair.split("=") for pair in names):
                    scope[name] = self.remembered(old, scope, rule)[:3]
                elements.extend(self.rule(called, scope))
            else:
                elements.append("\n" if token == "//" else token)
        return _merge(elements)

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
        scope.update({name: held
                      for name, held in scopes[0].items()
                      if all(other.get(name) == held for other in scopes)})
        leads, rests = zip(*_cut(options, rule))
        return Branch(rule, tuple(weights), tuple(log(sum(weights) / weight) for weight in weights), leads,
                      rests)


def _merge(elements):
    """Neighbouring strings become one."""
    merged = []
    for text, group in groupby(elements, type):
        neighbours = list(group)
        merged += ["".join(neighbours)] if text is str else neighbours
    return tuple(element for element in merged if element != "")


def _cut(options, rule):
    """Each option -> (lead, rest), where no other option can begin with the lead's text."""
    heads = [tuple(_atoms(option)) for option in options]
    for i, (option, head) in enumerate(zip(options, heads)):
        n = max((_decided(head, other, rule) for other in heads[:i] + heads[i + 1:]), default=0)
        yield _merge(head[:n]), _merge((*head[n:], *option[len(_opening(option)):]))


def _opening(option):
    """The elements of an option before its first choice."""
    return tuple(takewhile(lambda element: isinstance(element, (str, Copy)), option))


def _atoms(option):
    """The characters and copies of the opening."""
    for element in _opening(option):
        yield from element if isinstance(element, str) else [element]


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
            raise GrammarError(f"rule {rule!r}: options that begin {_show(head)!r} and {_show(other)!r} are "
                               f"not told apart: {text!r}, {other_text!r}")
        shared = max(shared, len(commonprefix([text, other_text])))
    return n + 1 if isinstance(a, Copy) else n + 1 + shared


def _spelled(atoms):
    """(number, text) of all that a first copy may say, or else the characters up to the next copy."""
    characters = "".join(takewhile(lambda atom: isinstance(atom, str), atoms))
    return list(enumerate([characters] if characters else atoms[0].column))


def _show(atoms):
    return "".join(atom if isinstance(atom, str) else f"{{{atom.slot}.{atom.form}}}" for atom in atoms[:40])
