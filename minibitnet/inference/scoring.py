"""What logits say of the tokens that came, and whether they are numbers at all.

``surprisal`` is the formula of ``ops.cross_entropy`` again, of each target by itself and in float64: it
compares engines and caches, whose losses differ by less than a sum in float32 rounds. Training needs the mean
alone, and its gradient, in the logits' own float32.
"""
import functools

import numpy as np

from ..errors import NonFiniteError
from ..exact import exp, log, total
from ..float16 import all_finite


def surprisal(logits, targets):
    """-log p(target) in nats, float64:  logits (V, ...), targets (...) int -> (...)."""
    logits = logits.astype(np.float64)
    logits -= logits.max(0)
    return log(total(exp(logits))[0]) - np.take_along_axis(logits, targets[None], 0)[0]


def finite(call):
    """The call of an engine of floats, but NonFiniteError where something overflowed on the way."""
    @functools.wraps(call)
    def checked(*arguments, **options):
        try:
            logits = call(*arguments, **options)
        except FloatingPointError:                         # a quantizer met it first
            logits = np.float32([np.nan])
        if not all_finite(logits):
            raise NonFiniteError("the model's logits are not finite: expected numbers; "
                                 "are its scales, gains or embeddings off?")
        return logits
    return checked
