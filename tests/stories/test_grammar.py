import hashlib
import math
import re
from collections import Counter
from itertools import islice
from os.path import commonprefix

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.stories.building import GrammarError, build
from minibitnet.stories.entropy import along, expected, of_document, of_documents, prefix_nats
from minibitnet.stories.walk import SEPARATOR, Dice, corpus, read, retell, stories, tell
from minibitnet.stories.storybook import WORDS, table, with_article

PETS = build("""
story:
    {hero=people} had [3*a cat|two dogs]. {He} was glad.
""", {"people": table("name he", "Ann|she; Bob|he")})

RACE = build("""
story:
    {a=pets.a} and {b=pets.a} met {c=pets.a}. [2*{a} won|{b} won|{c} [3*ran home|fell][, and {b} laughed|.] <end last=b>]
end:
    Poor {last}! Why, [2*{last.a}|the {c}] {last} of {a}!
""", {"pets": with_article(table("name", "ox; cat; dog; ant"))})


class EveryThrow:
    """Dice that go through all sequences of throws, like the wheels of an odometer."""

    def __init__(self):
        self.throws, self.sides = [], []

    def below(self, n):
        if self.at == len(self.throws):
            self.throws.append(0), self.sides.append(n)
        self.at += 1
        return self.throws[self.at - 1]

    def every(self, language):
        """(story, probability of this sequence of throws), for all sequences."""
        while True:
            self.at = 0
            yield tell(self, language), 1 / math.prod(self.sides)
            while self.throws and self.throws[-1] + 1 == self.sides[-1]:
                self.throws.pop(), self.sides.pop()
            if not self.throws:
                return
            self.throws[-1] += 1


# ---- by pencil

def test_a_document_costs_the_sum_of_its_choices():
    """Ann or Bob, log 2; two dogs once in four, log 4; "She" follows from Ann: log 8. With a cat: log 2 +
    log 4/3."""
    choices = read("Ann had two dogs. She was glad.", PETS)
    assert [(c.name, c.option) for c in choices] == [("hero", 0), ("story", 1)]
    assert of_document("Ann had two dogs. She was glad.", PETS) == pytest.approx(math.log(8))
    assert of_document("Bob had a cat. He was glad.", PETS) == pytest.approx(math.log(8 / 3))


def test_the_entropy_is_the_mean_over_all_documents():
    """log 2 for the name, 3/4 log 4/3 + 1/4 log 4 for the pets. "Ann had " + "a cat" or "two dogs" + ". She
    was glad.": (5.75 + 8 + 14.5) letters."""
    assert expected(PETS).nats == pytest.approx(math.log(2) + 3 / 4 * math.log(4 / 3) + 1 / 4 * math.log(4))
    words = (3 * len("a cat") + len("two dogs")) / 4
    assert expected(PETS).characters == pytest.approx(len("Ann had ") + words + len(". ") + 2.5
                                                      + len(" was glad."))
    assert expected(PETS).words == 7


def test_a_choice_is_known_where_its_options_part():
    """After "Ann", and after "Ann had t": no cat begins with t."""
    assert [c.end for c in read("Ann had two dogs. She was glad.", PETS)] == [len("Ann"), len("Ann had t")]


def test_a_prefix_costs_what_it_leaves_no_doubt_about():
    """All stories begin with nothing; one in two with A; "Ann had" tells no more than "Ann"; then t has one
    chance in four."""
    assert prefix_nats("", PETS) == 0
    assert prefix_nats("A", PETS) == prefix_nats("Ann had ", PETS) == pytest.approx(math.log(2))
    assert prefix_nats("Ann had t", PETS) == of_document("Ann had two dogs. She was glad.", PETS)
    assert prefix_nats("Cid", PETS) == prefix_nats("Ann had two dogs. He", PETS) == math.inf


def test_a_walk_over_the_grammar_equals_the_sum_over_every_document():
    """All stories of RACE, one by one: probabilities add up to 1, no text comes twice, and the means are
    the expectations."""
    found = {}
    for story, p in EveryThrow().every(RACE):
        known, before = found.setdefault(story.text, (story, 0))
        assert known == story, "two sequences of choices made one text"
        found[story.text] = story, before + p
    p = np.array([chance for _, chance in found.values()])
    cost = np.array([math.fsum(c.nats for c in story.choices) for story, _ in found.values()])
    assert len(found) == 4 * 3 * 2 * (1 + 1 + 2 * 2 * 2) and p.sum() == pytest.approx(1)
    assert np.allclose(cost, -np.log(p), rtol=1e-12)
    assert p @ cost == pytest.approx(expected(RACE).nats, rel=1e-12)
    assert p @ [len(text) for text in found] == pytest.approx(expected(RACE).characters, rel=1e-12)
    assert p @ [len(text.split()) for text in found] == pytest.approx(expected(RACE).words, rel=1e-12)
    assert all(retell(text, RACE) == story for text, (story, _) in found.items())


# ---- what could not be read back is refused

FRIENDS = table("name he", "Ann|she; Eve|she; Bert|he")


@pytest.mark.parametrize("rule, message", [
    ("[a cat|a cat and a dog].", "an option begins as another one does, 'a cat'"),
    ("[a cat|a cat].", "an option begins as another one does"),
    ("[|a cat].", "an option begins as another one does"),
    ("[[a|the] cat|the dog].", "an option begins as another one does"),
    ("[{new=people} won|Bert won].", "an option begins as another one does"),
    ("{hero=people}: [{hero} sat|Bert sat].", "not told apart: 'Bert', 'Bert sat'"),
    ("{hero=people} {two=people}: [{hero.he} sat|{two.he} sat].", "not told apart: 'she', 'she'"),
    ("{hero=people.he} sat.", "of the words 'people', 'she' begins with 'she'"),
    ("{hero=prefixes} sat.", "of the words 'prefixes', 'Anna' begins with 'Ann'"),
    ("{hero=people} met {hero=people}.", "'hero' already holds a word"),
    ("[A {hero=people} sat|The {two=people} fell]. {two}", "'two' is not remembered"),
    ("{he} sat.", "'he' is not remembered"),
    ("{hero=people.age} sat.", "the words 'people' have no form 'age'"),
    ("a ] b", "unexpected ']'"),
    ("[a|b", "a choice is not closed"),
    ("{hero=people", "a brace or an angle is not closed"),
    ("{hero=people} {two=twins}: [{hero} sat|{two} sat].", "not told apart: 'Ann', 'Ann'"),
    ("<other>", "no rule 'other'"),
])
def test_rules_that_cannot_be_read_back_are_refused(rule, message):
    with pytest.raises(GrammarError, match=re.escape(message)):
        build(f"story:\n    {rule}\n", {"people": FRIENDS, "prefixes": table("name", "Ann; Anna"),
                                        "twins": FRIENDS})


@pytest.mark.parametrize("rule, n", [
    ("{hero=people}: [{hero} sat|{hero}a sat].", 6),
    ("{hero=people} {two=people}: [{hero} sat|{two} sat].", 12),        # two slots never hold one name
    # "Ap", "Ann", "Bed" and "Bert" part in time
    ("{hero=people}: [Ape|{hero}|Bed].", 9),
])
def test_rules_that_can_be_read_back_tell_each_text_once(rule, n):
    language = build(f"story:\n    {rule}\n", {"people": FRIENDS})
    texts = [story.text for story, _ in EveryThrow().every(language)]
    assert len(texts) == len(set(texts)) == n and all(retell(text, language).text == text for text in texts)


# ---- dice

def test_a_die_is_fair_because_the_last_incomplete_round_is_thrown_away():
    """2^64 = 6 x 3074457345618258602 + 4: of the 2^64 words the last four, which would favour 0 to 3, are
    passed over."""
    dice = Dice(0)
    dice._words = [13, 2**64 - 5, 2**64 - 4, 2**64 - 1]          # taken from the end
    assert dice.below(6) == (2**64 - 5) % 6 == 5
    assert dice.below(6) == 1


def test_stories_are_a_pure_function_of_seed_and_number():
    first = list(islice(stories(5), 4))
    assert first[3] == tell(Dice(5, 3)) and list(islice(stories(5), 2)) == first[:2]
    assert len({story.text for seed in range(4) for story in islice(stories(seed), 10)}) == 40


def test_the_bytes_are_the_same_everywhere():
    """The hash changes with the storybook, and with nothing else."""
    assert hashlib.sha256(corpus(0, 50_000).encode("ascii")).hexdigest()[:16] == "76903bbec63a8461"


# ---- the stories

@pytest.fixture(scope="module")
def sample():
    return list(islice(stories(0), 20_000))


def z(sample, mean):
    """By how many of its standard errors the sample's mean misses."""
    return (np.mean(sample) - mean) / (np.std(sample, ddof=1) / math.sqrt(len(sample)))


def test_twenty_thousand_stories_agree_with_the_exact_expectation(sample):
    """Within three standard errors; a figure that is off by one half of a percent is seen."""
    cost = [math.fsum(c.nats for c in story.choices) for story in sample]
    print(f"{np.mean(cost):.3f} nats of the sample, {expected().nats:.3f} expected, z = "
          f"{z(cost, expected().nats):.2f}")
    assert abs(z(cost, expected().nats)) < 3
    assert abs(z(cost, expected().nats * 1.005)) > 3
    assert abs(z([len(story.text) for story in sample], expected().characters)) < 3
    assert abs(z([len(story.text.split()) for story in sample], expected().words)) < 3


def test_stories_are_read_back_to_the_choices_that_made_them(sample):
    for story in sample[:3000]:
        assert retell(story.text) == story
    assert len({story.text for story in sample}) == len(sample)


def test_they_are_worth_modelling(sample):
    """At least 600 words, documents of 80 to 250, seven shapes alike in number."""
    words = {word for story in sample for word in re.findall("[a-z]+", story.text.lower())}
    lengths = [len(story.text.split()) for story in sample]
    shapes = Counter(next(c.option for c in story.choices if c.name == "story") for story in sample)
    assert len(words) >= 600 and min(lengths) >= 80 and max(lengths) <= 250
    assert len(shapes) == 7 and all(abs(n - 20_000 / 7) < 4 * math.sqrt(20_000 / 7) for n in shapes.values())


def test_every_form_of_every_word_is_said(sample):
    said = {(m.words, m.form[0].lower() + m.form[1:]) for story in sample[:3000] for m in story.mentions}
    assert said == {(words, form) for words, forms in WORDS.items() for form in forms}


def test_they_are_clean_ascii_with_the_right_article(sample):
    for story in sample:
        assert story.text.isascii() and not re.search(r" [ .,!?\n]|\n[ \n]|[.,!?][.,]|[\[\]{}<>|/*]|\d",
                                                      story.text), story.text
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", story.text), story.text
        assert story.text[-1] in '.!?"' and story.text.count('"') % 2 == 0
        assert not re.search(r'(^|[.!?\n] ?)"?[a-z]', story.text), story.text


FAR = {"name and pronoun": {"hero"}, "owner": {"first", "second", "mine", "other", "third"},
       "place": {"place"}, "promise": {"deed"},
       "question": {"question"}, "counting": {"number"}, "order": {"a", "b", "c"}, "mood": {"mood"},
       "wish": {"color", "thing"}}


@pytest.mark.parametrize("kind", FAR)
def test_what_was_said_returns_long_after(kind, sample):
    """Every kind of dependency spans 30 words or more, in at least one story of ten; a word that is said
    again cost nothing."""
    spans = []
    for story in sample[:1000]:
        drawn = {m.slot: m.end for m in story.mentions if m.new}
        spans.append(max((len(story.text[drawn[m.slot]:m.start].split())
                          for m in story.mentions if not m.new and m.slot in FAR[kind]), default=0))
    assert np.mean(np.array(spans) >= 30) > 0.1


STORY = """Once there lived a gentle boy named Sam, who knew how to skip stones. On a sunny Sunday he wandered to the \
orchard. He was angry and stamped.
"Can you sweep the floor today?" the nurse had asked him. "Yes, I promise," he had answered.
But in the orchard he noticed a little goose, and they chased butterflies. "Oh, I must sweep the floor!" cried Sam.
He raced back through the fields and swept the floor, just as he had promised. "Thank you, Sam," said the nurse \
and gave him a slice of cake.
Sam came home peaceful, not angry. What a gentle boy!"""


@pytest.mark.parametrize("old, new", [
    ("Sam came home", "Rob came home"), ("gave him", "gave her"), ("swept the floor", "swept the door"),
    ("said the nurse", "said the miller"),
    ("But in the orchard", "But by the lake"), ("home peaceful", "home calm"),
    ("a gentle boy", "a brave boy"), ("gentle boy!", "gentle girl!"),
    ("Thank you", "Thanks"), ("boy named Sam", "boy named Urs"), ("Once there", "Once their")])
def test_what_no_story_says_is_named_with_its_place(old, new):
    at = STORY.rindex(old)
    with pytest.raises(UserError, match=rf"character {at + len(commonprefix([old, new]))}: "):
        read(STORY[:at] + new + STORY[at + len(old):])


def test_a_story_without_its_end_or_with_more_is_none():
    with pytest.raises(UserError, match=f"character {len(STORY) - 1}: the text ends before the story does"):
        read(STORY[:-1])
    with pytest.raises(UserError, match=f"character {len(STORY)}: the story is over, but the text goes on "
                                        f"with ' And'"):
        read(STORY + " And")
    with pytest.raises(UserError, match="character 0: "):
        read("")


# ---- the floor along the text

def test_the_next_character_always_has_probability_one_in_all(sample):
    """The sum over all characters c of p(text + c) is p(text), at each place of a story but its end."""
    alphabet = sorted(set("".join(story.text for story in sample[:2000])))
    for story in sample[:2]:
        for n in range(0, len(story.text), 11):
            p = [math.exp(prefix_nats(story.text[:n]) - prefix_nats(story.text[:n] + c)) for c in alphabet]
            assert sum(p) == pytest.approx(1, abs=1e-9), story.text[:n]


def test_choices_that_are_known_bound_the_text_from_below(sample):
    """The choices with end <= n cost at most -log p(first n characters), and all of them exactly -log
    p(document)."""
    for story in sample[:20]:
        along = [prefix_nats(story.text[:n]) for n in range(len(story.text) + 1)]
        assert (np.diff(along) > -1e-9).all() and along[-1] == pytest.approx(of_document(story.text))
        known = np.zeros(len(along))
        for choice in story.choices:
            known[choice.end:] += choice.nats
        assert (known <= np.array(along) + 1e-9).all() and known[-1] == pytest.approx(along[-1])


# ---- a corpus

def test_a_corpus_is_whole_stories_each_with_its_end():
    text = corpus(3, 10_000)
    documents = text.split(SEPARATOR)
    assert documents.pop() == "" and 9_000 < len(text) <= 10_000
    assert documents == [story.text for story in islice(stories(3), len(documents))]
    assert corpus(3, 5_000) == text[:len(corpus(3, 5_000))] and corpus(3, 10) == ""


# ---- the floor of a text, and along it

def test_each_choice_counts_for_the_piece_that_completes_it():
    """Ann (log 2) is known after 3 characters; two dogs (log 4) after "t", the 9th, for "a cat" begins
    otherwise; the rest costs nothing."""
    text = "Ann had two dogs. She was glad."
    assert along(text, [3, 8, 9, len(text)], PETS).tolist() == pytest.approx([math.log(2), 0, math.log(4), 0])
    assert along(text, [8, len(text)], PETS).tolist() == pytest.approx([math.log(2), math.log(4)])


def test_the_floor_along_a_story_adds_up_and_stays_below_the_exact_one(sample):
    """Up to any place, the choices that are complete cost at most what the text so far costs."""
    for story in sample[:5]:
        ends = list(range(7, len(story.text), 7)) + [len(story.text)]
        sums = np.cumsum(along(story.text, ends))
        assert sums[-1] == pytest.approx(of_document(story.text))
        assert all(total <= prefix_nats(story.text[:end]) + 1e-9 for total, end in zip(sums, ends))


def test_the_floor_of_a_corpus_is_known_only_if_every_document_is_a_story(sample):
    texts = [story.text for story in sample[:3]]
    assert of_documents(texts) == pytest.approx(sum(map(of_document, texts)))
    assert of_documents([*texts, "Call me Ishmael."]) is None
