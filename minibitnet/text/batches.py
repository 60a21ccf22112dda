"""Token arrays -> (ids, targets), where targets are the ids one place further on.

Two kinds of corpora. One without documents is a line of tokens, of which any window will do. One with
documents is a ring end d1 end d2 .. dn end (streams.py), and windows begin where documents begin: a
document that is longer than the context is cut into consecutive windows. Training draws from the very
windows that evaluation scores.
"""
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..exact import LN2, Random
from .streams import TokenStream, documents_of

IGNORED = -1               # a target that does not count: padding
MAX_VALIDATION = 2**21     # tokens: enough for three digits, and scored in minutes


class Windows(NamedTuple):
    """Every target of a stream of documents in exactly one window: ids from ``starts``, as many targets as
    ``widths``."""
    starts: np.ndarray      # (n,) int64
    widths: np.ndarray      # (n,) from 1 to context


class Part(NamedTuple):
    """A part of a corpus, to be read in windows of at most ``context`` tokens."""
    stream: TokenStream
    windows: Windows | None        # None without documents
    context: int

    @property
    def n_targets(self):
        """How many tokens are predicted: all but the first."""
        return len(self.stream.tokens) - 1

    @property
    def n_documents(self):
        """None without documents."""
        return None if self.stream.starts is None else len(self.stream.starts)

    def count_bytes(self, tokenizer):
        """The bytes that the targets stand for."""
        tokens = self.stream.tokens
        return sum(tokenizer.count_bytes(tokens[i:i + 2**20]) for i in range(1, len(tokens), 2**20))

    def per_document(self, per_target):
        """Nats per target -> nats per document."""
        return per_target * self.n_targets / self.n_documents

    def bits_per_byte(self, per_target, n_bytes):
        """Nats per target -> bits per byte, of the n_bytes that ``count_bytes`` finds."""
        return per_target * self.n_targets / LN2 / n_bytes

    def random(self, step, *, seed, batch):
        """The training batch of a step -> ids, targets (B, T); a pure function of (seed, step): a run has
        no iterator state to save."""
        if self.windows is None:
            return random_batch(self.stream.tokens, step, seed=seed, batch=batch, context=self.context)
        return random_document_batch(self.stream, self.windows, step, seed=seed, batch=batch,
                                     context=self.context)

    def n_batches(self, rows=16):
        """In how many batches of at most so many rows ``all`` reads it."""
        if self.windows is not None:
            return -(-len(self.windows.starts) // rows)
        whole, rest = divmod(self.n_targets, self.context)
        return -(-whole // rows) + bool(rest)

    def all(self, batch):
        """Every target exactly once; yields ids, targets (B, T) with B of at most ``batch``, targets that
        do not count IGNORED."""
        if self.windows is None:
            return all_windows(self.stream.tokens, batch=batch, context=self.context)
        return document_windows(self.stream, self.windows, batch=batch)


def part_of(stream, context):
    """The whole stream as one Part."""
    return Part(stream, None if stream.starts is None else windows_of(stream, context), context)


def parts(stream, context, fraction):
    """The last ``fraction`` of the tokens (whole documents), at most about MAX_VALIDATION of them, is for
    validation -> (training Part, validation Part)."""
    fraction = min(fraction, MAX_VALIDATION / len(stream.tokens))
    if stream.starts is None:
        train, validation = (TokenStream(tokens, None) for tokens in split(stream.tokens, context, fraction))
    else:
        train, validation = split_documents(stream, fraction)
    return part_of(train, context), part_of(validation, context)


# ---- one line of tokens

def split(tokens, context, fraction):
    """The last ``fraction`` of the tokens is for validation -> (training tokens, validation tokens)."""
    n = int(len(tokens) * (1 - fraction))
    if n < context + 1 or len(tokens) - n < 2:
        raise UserError(f"the corpus has {len(tokens):,} tokens, {n:,} of them for training: expected at "
                        f"least {context + 1:,} for one sequence of context {context:,}, and 2 for "
                        "validation")
    return tokens[:n], tokens[n:]


def random_batch(tokens, step, *, seed, batch, context):
    """B windows at random places -> two (B, T) arrays. A pure function of (seed, step): a run has no
    iterator state to save."""
    starts = Random((seed, step)).integers(len(tokens) - context, batch)
    windows = tokens[starts[:, None] + np.arange(context + 1)].astype(np.int32)
    return windows[:, :-1], windows[:, 1:]


def all_windows(tokens, *, batch, context):
    """Every token but the first as a target exactly once, in non-overlapping windows; yields two (B, T)
    arrays. B is ``batch`` or less; only the last window may be shorter than ``context``."""
    whole = (len(tokens) - 1) // context
    ids = tokens[:whole * context].reshape(whole, context)
    targets = tokens[1:whole * context + 1].reshape(whole, context)
    for start in range(0, whole, batch):
        yield ids[start:start + batch], targets[start:start + batch]
    if whole * context < len(tokens) - 1:
        yield tokens[None, whole * context:-1], tokens[None, whole * context + 1:]


# ---- documents

def split_documents(stream, fraction):
    """The last documents that hold at least ``fraction`` of the targets are for validation -> two
    TokenStreams. The token between them is in both: the end of the one, the begin of the other."""
    tokens, starts = stream
    first = np.searchsorted(starts, (len(tokens) - 1) * (1 - fraction), side="right") - 1
    if first < 1:
        raise UserError(f"the corpus has {len(starts):,} document{'s' * (len(starts) != 1)}, and all of "
                        f"them are needed for {fraction:g} of its tokens: expected at least one more "
                        "document, to train on")
    border = int(starts[first])
    return (TokenStream(tokens[:border + 1], starts[:first]),
            TokenStream(tokens[border:], starts[first:] - border))


def repeated(part, training, by_chance=lambda tokens: False):
    """How many documents of a Part the training Part has too, token for token, but for those that it has
    by_chance(tokens of the document). What is learnt by heart can cost less than the floor."""
    wanted = Counter(document.tobytes() for document in documents_of(part.stream))
    learnt = {found for document in documents_of(training.stream) if (found := document.tobytes()) in wanted}
    dtype = part.stream.tokens.dtype
    learnt = [document for document in learnt if not by_chance(np.frombuffer(document, dtype))]
    return sum(wanted[document] for document in learnt)


def windows_of(stream, context):
    """The windows of a stream: at each document's begin token, and then every ``context`` tokens while the
    document lasts."""
    tokens, starts = stream
    widths = np.diff(starts, append=len(tokens) - 1)                # of each document: its tokens and its end
    counts = (-(-widths // context)).astype(np.intp)                # as np.repeat takes them, 32 bits or 64
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # within its document
    offsets = number * context
    return Windows(np.repeat(starts, counts) + offsets,
                   np.minimum(np.repeat(widths, counts) - offsets, context))


def random_document_batch(stream, windows, step, *, seed, batch, context):
    """B of the windows, filled up to ``context`` with what follows -> two (B, T) arrays. A pure function of
    (seed, step).

    Every pass over the corpus draws each window once, in an order of its own; with replacement a fifth of
    the stories would still be unread after one and a half passes. What follows is the next document, and
    after the last one the first. Documents are independent: what a row holds of one says nothing about the
    next, so before anything is learnt by heart no model's training loss is below the source's entropy on
    these rows. That is a little above the entropy of the documents: their beginnings, which say most, come
    oftener than their ends.
    """
    n = len(windows.starts)
    starts = windows.starts[[order(seed, i // n, n)[i % n] for i in range(step * batch, (step + 1) * batch)]]
    places = (starts[:, None] + np.arange(context + 1)) % (len(stream.tokens) - 1)
    rows = stream.tokens[places].astype(np.int32)
    return rows[:, :-1], rows[:, 1:]


@lru_cache(2)                                        # a batch mostly lies in one pass or two
def order(seed, number, n):
    """The order in which pass ``number`` draws n windows -> a permutation (n,)."""
    return Random((seed, number)).permutation(n)


def document_windows(stream, windows, *, batch):
    """Every token but the first as a target exactly once, one document to a row; yields two (B, T) int32
    arrays.

    Windows of like width share a batch, the widest first. Shorter rows are filled up: their targets with
    -1, which must not count in the loss, their ids with the first token, which nothing that counts can see.
    """
    order = np.argsort(-windows.widths, kind="stable")
    for start in range(0, len(order), batch):
        starts, widths = (a[order[start:start + batch]] for a in windows)
        places = starts[:, None] + np.arange(widths[0])
        inside = np.arange(widths[0]) < widths[:, None]
        places = np.where(inside, places, 0)
        yield (stream.tokens[places].astype(np.int32),
               np.where(inside, stream.tokens[places + 1].astype(np.int32), IGNORED))
