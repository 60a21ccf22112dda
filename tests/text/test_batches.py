import math

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.text import batches
from minibitnet.text.batches import (all_windows, document_windows, part_of, parts, random_batch,
                                     random_document_batch, split, split_documents, windows_of)
from minibitnet.text.streams import TokenStream


def test_split_keeps_the_end_for_validation():
    train, val = split(np.arange(100), 8, 0.1)
    assert np.array_equal(train, np.arange(90)) and np.array_equal(val, np.arange(90, 100))


def test_a_corpus_shorter_than_one_sequence_is_refused():
    with pytest.raises(UserError, match="20 tokens, 18 of them for training: expected at least 33"):
        split(np.arange(20), 32, 0.1)
    with pytest.raises(UserError, match="and 2 for validation"):
        split(np.arange(100), 8, 0.005)


def test_a_batch_is_a_pure_function_of_seed_and_step():
    tokens, shape = np.arange(1000), {"batch": 5, "context": 7}
    first = random_batch(tokens, 3, seed=1, **shape)
    random_batch(tokens, 4, seed=1, **shape)
    assert np.array_equal(random_batch(tokens, 3, seed=1, **shape), first)
    assert not np.array_equal(random_batch(tokens, 4, seed=1, **shape), first)
    assert not np.array_equal(random_batch(tokens, 3, seed=2, **shape), first)


def test_targets_are_the_next_tokens():
    ids, targets = random_batch(np.arange(1000), 0, seed=0, batch=5, context=7)
    assert ids.shape == targets.shape == (5, 7) and np.array_equal(targets, ids + 1)


def test_every_place_can_be_drawn():
    """9 tokens hold three windows of 6 + 1: starts 0, 1 and 2, the last token among their targets."""
    drawn = {int(start) for step in range(50)
             for start in random_batch(np.arange(9), step, seed=0, batch=4, context=6)[0][:, 0]}
    assert drawn == {0, 1, 2}


@pytest.mark.parametrize("n", [2, 6, 7, 8, 13, 25, 26, 100])
def test_windows_score_every_token_but_the_first_once(n):
    pairs = list(all_windows(np.arange(n), batch=3, context=6))
    assert np.concatenate([targets.ravel() for _, targets in pairs]).tolist() == list(range(1, n))
    assert all(np.array_equal(targets, ids + 1) and ids.shape[0] <= 3 and ids.shape[1] <= 6
               for ids, targets in pairs)


# ---- documents

E = 99                                             # the end token


def stream_of(*documents):
    """Token lists -> end d1 end d2 ... dn end."""
    tokens, starts = [], []
    for document in documents:
        starts.append(len(tokens))
        tokens += [E, *document]
    return TokenStream(np.array([*tokens, E], np.uint16), np.array(starts, np.int64))


def random_stream(seed):
    rng = np.random.default_rng(seed)
    return stream_of(*(rng.integers(0, 90, rng.integers(1, 20)).tolist() for _ in range(rng.integers(2, 12))))


def test_windows_by_pencil():
    """Context 3; documents of 2 and 5 tokens: E 1 2 | E 3 4 5 6 7 E.  Targets: 1 2 E | 3 4 5 | 6 7 E."""
    stream = stream_of([1, 2], [3, 4, 5, 6, 7])
    windows = windows_of(stream, 3)
    assert windows.starts.tolist() == [0, 3, 6] and windows.widths.tolist() == [3, 3, 3]
    (ids, targets), = document_windows(stream, windows, batch=5)
    assert ids.tolist() == [[E, 1, 2], [E, 3, 4], [5, 6, 7]]
    assert targets.tolist() == [[1, 2, E], [3, 4, 5], [6, 7, E]]


def test_widest_windows_come_first_and_padding_does_not_count():
    """Context 4; targets 1 E | 2 3 4 5 | E: widths 2, 4, 1."""
    stream = stream_of([1], [2, 3, 4, 5])
    (ids, targets), (last_ids, last_targets) = document_windows(stream, windows_of(stream, 4), batch=2)
    assert ids.tolist() == [[E, 2, 3, 4], [E, 1, E, E]] and targets.tolist() == [[2, 3, 4, 5], [1, E, -1, -1]]
    assert last_ids.tolist() == [[5]] and last_targets.tolist() == [[E]]
    assert ids.dtype == targets.dtype == np.int32


@pytest.mark.parametrize("context", [1, 3, 8, 50])
@pytest.mark.parametrize("seed", range(10))
def test_document_windows_score_every_token_but_the_first_once(seed, context):
    """Each window holds tokens of one document alone: an end token is only ever a row's first id or its
    last target."""
    stream, scored = random_stream(seed), []
    for ids, targets in document_windows(stream, windows_of(stream, context), batch=3):
        for row_ids, row_targets in zip(ids, targets):
            width = (row_targets != -1).sum()
            assert (row_targets[width:] == -1).all() and (row_ids[1:width] == row_targets[:width - 1]).all()
            assert E not in row_ids[1:width] and E not in row_targets[:width - 1]
            scored += row_targets[:width].tolist()
        assert ids.shape[0] <= 3 and ids.shape[1] <= context
    assert sorted(scored) == sorted(stream.tokens[1:].tolist())


def test_a_document_batch_is_a_pure_function_of_seed_and_step():
    stream = random_stream(0)
    windows, shape = windows_of(stream, 7), {"batch": 5, "context": 7}
    first = random_document_batch(stream, windows, 3, seed=1, **shape)
    assert np.array_equal(random_document_batch(stream, windows, 3, seed=1, **shape), first)
    assert not np.array_equal(random_document_batch(stream, windows, 4, seed=1, **shape), first)
    assert not np.array_equal(random_document_batch(stream, windows, 3, seed=2, **shape), first)
    assert first[0].shape == first[1].shape == (5, 7) and np.array_equal(first[0][:, 1:], first[1][:, :-1])


def test_each_pass_draws_every_window_once_in_an_order_of_its_own():
    """7 documents of one window each, batches of 3: the places 0 to 6, 7 to 13, 14 to 20 of the run are
    three passes."""
    stream = stream_of(*([i] for i in range(7)))
    drawn = [ids[1] for step in range(7)
             for ids in random_document_batch(stream, windows_of(stream, 2), step, seed=0, batch=3,
                                              context=2)[0].tolist()]
    passes = drawn[:7], drawn[7:14], drawn[14:]
    assert [sorted(p) for p in passes] == [list(range(7))] * 3 and len(set(map(tuple, passes))) == 3


def test_training_rows_are_the_evaluation_windows_run_on_around_the_ring():
    """E 1 2 E 3 E with context 4: from the first document E 1 2 E 3, from the second E 3 E 1 2, on into the
    first again."""
    stream = stream_of([1, 2], [3])
    windows = windows_of(stream, 4)
    drawn = {(*ids, targets[-1]) for step in range(20)
             for ids, targets in zip(*(a.tolist() for a in random_document_batch(
        stream, windows, step, seed=0, batch=4, context=4)))}
    assert drawn == {(E, 1, 2, E, 3), (E, 3, E, 1, 2)}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
def test_documents_are_split_between_documents(seed, fraction):
    """Both parts are streams of their own; validation has at least its share of the targets, and one
    document less would not."""
    stream = random_stream(seed)
    total = len(stream.tokens) - 1
    if stream.starts[1] > total * (1 - fraction):
        with pytest.raises(UserError, match="expected at least one more document"):
            split_documents(stream, fraction)
        return
    train, val = split_documents(stream, fraction)
    for part in (train, val):
        assert part.starts[0] == 0 and (part.tokens[part.starts] == E).all()
        assert part.tokens[-1] == E and (part.tokens == E).sum() == len(part.starts) + 1
    assert np.array_equal(np.concatenate([train.tokens, val.tokens[1:]]), stream.tokens)
    assert len(val.tokens) - 1 >= total * fraction
    assert len(val.starts) == 1 or len(val.tokens) - 1 - val.starts[1] < total * fraction


def test_one_document_cannot_be_split():
    with pytest.raises(UserError, match="the corpus has 1 document, and"):
        split_documents(stream_of([1, 2, 3]), 0.1)


def test_documents_that_are_in_both_parts_are_counted_by_pencil():
    """Of 1 2 | 3 | 1 2 | 4 the training part 1 2 | 2 1 | 4 5 has the two 1 2; not 2 1 and not the beginning
    of 4 5."""
    part, training = (part_of(stream_of(*documents), 8)
                      for documents in (([1, 2], [3], [1, 2], [4]), ([1, 2], [2, 1], [4, 5])))
    assert batches.repeated(part, training) == 2 and batches.repeated(training, part) == 1
    assert batches.repeated(part, part) == 4


def test_nats_are_converted_by_pencil():
    """4 targets in 2 documents: 3 nats each are 6 a document; log 2 nats each are 4 bits, over 8 bytes half
    a bit."""
    part = part_of(stream_of([1], [2]), 8)
    assert part.per_document(3) == 6 and part.bits_per_byte(math.log(2), 8) == 0.5


def test_a_huge_corpus_keeps_a_bounded_validation_part(monkeypatch):
    monkeypatch.setattr(batches, "MAX_VALIDATION", 50)
    training, validation = parts(TokenStream(np.arange(1000), None), 8, 0.1)
    assert len(validation.stream.tokens) == 50 and len(training.stream.tokens) == 950
