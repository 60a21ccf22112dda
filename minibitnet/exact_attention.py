"""A softmax's sums over keys, exact: their bits depend on no order, no batch and no key that is not seen.

The products of ``exact.py`` would not do: there a row of values, one for each key, has one unit for all, and
keys that a query may not see, or just their number, would change it. Here each key has a power of two of its
own, which moves into its weight, and the unit of weights depends only on the keys that are seen.
"""
import math
from typing import NamedTuple

import numpy as np

from .exact import LIMIT, Grid, fine_product, on_one_grid, power_of_two, quiet_product, to_units, total

SHARES, WEIGHTS = 2.0**23, 2.0**29           # units of a key's power of two, and of the weights' sum
WEIGHT_UNIT = 2.0**-32                       # of softmax weights


class Values(NamedTuple):
    """The values of attention, ready to be added up:  value = share key_power.  (float64 is not rounded: its
    values are their own shares, and have no powers.)"""
    shares: np.ndarray               # (..., D, L)
    key_power: np.ndarray | None     # (..., 1, L): a power of two that none of the key's values exceeds
    power_up_to: np.ndarray | None   # (..., 1, L): the largest of the powers up to this key


def shared_out(v, rounded=False):            # float32 (..., D, L) -> Values
    """v = shares key_power, shares rounded to multiples of 2^-23 unless they are so already (``rounded``)."""
    if v.dtype == np.float64:
        return Values(v, None, None)
    size = np.maximum(np.abs(v).max(-2, keepdims=True), np.float32(2.0**-126))
    key_power = power_of_two(size.astype(np.float64))
    shares = v.astype(np.float64)
    shares *= 1 / key_power
    if not rounded:
        to_units(shares, 1 / SHARES, out=shares)
    return Values(shares, key_power, np.maximum.accumulate(key_power, -1))


def weighted_sums(v, e, positions):          # Values, (..., k, t) -> (..., D, t), (..., 1, t), (..., k, t)
    """The sums over keys, both exact, for t queries that stand at ``positions`` (a slice) among the keys:

        sum_k v_k e_k        Z = sum_k e_k        e in [0, 1], of the keys in front of positions.stop

    How many other keys there are, all of weight 0, or in which order they come, changes no bit. Also e as it
    was added up.

    1. Weights are rounded to multiples of 2^-32; up to 2^21 of them have an exact sum in float64, Z.
    2. Each key's power of two U_k >= |v_k| moves from the values into the weights:
       sum_k (v_k / U_k) (e_k U_k).
    3. Now a value is at most 1, in units of 2^-23, and the weights' sum at most Z U, with U the largest U_k
       that the query may see. They are rounded to the unit at which Z U is 2^29 units: every partial sum is a
       whole number of units, at most 2^52 but for the rounding. (Of many keys each has a small share of Z:
       the weights need the bits more than the values.)
    """
    seen = slice(e.shape[-2])
    if v.key_power is None:
        return v.shares[..., seen] @ e, total(e, -2), e
    w = e.astype(np.float64)
    to_units(w, WEIGHT_UNIT, out=w)
    e, Z = w.astype(np.float32), w.sum(-2, keepdims=True)
    w *= v.key_power[..., seen].swapaxes(-1, -2)
    U = v.power_up_to[..., positions]
    to_units(w, U * power_of_two(Z) * (1 / WEIGHTS), out=w)
    return quiet_product(v.shares[..., seen], w), Z, e


def weighted_gradient(g, e):                 # (..., D, t), (..., k, t) -> (..., D, k)
    """g e^T, where e comes from ``weighted_sums``, at most 2^32 units: g gets what float64 has left for sums
    over t queries, a norm of 2^18 units where there are 64."""
    norm = math.sqrt(e.shape[-1]) / WEIGHT_UNIT if e.dtype == np.float32 else 0.0
    weights = Grid(e.astype(np.float64), norm)
    left = LIMIT[np.dtype(np.float64)] / (norm or 1)
    return fine_product(on_one_grid(g, left, e.shape[-1], np.float64), weights.T)
