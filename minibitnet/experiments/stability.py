"""Who survives which learning rate?   [bitnet] §3.4, Fig. 5

The criterion, fixed before a run was made. A run is, in this order,

    non-finite   if its loss was no number
    diverged     if its mean training loss of the last tenth is 0.5 nats a token above the lowest twentieth
                 before it; or above what trigram counts reach, while the same arm trains at a lower rate
    hurt         if its excess is above 1.25 times the best of its arm, guards alike
    trains       otherwise

An arm's edge is the geometric mean of the last rate at which it trains and the first above it at which it
does not. Beside it stands the edge over the arm's own best rate: how far above its optimum an arm survives,
which raw rates do not say.
"""
import math

from .uncertainty import mean_of

RISE, HURT = 0.5, 1.25
NON_FINITE, DIVERGED, HURT_, TRAINS = "non-finite", "diverged", "hurt", "trains"


def rises(losses):
    """Of mean training losses over equal stretches: is the last tenth so far above the lowest twentieth
    before?"""
    tenth, twentieth = max(1, len(losses) // 10), max(1, len(losses) // 20)
    before = losses[:-tenth]
    lowest = min(mean_of(before[i:i + twentieth]) for i in range(len(before) - twentieth + 1))
    return mean_of(losses[-tenth:]) > lowest + RISE


def end(losses):
    """The mean of the last tenth."""
    return mean_of(losses[-max(1, len(losses) // 10):])


def outcomes(by_rate, trigram):
    """{rate: outcome of a run} of one arm and one setting -> {rate: what it is}. trigram: nats a token that
    trigram counts reach on the training text."""
    found, survived = {}, False
    best = min((o["excess"]["mean"] for o in by_rate.values() if "excess" in o), default=math.inf)
    for rate, o in sorted(by_rate.items()):
        if "non_finite" in o:
            found[rate] = NON_FINITE
        elif rises(o["series"]["loss"]) or survived and end(o["series"]["loss"]) > trigram:
            found[rate] = DIVERGED
        else:
            found[rate] = HURT_ if o["excess"]["mean"] > HURT * best else TRAINS
            survived = survived or end(o["series"]["loss"]) <= trigram
    return found


def edge(found):
    """{rate: what it is} -> the edge, or (rate, None) or (None, rate) where it is above, or below, every rate
    that was tried."""
    rates = sorted(found)
    trained = [rate for rate in rates if found[rate] == TRAINS]
    if not trained:
        return None, rates[0]
    above = [rate for rate in rates if rate > trained[-1]]
    return math.sqrt(trained[-1] * above[0]) if above else (trained[-1], None)
