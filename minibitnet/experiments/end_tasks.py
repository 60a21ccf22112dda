"""Questions about stories, answered by the plan's models.   [b158] Tables 2, 4; [bitnet] Fig. 4

All arms of one seed answer the same items, so two arms are compared item by item. Seeds answer others.
"""
import math
from typing import NamedTuple

import numpy as np

from .uncertainty import mean_of, pooled


class Share(NamedTuple):
    """How many of the items were answered right."""
    right: float
    standard_error: float    # of items, p (1 - p) / n, and of seeds, as far as they differ beyond it
    n: int


def bits(hexadecimal):
    """An outcome's answers to one kind -> array of 0 and 1."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(hexadecimal), np.uint8))


def share(answers):
    """The answers (hex) of each seed -> Share."""
    each = [bits(text) for text in answers]
    n = sum(map(len, each))
    p = sum(int(right.sum()) for right in each) / n
    of_items = p * (1 - p) / n
    sd, _ = pooled([[float(right.sum()) / len(right) for right in each]])
    beyond = 0.0 if sd is None else max(0.0, sd**2 / len(each) - of_items)
    return Share(p, math.sqrt(of_items + beyond), n)


def paired(ours, theirs):
    """The answers of two arms, seed by seed, to the same items -> (difference of the shares right, its
    standard error by McNemar: only items that one of the two answered right say anything)."""
    won = lost = n = 0
    for a, b in zip(ours, theirs, strict=True):
        a, b = bits(a).astype(bool), bits(b).astype(bool)
        if len(a) != len(b):
            raise ValueError(f"answers to {len(a)} and to {len(b)} items: expected the same items")
        won, lost, n = won + int((a & ~b).sum()), lost + int((b & ~a).sum()), n + len(a)
    difference = (won - lost) / n
    return difference, math.sqrt(max(0.0, (won + lost) / n - difference**2) / n)


def mean_share(shares):
    """Of several kinds of questions, each counting alike."""
    return mean_of([s.right for s in shares]), math.sqrt(
        math.fsum(s.standard_error**2 for s in shares)) / len(shares)
