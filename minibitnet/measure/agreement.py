"""How far two engines say the same of a text: loss, and the token that each finds likeliest."""
from typing import NamedTuple

import numpy as np

from ..float16 import column_blocks
from ..inference.scoring import in_nats, surprisal
from ..nn.training import SHARD_TOKENS, in_shards

CLEAR = 0.1      # nats between the two best tokens, from which on a choice counts as clear
MOVED = 0.001    # nats: far more than rounding moves a logit, less than a flipped code does


class Agreement(NamedTuple):
    """Of every target of a text, given the true tokens before it."""
    targets: int
    loss: float              # of the engine, nats per token
    reference_loss: float    # of the one it is compared with
    agree: float             # share of targets where both find the same token likeliest
    clear: int               # targets where the reference's two best tokens are more than CLEAR apart
    agree_clear: float       # share of those
    moved: float             # share with a logit that differs by more than MOVED: a code flipped at a tie
    identical: float         # share of targets whose logits are equal to the last bit


def agreement(model, reference, batches, tokens=SHARD_TOKENS):
    """Two LanguageModels and (ids, targets) batches (targets below 0 do not count) -> Agreement. tokens: of
    a batch that are read at once; memory depends on it, the result does not."""
    totals, losses = np.zeros(6, np.int64), np.zeros(2)
    for batch in batches:
        found = [some for shard in in_shards(batch, tokens) for some in compared(model, reference, *shard)]
        for counted, *each in found:
            totals += counted
        losses += [np.concatenate(each).sum() for each in zip(*(each for _, *each in found))]
    n, same, clear, same_clear, moved, identical = totals.tolist()
    of_clear = same_clear / clear if clear else float("nan")
    return Agreement(n, *(losses / n).tolist(), same / n, clear, of_clear, moved / n, identical / n)


def compared(model, reference, ids, targets):    # two LanguageModels, two (B, T)
    """Yield of a few targets at a time what is counted of them, and the surprisals of both models."""
    counts = targets >= 0
    logits, targets = [m.engine(ids)[:, counts] for m in (model, reference)], targets[counts]
    for some in column_blocks(logits[0]):
        ours, theirs = (in_nats(a[:, some], m.logit_scale) for m, a in zip((model, reference), logits))
        same = ours.argmax(0) == theirs.argmax(0)
        alone = theirs[0] - np.inf, theirs[0]
        second, best = np.partition(theirs, -2, axis=0)[-2:] if len(theirs) > 1 else alone
        clear = best - second > CLEAR
        moved, identical = (np.abs(ours - theirs) > MOVED).any(0), (ours == theirs).all(0)
        yield ([len(same), same.sum(), clear.sum(), (same & clear).sum(), moved.sum(), identical.sum()],
               surprisal(ours, targets[some]), surprisal(theirs, targets[some]))


class TokenByTokenModel:
    """In place of a LanguageModel for ``agreement``: its engine reads a sequence one token at a time, with a
    cache."""

    def __init__(self, model):
        self.logit_scale, self._model = model.logit_scale, model

    def engine(self, ids):
        caches = self._model.new_caches(len(ids))
        return np.concatenate([self._model.engine(ids[:, t:t + 1], caches) for t in range(ids.shape[1])],
                              axis=2)
