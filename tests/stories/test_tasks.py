import json
import math
import re
from collections import Counter

import pytest

from minibitnet.errors import UserError
from minibitnet.stories.entropy import log_likelihood, prefix_nats
from minibitnet.stories.tasks import KINDS, Item, ceiling, guess, items, read_jsonl, score

N = 40


def each(log_likelihood):
    """A scorer of one choice -> a scorer of all choices of an item."""
    return lambda context, choices: [log_likelihood(context, choice) for choice in choices]


@pytest.fixture(scope="module", params=KINDS)
def made(request):
    return items(request.param, 0, N)


# ---- items from stories

def test_exactly_one_choice_goes_on_with_the_story(made):
    """By the grammar's exact probabilities: the right choice is possible, each of the other three is not."""
    for item in made:
        possible = [prefix_nats(item.context + choice) < math.inf for choice in item.choices]
        assert possible == [n == item.gold for n in range(4)], item
        assert len(set(item.choices)) == 4


def test_the_ceiling_is_reached_by_the_grammar_itself(made):
    """The true distribution is always right; uniform guessing, where the first choice counts, is right once
    in four."""
    assert ceiling(made) == 1
    assert score(made, each(lambda context, choice: 0.0))[:2] == (0.25, pytest.approx(math.sqrt(0.25 * 0.75
                                                                                                / N)))
    assert score(made, each(lambda context, choice: -log_likelihood(context, choice))).accuracy == 0


def test_the_right_choice_is_equally_often_in_each_place(made):
    assert Counter(item.gold for item in made) == dict.fromkeys(range(4), N // 4)


def test_items_are_a_pure_function_of_kind_and_seed():
    assert items("place", 3, 12)[:8] == items("place", 3, 8)
    assert items("place", 3, 8) != items("place", 4, 8)
    assert {item.context for item in items("place", 0, 8)}.isdisjoint(item.context
                                                                      for item in items("count", 0, 8))


def word(choice):
    """The word that decides: of an owner, a number, a place of a choice."""
    return re.match(r"""(?i)[ "]*((in|on|at|by|to) )?(the )?(\w+)""", choice)[4]


def test_wrong_choices_are_words_that_the_story_has_named_where_there_are_any():
    """Whose is it? At least one of the wrong owners is a person of the same story."""
    assert all(any(word(choice) in item.context for n, choice in enumerate(item.choices) if n != item.gold)
               for item in items("owner", 0, N))


def test_a_number_is_named_whether_or_not_it_begins_a_sentence():
    """"Nine," said she, where nine plums were there: the wrong choices are first the other numbers of the
    story, then any. (Five to nine can stand wherever a number stands.)"""
    made = [item for item in items("count", 0, 3 * N) if word(item.choices[0]).istitle()]
    assert len(made) > N / 2
    for item in made:
        right = word(item.choices[item.gold]).lower()
        said = set(re.findall("five|six|seven|eight|nine", item.context))
        wrong = {word(choice).lower() for n, choice in enumerate(item.choices) if n != item.gold}
        assert len(wrong & said) == min(3, len(said - {right})), item


@pytest.mark.parametrize("kind", ["owner", "place", "count"])
def test_what_is_named_is_what_the_story_has_said(kind):
    """A name as it is written ("will" does not name Will); a number or a place also where one of the two
    begins a sentence."""
    for item in items(kind, 0, N):
        said = set(re.findall(r"\w+", item.context if kind == "owner" else item.context.lower()))
        words = map(word, item.choices) if kind == "owner" else map(str.lower, map(word, item.choices))
        assert item.named == tuple(n for n, choice in enumerate(words) if choice in said), item


def test_a_guess_among_the_named_by_pencil():
    """Right one of two named, the only one named, one of four where none is named, and not among the named:
    (1/2 + 1 + 1/4 + 0) / 4."""
    four = ("a", "b", "c", "d")
    assert guess([Item("", four, 0, (0, 2)), Item("", four, 1, (1,)), Item("", four, 2),
                  Item("", four, 3, (0, 1))]) == 1.75 / 4


def test_remembering_the_names_alone_answers_every_question_of_the_place_and_not_half_of_the_owners():
    """A story has one place, but two or three people: whose it is has to be known. (For 103 items of two
    named and 97 of three: 41.9 %.)"""
    assert guess(items("place", 0, N)) == 1
    assert 1 / 3 <= guess(items("owner", 0, N)) <= 1 / 2
    assert all(item.gold in item.named and len(item.named) in (2, 3) for item in items("owner", 0, N))
    assert guess(items("owner", 2**32, 200)) == pytest.approx((103 / 2 + 97 / 3) / 200)


def test_an_unknown_kind_is_one_line():
    with pytest.raises(UserError, match="kind 'colour': expected one of pronoun, owner, place, ending, "
                                        "count"):
        items("colour", 0, 1)


# ---- items from files

@pytest.mark.parametrize("fields, item", [
    ({"ctx": "A man", "endings": ["sits.", "flies."], "label": "1"}, Item("A man", (" sits.", " flies."), 1)),
    ({"goal": "To open,", "sol1": "push", "sol2": "pull", "label": 0},
     Item("To open,", (" push", " pull"), 0)),
    ({"query": "Q: 1+1?\nA: ", "choices": ["2", "3", "4"], "gold": 2},
     Item("Q: 1+1?\nA: ", ("2", "3", "4"), 2)),
    # as a pair in JSON
    ({"ctx": "\U0001f642", "choices": ["\U0001f642", "b"], "gold": 0},
     Item("\U0001f642", (" \U0001f642", " b"), 0)),
    ({"question": "Which?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
     Item("Which?", (" x", " y"), 1)),
    ({"question": "Which?", "choices": [" x", "y", "z"], "answer": "C"},
     Item("Which?", (" x", " y", " z"), 2)),
])
def test_the_usual_forms_are_read(fields, item, tmp_path):
    (tmp_path / "items.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(fields).encode() + b"\r\n\r\n")
    assert read_jsonl(tmp_path / "items.jsonl") == [item]


GOOD = '{"ctx": "a", "choices": ["b", "c"], "gold": 0}'


@pytest.mark.parametrize("line, message", [
    ("{", "not JSON: '{'"),
    ("[" * 100_000, "not JSON"),
    ("[1]", r"expected a JSON object, got '\[1\]'"),
    ('{"choices": ["b", "c"], "gold": 0}', "none of the keys ctx, query, goal, question is there; it has "
                                           "choices, gold"),
    ('{"ctx": "a", "gold": 0}', "none of the keys choices, endings is there"),
    ('{"ctx": "a", "choices": ["b", "c"]}', "none of the keys gold, label, answer, answerKey is there"),
    ('{"ctx": "a", "choices": ["b"], "gold": 0}', "at least two choices"),
    ('{"ctx": "a", "choices": ["b", 3], "gold": 0}', "at least two choices, which are texts"),
    ('{"ctx": "a", "choices": ["b", ""], "gold": 0}', "at least two choices, which are texts"),
    ('{"ctx": 1, "choices": ["b", "c"], "gold": 0}', "expected a text"),
    (r'{"ctx": "a", "choices": ["b", "\ud800"], "gold": 0}', "half a surrogate pair"),
    (r'{"ctx": "\udc00", "choices": ["b", "c"], "gold": 0}', "half a surrogate pair"),
    ('{"ctx": "a", "choices": {"label": ["b"]}, "gold": 0}', "at least two choices"),
    *((f'{{"ctx": "a", "choices": ["b", "c"], "gold": {gold}}}', "the answer .* is none of the 2 choices")
      for gold in ("2", "-1", '"C"', '"-1"', '"²"', '""', "true", "1.0", "null", "[0]")),
])
def test_a_mistake_names_file_and_line(line, message, tmp_path):
    (tmp_path / "bad.jsonl").write_text(f"{GOOD}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"bad\.jsonl, line 3: .*{message}") as e:
        read_jsonl(tmp_path / "bad.jsonl")
    assert "\n" not in str(e.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"ctx": "caf\xe9"}')
    for name, message in [("absent.jsonl", "No such file"), ("empty.jsonl", "is blank"),
                          ("latin.jsonl", "not UTF-8 at byte 12")]:
        with pytest.raises(UserError, match=f"{name}.*{message}"):
            read_jsonl(tmp_path / name)


# ---- scoring

def test_scores_by_pencil():
    """-2 beats -3, but -3 over the six bytes of "eleven" is -0.5 a byte, which beats -2 over "two", -0.67:
    summed, item 1 is right and item 2 wrong, per byte the other way round."""
    likelihoods = {" two": -2.0, " eleven": -3.0}
    two = [Item("", (" two", " eleven"), 0), Item("", (" two", " eleven"), 1),
           Item("", (" eleven", " two"), 1), Item("", (" two", " eleven"), 0)]
    result = score(two, each(lambda context, choice: likelihoods[choice]))
    assert (result.accuracy, result.accuracy_norm, result.chance, result.n) == (0.75, 0.25, 0.5, 4)
    assert result.standard_error == result.standard_error_norm == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


def test_chance_is_the_mean_over_items_of_different_size():
    """(1/2 + 1/4) / 2."""
    assert score([Item("", ("a", "b"), 0), Item("", ("a", "b", "c", "d"), 0)],
                 each(lambda context, choice: 0)).chance == 0.375


def test_the_context_is_given_to_the_scorer():
    def continues_alphabet(context, choice):
        return 0.0 if ord(choice) == ord(context) + 1 else -1.0
    assert score([Item("a", ("b", "c"), 0), Item("b", ("b", "c"), 1)], each(continues_alphabet)).accuracy == 1


def test_no_items_is_one_line():
    with pytest.raises(UserError, match="no items"):
        score([], each(log_likelihood))
