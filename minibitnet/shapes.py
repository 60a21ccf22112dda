"""What models and ops take. NumPy would broadcast some shapes and wrap some ids around without a word."""
import numpy as np

from .errors import UserError, brief


def same_shape(what, *shapes):
    """UserError for shapes that differ: broadcast, an array would get a gradient of another shape."""
    if any(shape != shapes[0] for shape in shapes):
        raise UserError(f"{what} of shapes {' and '.join(map(str, shapes))}: expected one shape")


def token_ids(ids, vocab_size, ndim):
    """Anything -> an array of integers with so many axes; UserError for what is no id, and for no id."""
    expected = f"expected integers from 0 to {vocab_size - 1}"
    if isinstance(ids, str):
        raise UserError(f"a text, {ids[:40]!r}, where token ids belong: {expected}, as a tokenizer's "
                        "encode(text) gives them")
    given = ids
    try:
        ids = np.asarray(ids)
    except ValueError:                           # NumPy's word for lists of unequal lengths
        raise UserError(f"token ids in lists of unequal lengths: {expected}") from None
    if ids.ndim != ndim or not ids.size:
        shape = ("tokens",) if ndim == 1 else ("sequences", "tokens")
        raise UserError(f"token ids of shape {ids.shape}: expected ({', '.join(shape)}{',' * (ndim == 1)}), "
                        "at least one")
    if ids.dtype.kind not in "iu":
        found = f"of type {ids.dtype}" if ids.dtype != object else brief(given)      # None, or 2**70
        raise UserError(f"token ids {found}: {expected}")
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise UserError(f"token ids from {ids.min()} to {ids.max()}: {expected}")
    return ids


def targets_of(targets, vocab_size):
    """Anything -> an array of ids, or of numbers below 0 where nothing is asked; UserError for others."""
    try:
        targets = np.asarray(targets)
    except ValueError:
        raise UserError("targets in lists of unequal lengths: expected token ids") from None
    if targets.dtype.kind not in "iu":
        raise UserError(f"targets of type {targets.dtype}: expected integers below {vocab_size:,}")
    if targets.size and targets.max() >= vocab_size:
        raise UserError(f"targets up to {targets.max()}: expected integers below {vocab_size:,}")
    return targets


def new_positions(ids, caches, c):               # (B, T), caches of the layers or None -> a slice
    """Where the T new tokens stand: behind those that the caches have. c: a model's configuration."""
    start = caches[0].length if caches else 0
    end = start + token_ids(ids, c.vocab_size, ndim=2).shape[1]
    if end > c.context:
        raise UserError(f"{end} tokens: expected at most the context of {c.context}")
    return slice(start, end)
