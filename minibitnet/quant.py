"""The quantizers of BitNet: pure functions of arrays,  x -> (codes, scale)  with  value ≈ codes * scale.

This convention holds everywhere in the package, in files too: a scale *multiplies* codes. (Some published code stores
the reciprocal and divides.) Codes are whole numbers in x's own float type, because a float32 matrix product of small
whole numbers is exact and fast; ``codes.astype(np.int8)`` loses nothing and is what gets stored.

Groups are the papers' answer to model parallelism; our model itself does not use them.

Arrays are float32 or float64; any other type is a TypeError, for in float16 127 / 1e-5 is infinite, and whole numbers have no room for codes.
NaN or infinity is a FloatingPointError: it would make codes that are no numbers.

Layout: features first. A weight matrix is (n, m), outputs by inputs; activations are (m, ...), one token per column,
as the papers write  y = W x.  Scales keep the reduced axes with length 1, so ``codes * scale`` always broadcasts.

Two letters mean the same everywhere below: gamma (a magnitude) and Q_b (the largest code).
Sources: [bitnet] arXiv 2310.11453 · [b158] arXiv 2402.17764 · [faq] "The Era of 1-bit LLMs: Training Tips, Code and FAQ" ·
[a48] arXiv 2411.04965.
"""
from typing import NamedTuple

import numpy as np

from .exact import mean

QB = 127      # Q_b for 8 bits. The papers print 2^(b-1) = 128; [faq] and every released implementation use 127.
EPS = 1e-5    # Smallest gamma. [b158] eq. 1 prints gamma + eps; [faq] and the released code take max(gamma, eps).


class Quantized(NamedTuple):
    """Whole-number codes and their scale; the value they stand for is ``codes * scale``."""
    codes: np.ndarray
    scale: np.ndarray


def dequantize(codes, scale):
    """The values that the codes stand for: codes * scale."""
    return codes * scale


def round_clip(x, a, b):
    """RoundClip(x, a, b) = max(a, min(b, round(x))).  [b158] eq. 2.  Halves round to even, as in PyTorch."""
    return np.clip(np.rint(x), a, b)


# ---- weights ---------------------------------------------------------------------------------------------------------

def absmean_ternary(w, groups=1):
    """Weights to {-1, 0, +1}:  W~ = RoundClip(W / gamma, -1, 1),  gamma = mean|W|.   [b158] eqs. 1-3

    w (n, m) float -> codes (n, m), scale (1, 1); with groups = G > 1 the n rows are cut into G equal groups, each with
    a gamma of its own ([bitnet] eq. 13), and scale is (n, 1).
    """
    gamma = _scale_of(_group_mean(np.abs(_checked(w)), groups))
    return Quantized(round_clip(w / gamma, -1, 1), gamma)


def sign_binary(w, groups=1):
    """Weights to {-1, +1}:  W~ = Sign(W - alpha),  alpha = mean W,  scale beta = mean|W|.   [bitnet] eqs. 1-3, 12, 13

    Sign(0) is -1 ([bitnet] eq. 2): np.sign(0) is 0, a third value. beta is the mean of |W|, not of |W - alpha|, and
    alpha is not added back: both as printed. Shapes as in ``absmean_ternary``.
    """
    alpha = _group_mean(_checked(w), groups)
    beta = _scale_of(_group_mean(np.abs(w), groups))
    return Quantized(np.where(w > alpha, 1, -1).astype(w.dtype), beta)


# ---- activations -----------------------------------------------------------------------------------------------------

def absmax_int8(x, axis=0, groups=1, Q_b=QB):
    """Activations to [-127, 127]:  x~ = round(x Q_b / gamma),  gamma = max|x|,  scale = gamma / Q_b.   [bitnet] eqs. 4-5

    x (m, ...) float -> codes like x.  axis=0 takes gamma per token (a column; [b158] §2, and [bitnet] at inference),
    axis=None over the whole tensor ([bitnet] in training). groups = G cuts the m features into G equal groups with a
    gamma each ([bitnet] eq. 14); scale then has m rows. Q_b = 7 makes codes of 4 bits (the key-value cache of [a48]).

    [bitnet] eq. 4 clips to [-Q_b + eps, Q_b - eps], [faq] to [-128, 127]; |x| <= gamma makes the clip idle, so it is left
    out. Eq. 4 prints no rounding, [faq] rounds.
    """
    gamma = _scale_of(_group_max(np.abs(_checked(x)), axis, groups))
    codes = x * (Q_b / gamma)
    return Quantized(np.rint(codes, out=codes), gamma / Q_b)


def absmax_nonnegative(x, axis=0, groups=1):
    """Activations before a non-linearity to [0, 127]:  x~ = round((x - eta) Q_b / gamma),  eta = min x.   [bitnet] eqs. 6, 14

    Returns ((codes, scale), eta) with  value ≈ codes * scale + eta;  axis and groups as in ``absmax_int8``.
    gamma is taken *after* the shift, max(x - eta): the paper leaves this open, and with the gamma of eq. 5, max|x|,
    every value above eta + gamma (half of a symmetric input) would be clipped to Q_b.
    """
    eta = -_group_max(-_checked(x), axis, groups)
    shifted = x - eta
    gamma = _scale_of(_group_max(shifted, axis, groups))
    return Quantized(np.rint(shifted * (QB / gamma)), gamma / QB), eta


# ---- what may come in

def _checked(x):
    if getattr(x, "dtype", None) not in (np.float32, np.float64):
        raise TypeError(f"an array of {getattr(x, 'dtype', type(x).__name__)}: a quantizer takes float32 or float64 (x.astype(np.float32))")
    return x


def _scale_of(gamma):             # a magnitude -> the same, at least EPS; a maximum or mean of numbers that are not all finite is not finite
    if not np.maximum.reduce(gamma, None) < np.inf:
        raise FloatingPointError("NaN or infinity among the numbers to quantize: expected finite numbers; did the training diverge?")
    return np.maximum(gamma, EPS)


# ---- groups ----------------------------------------------------------------------------------------------------------

def split_groups(x, groups):
    """x (n, ...) -> (groups, n / groups, ...): equal groups along the first axis.  [bitnet] §2.1"""
    if x.shape[0] % groups:
        raise ValueError(f"groups = {groups} does not divide the first axis of {x.shape}")
    return x.reshape(groups, -1, *x.shape[1:])


def _group_mean(x, groups):       # (n, m) -> (1, 1), or (n, 1) with the mean of its group in each row
    if groups == 1:
        return mean(x)
    return np.concatenate([np.broadcast_to(mean(group), (len(group), 1)) for group in split_groups(x, groups)])


def _group_max(x, axis, groups):  # (m, ...) -> reduced axes kept with length 1; with groups, m rows
    if groups == 1:
        return x.max(axis=axis, keepdims=True)
    if axis not in (0, None):
        raise ValueError(f"groups run along the first axis, so axis must be 0 or None, got {axis}")
    grouped = split_groups(x, groups)
    gamma = grouped.max(axis=1 if axis == 0 else tuple(range(1, grouped.ndim)), keepdims=True)
    return np.repeat(gamma, len(x) // groups, axis=0).reshape(len(x), *gamma.shape[2:])
