"""The floor of a text: what the grammar itself needs for it."""
from itertools import islice

import numpy as np
import pytest

from minibitnet.measure.held_out import floor
from minibitnet.stories import entropy, walk
from minibitnet.text.batches import part_of
from minibitnet.text.corpora import Corpus, texts
from minibitnet.text.streams import token_stream
from minibitnet.text.tokenizer import make_tokenizer


@pytest.mark.parametrize("spec", ["bpe:300", "char"])
def test_the_source_itself_needs_exactly_the_floor(spec):
    """The grammar's true distribution as the model: each token costs what prefix_nats grows by, the end
    token nothing. Summed over the very windows that evaluation scores, that is ``floor``: begin given,
    end scored, every token once, nothing of padding."""
    text = walk.corpus(7, 12_000)
    corpus = Corpus("s", text, "", 0, len(text), True)
    tokenizer = make_tokenizer(spec, texts(corpus), with_end=True)
    part = part_of(token_stream(corpus, tokenizer), 1000)
    total = 0.0
    for ids, targets in part.all(4):
        for row, wanted in zip(ids, targets):
            known = [tokenizer.decode(row[1:n + 1]) + tokenizer.decode([token])
                     for n, token in enumerate(wanted) if token >= 0]
            costs = np.diff([0.0, *map(entropy.prefix_nats, known)])
            total += costs.sum()
    assert total / part.n_targets == pytest.approx(floor(part, tokenizer), rel=1e-9) and part.n_documents > 15


@pytest.mark.parametrize("end", ["", "\n", "\r\n", walk.SEPARATOR])
def test_the_floor_does_not_depend_on_how_the_last_document_ends(end):
    """Editors and ``generate > story.txt`` end a file with a line end: it belongs to no story, whether
    there are others before it or not."""
    for n in (1, 3):
        stories = [story.text for story in islice(walk.stories(7), n)]
        text = walk.SEPARATOR.join(stories) + end
        corpus = Corpus("s", text, "", 0, len(text), n > 1)
        tokenizer = make_tokenizer("byte", "", with_end=True)
        part = part_of(token_stream(corpus, tokenizer, documents=True), 1000)
        mean = sum(map(entropy.of_document, stories)) / n
        assert part.per_document(floor(part, tokenizer)) == pytest.approx(mean)
