"""Token arrays -> (ids, targets), where targets are the ids one place further on."""
import numpy as np

from ..errors import UserError


def split(tokens, context, fraction):
    """The last ``fraction`` of the tokens is for validation -> (training tokens, validation tokens)."""
    n = int(len(tokens) * (1 - fraction))
    if n < context + 1 or len(tokens) - n < 2:
        raise UserError(f"the corpus has {len(tokens):,} tokens, {n:,} of them for training: expected at least "
                        f"{context + 1:,} for one sequence of context {context:,}, and 2 for validation")
    return tokens[:n], tokens[n:]


def random_batch(tokens, step, *, seed, batch, context):
    """B windows at random places -> two (B, T) arrays. A pure function of (seed, step): a run has no place to lose."""
    starts = np.random.default_rng((seed, step)).integers(0, len(tokens) - context, batch)
    windows = tokens[starts[:, None] + np.arange(context + 1)]
    return windows[:, :-1], windows[:, 1:]


def all_windows(tokens, *, batch, context):
    """Every token but the first as a target exactly once, in non-overlapping windows; yields two (B, T) arrays.
    B is ``batch`` or less; only the last window may be shorter than ``context``."""
    whole = (len(tokens) - 1) // context
    ids = tokens[:whole * context].reshape(whole, context)
    targets = tokens[1:whole * context + 1].reshape(whole, context)
    for start in range(0, whole, batch):
        yield ids[start:start + batch], targets[start:start + batch]
    if whole * context < len(tokens) - 1:
        yield tokens[None, whole * context:-1], tokens[None, whole * context + 1:]
