"""At equal bytes of weights, or equal joules: which arm is better, and how many times as much does the other
need?   [b158] Fig. 1

Between the sizes that were trained the logarithm of the excess is taken to be linear in the logarithm of the
cost; beyond them nothing is said. Intervals are of draws: in each, every size's mean is made of its seeds
drawn with replacement. (Of one seed a size nothing can be drawn, and there is no interval.)
"""
import math
from typing import NamedTuple

from ..exact import Random
from .uncertainty import DRAWS, mean_of, quantiles

SHARE = 0.95


class Line(NamedTuple):
    """An arm: costs, rising, and the mean of the logarithm of the excess there."""
    costs: tuple
    heights: tuple

    def at(self, cost):
        """ln of the excess at a cost; None beyond the ends."""
        if not self.costs[0] <= cost <= self.costs[-1]:
            return None
        if cost == self.costs[0]:
            return self.heights[0]
        return between(cost, self.costs, self.heights, math.log)

    def cost_of(self, height):
        """The least cost at which the excess is so low (its logarithm); None where it never is, or is from
        the first size on."""
        if height >= self.heights[0]:
            return None
        for i in range(1, len(self.costs)):
            if self.heights[i] <= height:
                share = (self.heights[i - 1] - height) / (self.heights[i - 1] - self.heights[i])
                ends = math.log(self.costs[i - 1]), math.log(self.costs[i])
                return math.exp(ends[0] + share * (ends[1] - ends[0]))
        return None


def between(x, xs, ys, scale):
    """Linear in scale(x) between the two xs around it."""
    i = next((i for i in range(1, len(xs)) if x <= xs[i]), len(xs) - 1)
    share = (scale(x) - scale(xs[i - 1])) / (scale(xs[i]) - scale(xs[i - 1]))
    return ys[i - 1] + share * (ys[i] - ys[i - 1])


def line(cells):
    """{cost: [excess of each seed]} -> Line"""
    costs = tuple(sorted(cells))
    return Line(costs, tuple(mean_of([math.log(e) for e in cells[cost]]) for cost in costs))


def drawn(cells, rng):
    """The Line of seeds drawn with replacement."""
    return line({cost: [seeds[i] for i in rng.integers(len(seeds), len(seeds))]
                 for cost, seeds in sorted(cells.items())})


def compared(ours, theirs, cost, seed=0):
    """Two arms at one cost -> {"ours", "theirs": excess, "ratio" of the two, its "interval", "times": how
    many times the cost theirs needs for our excess there, and its "times_interval"}; None for what lies
    beyond the sizes, or has no seeds to draw."""
    a, b = line(ours), line(theirs)
    heights = a.at(cost), b.at(cost)
    found = {"cost": cost, "ours": heights[0] and math.exp(heights[0]),
             "theirs": heights[1] and math.exp(heights[1]), "ratio": None, "interval": None,
             "times": None, "times_interval": None}
    if heights[0] is None:
        return found
    found["times"] = times(a, b, cost)
    if heights[1] is not None:
        found["ratio"] = math.exp(heights[0] - heights[1])
    if min(map(len, (*ours.values(), *theirs.values()))) > 1:
        rng = Random(seed)
        pairs = [(drawn(ours, rng), drawn(theirs, rng)) for _ in range(DRAWS)]
        if heights[1] is not None:
            found["interval"] = quantiles([math.exp(a.at(cost) - b.at(cost)) for a, b in pairs], SHARE)
        many = [t for a, b in pairs if (t := times(a, b, cost)) is not None]
        if found["times"] is not None and len(many) > 0.9 * DRAWS:
            found["times_interval"] = quantiles(many, SHARE)
    return found


def times(a, b, cost):
    """How many times the cost b needs for what a reaches at it; None where b does not reach it, or not only
    there."""
    needed = b.cost_of(a.at(cost))
    return None if needed is None else needed / cost
