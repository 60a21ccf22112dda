"""The entropy of short English stories that a grammar with a memory tells, exactly.

How can one know the entropy of a language? By making the language of choices that leave a trace:

1. A story is a sequence of choices, of a phrase [one|another] or of a word {hero=people}, and copies of
   earlier words. An option of weight w among options of total weight W has surprisal log(W / w) nats.
2. The options of a choice are told apart by the text that follows: none can begin with the text that decides
   for another (a prefix code; ``building.py`` proves it for every choice). So different choices make
   different texts, ``read`` finds the choices of a text again, and
       -log p(document) = the sum of its choices' surprisals                               (``of_document``)
3. A remembered word is only copied. Which one it was never decides how the story goes on, so the entropy of
   the source needs no average over 10^24 stories, only one walk over the grammar:
       H(a b ...) = H(a) + H(b) + ...    H([...]) = sum_i p_i (-log p_i + H(option i))    H({...}) = log n
                                                                                              (``expected``)

H is the floor: on fresh stories no model whatever needs fewer nats a document on average, with any tokenizer.
What pulls a model down to it is memory: names, pronouns, owners, places, numbers, promises return long after
they were chosen, and then cost nothing.
"""
import math
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from . import building, pets
from .building import Branch, Draw
from .walk import TextEnds, follow, read


def of_document(text, language=None):
    """-log p(document): the floor of this document, in nats."""
    return math.fsum(choice.nats for choice in read(text, language))


def languages():
    """{name: language} of those whose entropy is known; the first is the one of every ``language=None``."""
    return {"stories": building.grammar(), "pets": pets.LANGUAGE}


def language_of(text):
    """The language that can tell a text; None if there is none."""
    for language in languages().values():
        try:
            read(text, language)
            return language
        except UserError:
            pass


def of_documents(texts):
    """The sum of the documents' floors, in the language of the first one; None if there is one that this
    language cannot tell."""
    texts = iter(texts)
    first = next(texts, "")
    language = language_of(first)
    try:
        return language and math.fsum(of_document(text, language) for text in chain([first], texts))
    except UserError:
        return None


def along(text, ends, language=None):
    """The floor along a document: each choice's nats, given to the piece of text that completes it. ends:
    where the pieces (tokens, say) end, in characters, rising to len(text) -> one number a piece. Only the
    cumulative sums are bounds, for a model may know half of a choice one piece earlier, and only on average
    over documents: on a single one a model may be lucky."""
    spent = np.zeros(len(ends))
    for choice in read(text, language):
        spent[np.searchsorted(ends, choice.end)] += choice.nats
    return spent


def prefix_nats(text, language=None):
    """-log p(a document begins with this text), exactly; infinite where none does. What it gains over a
    piece of text is the true distribution's loss on that piece, hence on any tokenizer's token. All choices
    before the last are decided, and at the last one the chances of all options that go on as the text does
    add up."""
    try:
        choices, nats_of_last = follow(text, language).choices, 0.0
    except TextEnds as end:
        choices, nats_of_last = end.choices, end.nats
    except UserError:
        return math.inf
    return math.fsum(choice.nats for choice in choices) + nats_of_last


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
    nats, characters, spaces = _expected(language or building.grammar()).tolist()
    return Expectation(nats, characters, spaces + 1)


def _expected(sequence):
    """(nats, characters, white space) that a sequence adds on average. A remembered word is uniform over
    its list (drawing without replacement changes nothing, by symmetry), so a copy adds the average of its
    column."""
    total = np.zeros(3)
    for element in sequence:
        if isinstance(element, Branch):
            for weight, nats, lead, rest in zip(element.weights, element.nats, element.leads, element.rests):
                total += weight / sum(element.weights) * ((nats, 0, 0) + _expected(lead) + _expected(rest))
        else:
            texts = [element] if isinstance(element, str) else element.column
            nats = element.nats if isinstance(element, Draw) else 0
            total += nats, sum(map(len, texts)) / len(texts), sum(sum(map(str.isspace, text))
                                                                  for text in texts) / len(texts)
    return total
