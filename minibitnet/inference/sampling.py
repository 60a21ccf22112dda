"""From logits to the next token, and the loop that decodes one token after another."""
import numpy as np

from ..errors import UserError


def check_sampling(temperature, top_k, top_p, seed):
    """Raise UserError for a setting outside its range."""
    if not (0 <= temperature < float("inf")):
        raise UserError(f"temperature = {temperature}: expected a number from 0 (always the likeliest token) upwards")
    if top_k < 0:
        raise UserError(f"top_k = {top_k}: expected 0 (all tokens) or a count")
    if not (0 < top_p <= 1):
        raise UserError(f"top_p = {top_p}: expected more than 0, at most 1 (all tokens)")
    if seed < 0:
        raise UserError(f"seed = {seed}: expected 0 or more")


def sample(logits, rng, *, temperature=1.0, top_k=0, top_p=1.0):
    """logits (V,) -> one id. temperature 0: the likeliest. top_k: only the k likeliest. top_p: of those, only the likeliest
    that together reach probability top_p (arXiv 1904.09751)."""
    if temperature == 0:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")[:top_k or None]
    with np.errstate(over="ignore"):                           # a tiny temperature: -inf, whose exponential is 0
        p = np.exp((logits[order] - logits[order[0]]).astype(np.float64) / temperature)
    p /= p.sum()
    if top_p < 1:
        keep = np.searchsorted(p.cumsum(), top_p) + 1          # up to and including the one that reaches top_p
        order, p = order[:keep], p[:keep] / p[:keep].sum()
    return int(order[np.searchsorted(p.cumsum(), rng.random()).clip(max=len(p) - 1)])


def decode(model, prompt, tokens, *, temperature=1.0, top_k=0, top_p=1.0, seed=0):
    """Yield ``tokens`` ids that continue the ids of prompt, one by one, with a key-value cache.

    model: anything with ``config.context``, ``new_caches()`` and ``next_logits(ids, caches) -> (V,)``, which appends ids
    to the caches. When the context is full, the newest half of it is encoded again from position 0 and decoding goes
    on: a sliding window that moves by half a context at a time.
    """
    rng = np.random.default_rng(seed)
    context = model.config.context
    history = list(prompt)[-context:]
    pending, caches = history, model.new_caches()
    for _ in range(tokens):
        if caches[0].length + len(pending) > context:
            pending, caches = history[-max(1, context // 2):], model.new_caches()
        chosen = sample(model.next_logits(np.array(pending), caches), rng, temperature=temperature, top_k=top_k, top_p=top_p)
        yield chosen
        history, pending = (history + [chosen])[-context:], [chosen]
