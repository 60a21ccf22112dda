"""What logits say of the tokens that came, and whether they are numbers at all.

``surprisal`` is the formula of ``ops.cross_entropy`` again, of each target by itself and in float64: it
compares engines and caches, whose losses differ by less than a sum in float32 rounds. Training needs the mean
alone, and its gradient, in the logits' own float32.
"""
import functools

import numpy as np

from ..errors import NonFiniteError
from ..exact import exp, log, total
from ..float16 import all_finite, column_blocks


def surprisal(logits, targets, scale=1.0):
    """-log p(target) in nats, float64:  logits (V, ...), in nats times scale, targets (...) int -> (...)."""
    of_targets, places, nats = logits.reshape(len(logits), -1), targets.ravel(), np.empty(targets.size)
    for some in column_blocks(of_targets):
        x = of_targets[:, some] * np.float64(scale)
        x -= x.max(0)
        nats[some] = log(total(exp(x))[0]) - np.take_along_axis(x, places[None, some], 0)[0]
    return nats.reshape(targets.shape)


def in_nats(logits, scale):                  # of an engine -> the same in nats, float32
    """The integer engine's logits times its scale; the others' are in nats already."""
    return logits if scale == 1 else logits * np.float32(scale)


def finite(call):
    """The call of an engine of floats, but NonFiniteError where something overflowed on the way."""
    @functools.wraps(call)
    def checked(*arguments, **options):
        try:
            with np.errstate(all="ignore"):
                logits = call(*arguments, **options)
        except FloatingPointError:                         # a quantizer met it first
            logits = np.float32([np.nan])
        if not all_finite(logits):
            raise NonFiniteError("the model's logits are not finite: expected numbers; "
                                 "are its scales, gains or embeddings off?")
        return logits
    return checked
