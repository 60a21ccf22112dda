"""The quantizers of BitNet: pure functions of arrays,  x -> (codes, scale)  with  value ≈ codes * scale.

This convention holds everywhere in the package, in files too: a scale *multiplies* codes. (Some published
code stores the reciprocal and divides.) Codes are whole numbers in x's own float type, because a float32
matrix product of small whole numbers is exact and fast; ``codes.astype(np.int8)`` loses nothing and is what
gets stored.

Arrays are float32 or float64; any other type is a TypeError, for in float16 127 / 1e-5 is infinite, and whole
numbers have no room for codes. NaN and infinity are a FloatingPointError: they have no codes; no numbers at
all are a ValueError.

Layout: features first. A weight matrix is (n, m), outputs by inputs; activations are (m, ...), one token per
column, as the papers write  y = W x.  Scales keep the reduced axes, of length 1, so that
``codes * scale`` always broadcasts.

Two letters mean the same everywhere below: gamma (a magnitude; [bitnet] writes beta for that of weights) and
Q_b (the largest code).
Sources: [bitnet] arXiv 2310.11453 · [b158] arXiv 2402.17764 · [a48] arXiv 2411.04965 ·
[v2] arXiv 2504.18415 · [faq] "The Era of 1-bit LLMs: Training Tips, Code and FAQ".
"""
import math
from typing import NamedTuple

import numpy as np

from .exact import mean, total

QB = 127      # Q_b for 8 bits. The papers print 2^(b-1) = 128; [faq] and every released implementation: 127.
EPS = 1e-5    # Smallest gamma. [b158] eq. 1 prints gamma + eps; [faq] and the released code: max(gamma, eps).


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


# ---- weights: (n, m) float -> codes (n, m), scale (1, 1)

def absmean_ternary(w):
    """Weights to {-1, 0, +1}:  W~ = RoundClip(W / gamma, -1, 1),  gamma = mean|W|.   [b158] eqs. 1-3"""
    gamma = _magnitude(mean(np.abs(_checked(w))))
    return Quantized(round_clip(w / gamma, -1, 1), gamma)


def sign_binary(w):
    """Weights to {-1, +1}:  W~ = Sign(W - alpha),  alpha = mean W,  beta = mean|W|.   [bitnet] eqs. 1-3, 12

    Sign(0) is -1 ([bitnet] eq. 2): np.sign(0) is 0, a third value. beta is the mean of |W|, not of |W -
    alpha|, and alpha is not added back: both as printed.
    """
    alpha = mean(_checked(w))
    beta = _magnitude(mean(np.abs(w)))
    return Quantized(np.where(w > alpha, 1, -1).astype(w.dtype), beta)


# ---- activations: (m, ...) float -> codes (m, ...), scale (1, ...), or (1, ..., 1) for axis=None

def absmax_int8(x, axis=0, Q_b=QB):
    """Activations to [-127, 127]:  x~ = round(x Q_b / gamma),  gamma = max|x|,  scale = gamma / Q_b.
    [bitnet] eqs. 4-5

    axis=0 takes gamma per token (a column; [b158] §2, and [bitnet] at inference), axis=None over the whole
    tensor ([bitnet] in training). Codes fit int8 as it is; with Q_b = 7 they take 4 bits (the key-value cache
    of [a48]).

    [bitnet] eq. 4 clips to [-Q_b + eps, Q_b - eps], [faq] to [-128, 127]; |x| <= gamma makes the clip idle,
    so it is left out. Eq. 4 prints no rounding, [faq] rounds.
    """
    gamma = _magnitude(np.abs(_checked(x)).max(axis=axis, keepdims=True))
    codes = x * (Q_b / gamma)
    return Quantized(np.rint(codes, out=codes), gamma / Q_b)


def absmean_int4(x):
    """Activations to [-8, 7], one scale a token:  x~ = RoundClip(sqrt(7) x / beta, -8, 7),  beta = mean|x|,
    scale = beta / sqrt(7).   [a48] eq. 7, [v2] eq. 6

    What lies beyond 3 beta or so is clipped: bits go to the many numbers near 0, not to the few large ones.
    """
    beta = _magnitude(total(np.abs(_checked(x)), 0) / x.dtype.type(len(x)))
    scale = beta / x.dtype.type(math.sqrt(7))
    codes = x / scale
    return Quantized(np.clip(np.rint(codes, out=codes), -8, 7, out=codes), scale)   # ``round_clip``, in place


def sparse_int8(x):
    """``absmax_int8`` of each token, in which the codes of its smaller half are 0:  x~ * M,  M = Top_k(|x|),
    k half of the features (of an odd number the larger part).   [a48] eq. 1, §3. Where several are as large
    as the least that stays, all of them stay."""
    codes, scale = absmax_int8(x)
    magnitude = np.abs(x)
    least = np.partition(magnitude, len(x) // 2, axis=0)[len(x) // 2]
    return Quantized(codes * (magnitude >= least), scale)


def absmax_nonnegative(x, axis=0):
    """Activations before a non-linearity to [0, 127]:  x~ = round((x - eta) Q_b / gamma),  eta = min x.
    [bitnet] eq. 6. Nothing in this package calls it: in front of a non-linearity our blocks keep floats.

    Returns ((codes, scale), eta) with  value ≈ codes * scale + eta;  axis as in ``absmax_int8``.
    gamma is taken *after* the shift, max(x - eta): the paper leaves this open, and with the gamma of eq. 5,
    max|x|, every value above eta + gamma (half of a symmetric input) would be clipped to Q_b.
    """
    eta = _checked(x).min(axis=axis, keepdims=True)
    shifted = x - eta
    gamma = _magnitude(shifted.max(axis=axis, keepdims=True))
    return Quantized(np.rint(shifted * (QB / gamma)), gamma / QB), eta


# ---- what may come in

def _checked(x):
    if getattr(x, "dtype", None) not in (np.float32, np.float64):
        kind = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"an array of {kind}: a quantizer takes float32 or float64 (x.astype(np.float32))")
    if not x.size:
        raise ValueError(f"an array of shape {x.shape}: expected a number at least to quantize")
    return x


def _magnitude(gamma):            # -> at least EPS; of numbers not all finite no maximum or mean is finite
    if not np.maximum.reduce(gamma, None) < np.inf:
        raise FloatingPointError("NaN, infinity or numbers too large to add up: "
                                 "expected finite numbers to quantize; did the training diverge?")
    return np.maximum(gamma, EPS)


# ---- groups: the papers' answer to model parallelism; our model itself does not use them

def in_groups(quantize, x, G):
    """quantize(x) by G equal groups along the first axis, each on its own.   [bitnet] eqs. 13-14

    The result is like quantize's, but its scales have a row for each of x. Nothing is taken over more than
    one group, so a device that holds one needs to know no other.
    """
    return _joined([quantize(group) for group in split_groups(_checked(x), G)], len(x) // G)


def split_groups(x, G):
    """x (n, ...) -> (G, n / G, ...): equal groups along the first axis.  [bitnet] §2.1"""
    if x.shape[0] % G:
        raise ValueError(f"groups = {G} does not divide the first axis of {x.shape}")
    return x.reshape(G, -1, *x.shape[1:])


def _joined(groups, n):           # results of the groups, arrays or tuples of them -> one of all: n rows for
                                  # each group, those of its array, or its single row n times
    if isinstance(groups[0], tuple):
        fields = [_joined(field, n) for field in zip(*groups)]
        return Quantized(*fields) if isinstance(groups[0], Quantized) else tuple(fields)
    return np.concatenate([np.broadcast_to(a, (n, *a.shape[1:])) for a in groups])
