"""The language of one line: all of it, by hand and by the code."""
import math
from itertools import islice, product

import pytest

from minibitnet.fitting import fit
from minibitnet.measure.held_out import copied, floor
from minibitnet.stories import entropy, pets, walk
from minibitnet.text.batches import parts, repeated
from minibitnet.text.corpora import Corpus, load_corpus, texts
from minibitnet.text.streams import token_stream
from minibitnet.text.tokenizer import make_tokenizer

STORIES = [f"{name} has {a} {pet}. {he} {does} it. The {pet} is {color}. {name} likes {color}."
           for (name, he), (a, pet), does, color in product(
               [("Ann", "She"), ("Bob", "He"), ("Eva", "She"), ("Tom", "He"), ("Ida", "She"), ("Max", "He"),
                ("Lea", "She"), ("Jon", "He")], [("a", "cat"), ("a", "dog"), ("an", "owl"), ("a", "fox")],
               ["feeds", "hides"], ["red", "blue", "green", "gray"])]


def test_there_are_256_stories_and_their_chances_are_1():
    nats = [entropy.of_document(text, pets.LANGUAGE) for text in STORIES]
    fed, hidden = 5 * math.log(2) + math.log(16 / 3), 9 * math.log(2)        # 8 * 4 * 4/3 * 4, 8 * 4 * 4 * 4
    assert nats == pytest.approx([fed if "feeds" in text else hidden for text in STORIES])
    assert math.fsum(math.exp(-n) for n in nats) == pytest.approx(1) and len(set(STORIES)) == 256
    told = {story.text for story in islice(walk.stories(0, pets.LANGUAGE), 3000)}
    assert told <= set(STORIES) and len(told) > 200


def test_the_entropy_is_that_of_the_docstring():
    """3/4 of 5.1397 and 1/4 of 6.2383: ln 128 + the choice of 3/4 and 1/4, 4.8520 + 0.5623."""
    by_hand = math.log(128) - 0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert entropy.expected(pets.LANGUAGE).nats == pytest.approx(by_hand)
    assert f"{by_hand:.4f} nats" in pets.__doc__ and f"{by_hand:.4f}" == "5.4144"
    for n in (8, 4, 4 / 3):
        assert f"{math.log(n):.4f}" in pets.__doc__
    assert walk.tell(walk.Dice(0, 0), pets.LANGUAGE).text in pets.__doc__


def test_a_text_has_the_floor_of_the_language_that_tells_it():
    """Of one: which of two languages tells the next document would be a choice too."""
    two, story = STORIES[:2], next(walk.stories(0)).text
    assert entropy.of_documents(two) == pytest.approx(sum(entropy.of_document(t, pets.LANGUAGE) for t in two))
    assert entropy.of_documents([story]) == entropy.of_document(story)
    assert entropy.of_documents([story, *two]) is entropy.of_documents([*two, story]) is None
    assert entropy.of_documents([]) is entropy.of_documents(["Jon has a cow."]) is None
    assert entropy.language_of(STORIES[9]) is pets.LANGUAGE and entropy.language_of("") is None


@pytest.fixture(scope="module")
def read():
    corpus = load_corpus("pets")
    tokenizer = make_tokenizer("char", texts(corpus), with_end=True)
    return parts(token_stream(corpus, tokenizer), 72, 0.1), tokenizer


def test_a_language_of_few_stories_repeats_itself_and_that_is_no_copy(read):
    """Every validation story is among the 1,800 of the training part, where it is expected 3 or 10 times."""
    (training, validation), tokenizer = read
    n = validation.n_documents
    assert n + training.n_documents == 2000 and repeated(validation, training) == n
    assert copied(validation, training, tokenizer) == 0
    mean = validation.per_document(floor(validation, tokenizer))
    assert math.log(512 / 3) < mean < math.log(512)


def test_fit_knows_the_floor_of_pets(read):
    (_, validation), tokenizer = read
    _, _, history = fit("pets", tokenizer="char", d_model=16, n_layers=1, n_heads=1, context=72, steps=1,
                        progress=False)
    assert history.floor == floor(validation, tokenizer) < history["val_loss"][0]


def test_what_a_source_would_not_tell_twice_is_a_copy(read):
    """Beside 20 training stories each is expected less than once, exp(3.0) = 20 < 171: one that is there is
    called a copy. So is a long story, beside any number of others."""
    _, tokenizer = read
    few = [*STORIES[:20], STORIES[3], STORIES[200]]
    corpus = "".join(text + walk.SEPARATOR for text in few)
    stream = token_stream(Corpus("few", corpus, "", 0, len(corpus), True), tokenizer)
    training, validation = parts(stream, 72, 1.5 / 22)
    assert training.n_documents == 20 and validation.n_documents == 2
    assert copied(validation, training, tokenizer) == repeated(validation, training) == 1
