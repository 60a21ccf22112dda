"""A trigram model: what counting three tokens in a row knows of a text. A language model has to beat it by
far."""
import numpy as np

from ..errors import UserError


def trigram_loss(training, tokens, vocab_size):
    """Nats per token of ``tokens`` after the first two, of a trigram model counted on ``training``,
    smoothed after Witten and Bell:

        p(w | u v) = (c(u v w) + N(u v) p(w | v)) / (c(u v) + N(u v)),   N: how many different tokens follow;

    p(w | v) likewise, and p(w), down to the uniform 1 / vocab_size. (Witten and Bell 1991, method C,
    interpolated.)
    """
    if min(len(training), len(tokens)) < 3:
        raise UserError(f"a trigram model: {len(training):,} tokens to count and {len(tokens):,} to score: "
                        f"expected at least 3 of each")
    p = np.full(len(tokens) - 2, 1 / vocab_size)
    for n in (1, 2, 3):
        grams, counts = np.unique(_grams(training, n, vocab_size), return_counts=True)
        contexts, first, followers = np.unique(grams // vocab_size, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        asked = _grams(tokens, n, vocab_size)[3 - n:]
        c = _look_up(grams, asked, counts)
        total, followed = _look_up(contexts, asked // vocab_size, totals, followers)
        p = np.where(total > 0, (c + followed * p) / np.maximum(total + followed, 1), p)
    return -np.log(p).mean()


def _grams(tokens, n, vocab_size):               # (N,) -> (N - n + 1,)
    """The n-gram that begins at each place, as one number."""
    return sum(tokens[i:len(tokens) - n + 1 + i].astype(np.int64) * vocab_size ** (n - 1 - i)
               for i in range(n))


def _look_up(keys, asked, *values):
    """The values of the asked keys, 0 where a key is not there."""
    at = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    found = [np.where(keys[at] == asked, v[at], 0) for v in values]
    return found[0] if len(found) == 1 else found
