"""Multiple-choice items: does a model know who, whose, where, how many, and how it must end?

``items`` cuts stories right before a word that the text so far decides; the wrong choices are other words
of the same kind, which the story would be impossible with. ``read_jsonl`` reads items of other sources.
``score`` takes the choice that a model finds likeliest, as lm-evaluation-harness does: by summed
log-likelihood; and by log-likelihood per byte (there: per character).
"""
import json
import math
import re
from itertools import count
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..text.kinds import kind_of
from . import entropy, walk

# kind: (slot, form) of the words that decide; None is any.
KINDS = {
    "pronoun": [(None, "he"), (None, "him"), (None, "his")],
    "owner": [(None, "s")],
    "place": [("place", None)],
    "ending": [("deed", "did"), ("question", "answer"), ("mood", "now")],
    "count": [("number", None)],
}
PRONOUNS = {"he": ("he", "she", "it", "they"), "him": ("him", "her", "it", "them"),
            "his": ("his", "her", "its", "their")}
REST = re.compile(r'[^.!?]*[.!?]"?')     # of a sentence
N_CHOICES = 4


class Item(NamedTuple):
    context: str
    choices: tuple     # continuations, with the space that parts them from the context
    gold: int          # which choice is right
    named: tuple = ()  # which choices' words the context has said; unknown of items from files


# ---- from stories

def items(kind, seed, n):
    """n Items of one kind, a pure function of (kind, seed). Each place holds the right choice equally often
    (n a multiple of 4)."""
    if kind not in KINDS:
        raise UserError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    found, places = [], []
    for i in count():
        if len(found) == n:
            return found
        dice = walk.Dice(seed, i, *kind.encode())
        places = places or _shuffled(range(N_CHOICES), dice)
        item = _item(kind, walk.tell(dice), dice, places[-1])
        if item:
            found.append(item)
            places.pop()


def _item(kind, story, dice, gold):
    """An Item from this story, or None where it offers none."""
    mentions = [mention for mention in story.mentions if not mention.new and _decides(kind, mention)]
    if not mentions:
        return None
    mention = mentions[dice.below(len(mentions))]
    cut = mention.start - (story.text[mention.start - 1] == " ")
    after = REST.match(story.text, mention.end)[0]
    if kind == "pronoun" and after.startswith(" was"):
        return None                                       # "they was" would be wrong for another reason
    context, right = story.text[:cut], story.text[mention.start:mention.end]
    named = _named(context, capital=mention.form[0].isupper())
    words = [right, *_others(mention, right, named, dice)]
    choices = [story.text[cut:mention.start] + word + after for word in words]
    if len(choices) < N_CHOICES or any(entropy.log_likelihood(context, wrong) > -math.inf
                                       for wrong in choices[1:]):
        return None                                       # the story could also go on with a wrong one
    for of_words in (choices, words):
        of_words[0], of_words[gold] = of_words[gold], of_words[0]
    return Item(context, tuple(choices), gold, tuple(n for n, word in enumerate(words) if named(word)))


def _decides(kind, mention):
    form = mention.form[0].lower() + mention.form[1:]
    return any(slot in (None, mention.slot) and wanted in (None, form) for slot, wanted in KINDS[kind])


def _others(mention, right, named, dice):
    """Three other words of the right one's kind, first those that the story has named already."""
    form = mention.form.lower()
    column = PRONOUNS.get(form, mention.column)
    if mention.form != form and form in PRONOUNS:
        column = tuple(word.capitalize() for word in column)
    others = _shuffled((word for word in column if word != right), dice)
    return sorted(others, key=lambda word: not named(word))[:N_CHOICES - 1]


def _named(context, capital):
    """A function: has the context said the (last) word of a choice, Ada of "Ada's", lake of "by the lake"?
    capital: the choices begin a sentence, so that "Nine" is nine. (Only then: else "will" would name
    Will.)"""
    said = set(re.findall("[A-Za-z]+", context))

    def named(word):
        last = word.removesuffix("'s").split()[-1]
        return not said.isdisjoint({last, last.capitalize(), last.lower() if capital else last})
    return named


def _shuffled(things, dice):
    """In uniformly random order (Fisher and Yates)."""
    things = list(things)
    for i in range(len(things) - 1, 0, -1):
        j = dice.below(i + 1)
        things[i], things[j] = things[j], things[i]
    return things


def ceiling(from_stories):
    """The accuracy of the stories' true distribution: what no model can beat but by luck."""
    return score(from_stories, lambda context, choices: [entropy.log_likelihood(context, choice)
                                                         for choice in choices]).accuracy


def guess(from_stories):
    """The accuracy of a guess among the choices that each story has named (among all, where it has named
    none): what remembering the words alone gives, without who owns what or how many are left."""
    return sum(_chance_of(item.gold, item.named or range(len(item.choices)))
               for item in from_stories) / len(from_stories)


def _chance_of(gold, choices):
    return (gold in choices) / len(choices)


# ---- from files

def read_jsonl(path):
    """Items of a file with one JSON object a line: the context as ``ctx``, ``query``, ``goal`` or
    ``question``; ``choices`` or ``endings`` (a list, or {"text": [...], "label": [...]}) or ``sol1`` and
    ``sol2``; the right one as ``gold``, ``label``, ``answer`` or ``answerKey``: a number from 0, its
    digits, a letter from A, or one of the labels."""
    expected = "expected a file of multiple-choice items, one JSON object a line"
    if Path(path).exists() and not Path(path).is_file():      # a FIFO would be waited for without end
        raise UserError(f"{path}: {expected}")
    try:
        raw = Path(path).read_bytes()
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}; {expected}") from None
    if kind := kind_of(raw):
        raise UserError(f"{path} is {kind}")
    try:
        lines = raw.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 at byte {e.start}") from None
    read = [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not read:
        raise UserError(f"{path} is {'blank' if raw else 'empty'}: expected one JSON object a line")
    return read


def _parsed(line, where):
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError(f"{where}: not JSON: {line[:40]!r}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{where}: expected a JSON object, got {line[:40]!r}")
    context = _field(fields, where, "ctx", "query", "goal", "question")
    if "sol1" in fields and "sol2" in fields:
        choices = [fields["sol1"], fields["sol2"]]
    else:
        choices = _field(fields, where, "choices", "endings")
    labels = None
    if isinstance(choices, dict):
        choices, labels = choices.get("text"), choices.get("label")
    texts = isinstance(context, str) and isinstance(choices, list) and all(
        isinstance(choice, str) and choice.strip() for choice in choices)
    if not texts or len(choices) < 2:
        raise UserError(f"{where}: expected a text and at least two choices, which are texts")
    if any("\ud800" <= character <= "\udfff" for text in (context, *choices) for character in text):
        raise UserError(f"{where}: half a surrogate pair (\\ud800 to \\udfff), which is no character: "
                        f"expected text that UTF-8 can write")
    answer = _field(fields, where, "gold", "label", "answer", "answerKey")
    gold = _place(answer, labels, len(choices))
    if gold is None:
        raise UserError(f"{where}: the answer {answer!r} is none of the {len(choices)} choices")
    space = "" if not context or context[-1].isspace() else " "
    return Item(context, tuple(choice if choice[0].isspace() else space + choice for choice in choices), gold)


def _field(fields, where, *names):
    for name in names:
        if name in fields:
            return fields[name]
    raise UserError(f"{where}: none of the keys {', '.join(names)} is there; it has "
                    f"{', '.join(fields)[:80] or 'no keys'}")


def _place(answer, labels, n):
    """A number, its digits, a letter or a label -> the number of the choice, or None."""
    if isinstance(answer, bool):
        return None
    if isinstance(labels, list):
        place = list(map(str, labels)).index(str(answer)) if str(answer) in map(str, labels) else None
    elif isinstance(answer, str) and re.fullmatch("[0-9]+", answer):
        place = int(answer)
    elif isinstance(answer, str) and re.fullmatch("[A-Za-z]", answer):
        place = ord(answer.upper()) - ord("A")
    else:
        place = answer
    return place if type(place) is int and 0 <= place < n else None


# ---- scoring

class Score(NamedTuple):
    """Shares of the items that were answered right, and their standard errors, sqrt(p (1 - p) / n)."""
    accuracy: float             # the likeliest choice
    standard_error: float
    accuracy_norm: float        # the choice likeliest per byte
    standard_error_norm: float
    chance: float
    n: int


def score(scored, log_likelihoods):
    """Items, (context, choices) -> [log p(choice | context), ...]  ->  Score. Of equally likely choices the
    first counts, and a choice's length is its bytes in UTF-8, without the space before it
    (lm-evaluation-harness counts characters)."""
    if not scored:
        raise UserError("no items to score")
    right = right_norm = 0
    for item in scored:
        summed = list(log_likelihoods(item.context, item.choices))
        per_byte = [total / len(choice.strip().encode()) for total, choice in zip(summed, item.choices)]
        right += summed.index(max(summed)) == item.gold
        right_norm += per_byte.index(max(per_byte)) == item.gold
    n = len(scored)
    chance = sum(1 / len(item.choices) for item in scored) / n
    return Score(*_share(right, n), *_share(right_norm, n), chance, n)


def _share(k, n):
    """k of n -> (p, its standard error)"""
    p = k / n
    return p, math.sqrt(p * (1 - p) / n)
