"""From logits to the next token, and the loop that decodes one token after another."""
import math
from functools import partial
from numbers import Integral, Real

import numpy as np

from ..errors import UserError
from ..exact import LN2, Random, exp, total
from .fixed_point import FRACTION_BITS, MOST_SHIFT, exp2_minus, mantissa, shift

TOP_P_BITS = 16


def check_sampling(temperature, top_k, top_p, seed):
    """Raise UserError for a setting outside its range, or of another kind than a number."""
    if not (isinstance(temperature, Real) and 0 <= temperature < float("inf")):
        raise UserError(f"temperature = {temperature!r}: "
                        "expected a number from 0 (always the likeliest token) upwards")
    if not (isinstance(top_k, Integral) and top_k >= 0):
        raise UserError(f"top_k = {top_k!r}: expected a count, or 0 (all tokens)")
    if not (isinstance(top_p, Real) and 0 < top_p <= 1):
        raise UserError(f"top_p = {top_p!r}: expected a number above 0, at most 1 (all tokens)")
    if not (isinstance(seed, Integral) and seed >= 0):
        raise UserError(f"seed = {seed!r}: expected a whole number, 0 or more")


def sample(logits, rng, *, temperature=1.0, top_k=0, top_p=1.0):
    """logits (V,) -> one id. temperature 0: the likeliest. top_k: only the k likeliest. top_p: of those, only
    the likeliest that together reach probability top_p (arXiv 1904.09751)."""
    if temperature == 0:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")[:top_k or None]
    with np.errstate(over="ignore"):                           # a tiny temperature: exp(-inf) is 0
        p = exp((logits[order] - logits[order[0]]).astype(np.float64) / temperature)
    p /= total(p)
    if top_p < 1:
        keep = np.searchsorted(p.cumsum(), top_p) + 1          # with the one that reaches top_p
        order, p = order[:keep], p[:keep] / total(p[:keep])
    return int(order[np.searchsorted(p.cumsum(), rng.random()).clip(max=len(p) - 1)])


def sample_integer(logits, rng, *, beta, top_k=0, top_p=1 << TOP_P_BITS):
    """``sample`` without a float: int32 logits (V,), |logits| < 2^28 -> one id.

    beta = M 2^E with E <= 0: a logit that is x below the largest has the weight 2^-(beta x), with the
    16 bits of the exponent of ``exp2_minus``.

        sort         largest first, equal ones by id; keep top_k of them
        weights      exp2_minus(shift(x M, min(-E, 62))): at most 2^24 (int32)
        add up       in this order: sums times 2^16 are at most 2^60 (int64; V <= 2^20)
        top_p        in 1/2^16: keep the first ones, up to the one whose sum 2^16 >= top_p times the whole sum
        draw         a whole 0 <= r < the sum of these, each equally likely: the first whose sum is above r
    """
    order = np.argsort(-logits, kind="stable")[:top_k or None]
    M, E = beta
    below = (logits[order[0]] - logits[order]).astype(np.int64)
    up_to = exp2_minus(shift(below * M, min(-E, MOST_SHIFT))).cumsum()
    if top_p < 1 << TOP_P_BITS:
        up_to = up_to[:np.searchsorted(up_to << TOP_P_BITS, up_to[-1] * top_p) + 1]
    return int(order[np.searchsorted(up_to, rng.integers(int(up_to[-1])), side="right")])


def sampler(temperature, top_k, top_p, logit_bits=None):
    """-> choose(logits, rng) -> id.  logit_bits: logits are whole numbers in units
    of 2^-logit_bits; None: floats.

    The settings become whole numbers here, once: beta = min(2^30, 2^(16 - logit_bits) log2(e) / temperature)
    with a mantissa of 31 bits, and round(2^16 top_p).
    """
    if logit_bits is None:
        return partial(sample, temperature=temperature, top_k=top_k, top_p=top_p)
    if temperature == 0:
        return lambda logits, rng: int(logits.argmax())
    beta = math.ldexp(1 / LN2, FRACTION_BITS - logit_bits) / temperature
    beta, top_p = mantissa(min(beta, 2.0**30)), round(top_p * 2**TOP_P_BITS)
    return partial(sample_integer, beta=beta, top_k=top_k, top_p=top_p)


def decode(engine, prompt, tokens, *, temperature=1.0, top_k=0, top_p=1.0, seed=0, caches=None):
    """Yield ``tokens`` ids that continue the ids of prompt, one by one, with a key-value cache.

    engine: anything with ``config.context`` and ``new_caches()`` that maps (ids (1, T), caches, last=True) to
    logits (V, 1, 1) of the last token and appends ids to the caches; with ``logit_bits`` where the logits are
    whole numbers. caches: by default new ones; they may hold the beginning of a prompt that is no longer than
    a context. When the context is full, the newest half of it is encoded again from position 0 and
    decoding goes on: a sliding window that moves by half a context at a time.
    """
    rng = Random(seed)
    choose = sampler(temperature, top_k, top_p, getattr(engine, "logit_bits", None))
    context = engine.config.context
    history, caches = list(prompt)[-context:], caches or engine.new_caches()
    pending = history[caches[0].length:]
    for _ in range(tokens):
        if caches[0].length + len(pending) > context:
            pending = history[-max(1, context // 2):]
            for cache in caches:                               # empty, and no second one
                cache.length = 0
        chosen = choose(engine(np.array([pending]), caches, last=True)[:, 0, 0], rng)
        yield chosen
        history, pending = (history + [chosen])[-context:], [chosen]
