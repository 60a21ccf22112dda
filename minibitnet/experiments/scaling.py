"""Does loss follow a power law of size, and does it foretell a size that it has not seen?  [bitnet] eq. 19

    L(N) = a N^b + c.  On stories the least loss is known, so the excess E = L - floor is fitted, in two ways:
    M1   E = a N^b              the law's c is the floor
    M2   E = a N^b + c'         c' is free: what would remain for an infinitely large model, on this many
                                tokens. It need not be 0, for the tokens are the same for every size.

N counts the numbers in the matrices. ``predict`` is written to data/results before a run of the held-out size
begins; ``runner`` refuses it until then.
"""
import hashlib
import json
import math

import numpy as np

from ..exact import exp, log, total
from . import plan
from .uncertainty import mean_of, normal_draws, pooled, quantiles

GRID = 400                             # places at which c' is tried
SHARE = 0.9                            # of the draws that an interval holds
NAME = "scaling-prediction"


def points(done, arm):
    """Outcomes of runs -> {N: [excess of each seed]} of the sizes that are fitted."""
    return {plan.matrices(d): cell for d, cell in plan.by_width(done, arm, plan.SIZES).items()}


def power_law(n, e, weights):
    """M1 by weighted least squares of ln E = ln a + b ln N -> (ln a, b, weighted squares of residuals)"""
    # e, weights (..., sizes): a law for each row
    x, y = log(np.asarray(n, float)), log(np.asarray(e, float))
    weights = np.asarray(weights, float)
    w = weights / total(weights, -1)
    centre, height = total(w * x, -1), total(w * y, -1)
    b = total(w * (x - centre) * (y - height), -1) / total(w * (x - centre) * (x - centre), -1)
    rest = y - height - b * (x - centre)
    return (height - b * centre)[..., 0], b[..., 0], total(weights * rest * rest, -1)[..., 0]


def with_offset(n, e, weights):
    """M2: the c' of a grid whose power law fits E - c' best; a residual of ln(E - c') counts by the share of
    E that is left -> (ln a, b, c', [(c', squares) ..])"""
    [places], [law], [best] = offsets(n, np.asarray([e], float), weights)
    ln_a, b, squares = law
    return ln_a[best], b[best], float(places[best]), list(zip(places.tolist(), squares.tolist()))


def offsets(n, e, weights):
    """M2 of many rows e (D, sizes) -> the c' that are tried (D, GRID), their laws (D, 3, GRID), and which one
    is best (D,)"""
    places = np.linspace(-0.5, 0.98, GRID) * e.min(-1, keepdims=True)
    left = e[:, None] - places[:, :, None]
    laws = np.stack(power_law(n, left, np.asarray(weights) * (left / e[:, None])**2), 1)
    return places, laws, laws[:, 2].argmin(-1)


def at(n, ln_a, b, c=0.0):
    """The law at N."""
    return math.exp(ln_a + b * math.log(n)) + c


def foretold(cells, n, seed=0):
    """{N: [excess ..]} of the fitted sizes -> what each law, and two rules of thumb, say of another N. The
    interval is of draws: each size's mean moved by what seeds differ, the fit made again, and the noise of
    one new run. With one seed a size, how far M1 misses its points stands for what seeds differ."""
    sizes = list(cells)
    means = [math.exp(mean_of([math.log(e) for e in cells[size]])) for size in sizes]
    counts = [len(cells[size]) for size in sizes]
    ln_a, b, squares = power_law(sizes, means, counts)
    sd, freedom = pooled([[math.log(e) for e in cell] for cell in cells.values()])
    if sd is None:
        sd, freedom = math.sqrt(squares / max(1, len(sizes) - 2)), max(0, len(sizes) - 2)
    draws = normal_draws(seed, len(sizes) + 1)
    moved = np.asarray(means) * exp(sd * draws[:, :-1] / np.sqrt(counts))
    new, m1, m2 = exp(sd * draws[:, -1]), [], []
    for some in np.array_split(np.arange(len(draws)), 10):                # memory: GRID laws of each
        each, by = moved[some], new[some].tolist()
        m1 += [at(n, *law) * factor for *law, factor in zip(*power_law(sizes, each, counts)[:2], by)]
        for places, (ln_as, bs, _), best, factor in zip(*offsets(sizes, each, counts), by):
            m2.append(at(n, ln_as[best], bs[best], places[best]) * factor)
    offset = with_offset(sizes, means, counts)
    within = [c for c, s in offset[3] if sd and (s - min(s for _, s in offset[3])) / sd**2 < 3.84]
    last, before = means[-1], means[-2]
    slope = math.log(last / before) / math.log(sizes[-1] / sizes[-2])
    return {
        "N": n, "fitted": {"N": sizes, "excess": means, "seeds": counts}, "sd": sd, "freedom": freedom,
        "M1": {"ln_a": float(ln_a), "b": float(b), "excess": at(n, ln_a, b),
               "interval": quantiles(m1, SHARE)},
        "M2": {"ln_a": float(offset[0]), "b": float(offset[1]), "c": offset[2],
               "c_interval": [min(within), max(within)] if within else None,
               "excess": at(n, *offset[:3]), "interval": quantiles(m2, SHARE)},
        "as the largest": last, "the last two": last * math.exp(slope * math.log(n / sizes[-1])),
    }


def ready(done):
    """Are all sizes of the fit there, in both arms?"""
    return all(len(points(done, arm)) == len(plan.SIZES) for arm in plan.PAIR)


def predict(done):
    """Outcomes of runs -> the result of data/results/scaling-prediction.json: what is foretold of the
    held-out size, and, as a rehearsal, of the largest fitted one without itself; with the sha256 of the runs
    that it is made of."""
    used = sorted(run.name for arm in plan.PAIR for d in plan.SIZES for seed in plan.SEEDS
                  if plan.finished(done, run := plan.ladder(done, arm, d, seed)))
    arms = {}
    for arm in plan.PAIR:
        cells = points(done, arm)
        *smaller, largest = cells
        arms[arm] = {"held out": foretold(cells, plan.matrices(plan.HELD_OUT)),
                     "rehearsal": foretold({size: cells[size] for size in smaller}, largest)
                     | {"measured": cells[largest]}}
    outcomes = {name: done[name] for name in used}
    return {"config": {"runs": used, "sha256": hashlib.sha256(
        json.dumps(outcomes, sort_keys=True).encode()).hexdigest()}, "arms": arms}
