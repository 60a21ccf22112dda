"""The values that a quantized weight may have, and rounding to the nearest of them.

Levels are evenly spaced, value = scale (code - zero), codes from low to high; scale and zero are columns, one
for each row of the matrix. (One bit has two levels, and 1.58 = log2 3 bits three.)
"""
from numbers import Real
from typing import NamedTuple

import numpy as np

from ..errors import UserError, brief
from ..exact import total
from ..quant import EPS

BITS = 1, 1.58, 2, 3, 4, 8


class Levels(NamedTuple):
    """scale, zero: (n, 1); low, high: the least and the largest code. From -1 to 1 without a 0 there are two
    levels (``two``): plus and minus the scale."""
    scale: np.ndarray
    zero: np.ndarray
    low: int
    high: int
    two: bool = False

    def codes(self, w):
        """The code of the nearest level of each weight, w (n, m) -> (n, m); halves of the scale to even ones
        where zero is a whole number, and of two levels 0 to the lower one, as Sign does ([bitnet] eq. 2)."""
        if self.two:
            return np.where(w > 0, 1, -1).astype(w.dtype)
        whole = np.floor(self.zero)
        return np.clip(np.rint(w / self.scale + (self.zero - whole)) + whole, self.low, self.high)

    def values(self, codes):
        """What codes stand for."""
        return self.scale * (codes - self.zero)

    def nearest(self, w):
        """The nearest levels themselves."""
        return self.values(self.codes(w))


def checked(bits):
    """The bits, if they are among BITS."""
    if isinstance(bits, bool) or not isinstance(bits, Real) or bits not in BITS:
        raise UserError(f"bits = {brief(bits)}: expected one of {', '.join(map(str, BITS))}")
    return bits


def symmetric(w, bits):
    """Levels about 0, w (n, m): the outermost ones at the largest magnitude of each row ("absmax"). Of one
    bit that is the largest magnitude, plus or minus."""
    largest = np.maximum(np.abs(w).max(1, keepdims=True), EPS)
    if checked(bits) == 1:
        return Levels(largest, np.zeros_like(largest), -1, 1, two=True)
    high = 1 if bits == 1.58 else 2**(bits - 1) - 1
    return Levels(largest / high, np.zeros_like(largest), -high, high)


def between(w, bits):
    """Levels from the least to the largest number of each row, 0 included: GPTQ's, as its code has it.
    (Of 1 and 1.58 bits: those of ``about_mean``, for extremes are poor levels where there are so few.)"""
    if checked(bits) < 2:
        return about_mean(w, bits)
    least, largest = np.minimum(w.min(1, keepdims=True), 0), np.maximum(w.max(1, keepdims=True), 0)
    scale = np.maximum(largest - least, EPS) / (2**bits - 1)
    return Levels(scale, np.rint(-least / scale), 0, 2**bits - 1)


def about_mean(w, bits):
    """One bit: plus or minus the mean magnitude of each row, which is the nearest that two such levels come.
    1.58 bits: 0 as well, and absmean's rule, [b158] eqs. 1-3, row by row."""
    mean = np.maximum(total(np.abs(w), 1) / w.dtype.type(w.shape[1]), EPS)
    if checked(bits) == 1:
        return Levels(mean, np.zeros_like(mean), -1, 1, two=True)
    if bits != 1.58:
        raise UserError(f"bits = {bits}: expected 1 or 1.58, of which alone the mean magnitude is a level")
    return Levels(mean, np.zeros_like(mean), -1, 1)
