"""How far a number of few runs may be trusted: seeds pooled over models, intervals, draws.

Losses are compared on a logarithmic scale, where seeds of a good and of a bad model differ by about the same.
"""
import math

import numpy as np

from ..exact import Random

# Student's t, two-sided 95 %, by degrees of freedom; above 30 the normal's.
T95 = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
       2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052,
       2.048, 2.045, 2.042)
DRAWS = 2000


def t95(freedom):
    """Half of the width of a 95 % interval, in standard errors."""
    return T95[freedom] if freedom < len(T95) else 1.96


def mean_of(numbers):
    """Of a few floats, in one order."""
    return math.fsum(numbers) / len(numbers)


def pooled(cells):
    """Lists of what belongs together (the seeds of one model, say) -> (standard deviation around each list's
    mean, degrees of freedom); (None, 0) where no list has two."""
    squares = [(x - mean_of(cell))**2 for cell in cells if len(cell) > 1 for x in cell]
    freedom = sum(len(cell) - 1 for cell in cells)
    return (math.sqrt(math.fsum(squares) / freedom), freedom) if freedom else (None, 0)


def interval(numbers, sd, freedom):
    """A mean and how far it may be off, with 95 %: (mean, half width), or (mean, None) where sd is not
    known."""
    return mean_of(numbers), None if sd is None else t95(freedom) * sd / math.sqrt(len(numbers))


def normal_draws(seed, n):
    """(DRAWS, n) standard normal numbers, the same everywhere."""
    return Random(seed).standard_normal((DRAWS, n))


def quantiles(draws, share):
    """The interval that holds this share of the draws, as much below it as above."""
    ordered, outside = np.sort(draws), (1 - share) / 2
    return tuple(float(ordered[round(q * (len(ordered) - 1))]) for q in (outside, 1 - outside))


def spread(numbers):
    """A point of a picture: mean, least, most."""
    return mean_of(numbers), min(numbers), max(numbers)


def words(mean, half):
    """A mean and its interval, in text; half: None where it is not known."""
    return f"{mean:.1f}" + (f" ± {half:.1f}" if half is not None else "")
