"""QuIP: rotate at random, round with feedback, rotate back.   [quip] arXiv 2307.13304

With two bits a weight can take four values, and one weight of unusual size makes all four of them useless to
the others of its row. Orthogonal matrices U and V, drawn at random, spread every weight over all of them:

    W' = U W V^T,   H' = V H V^T,        W X = U^T (W' (V X)): nothing is lost, and W' has no outliers

1. Incoherence processing ([quip] Algorithm 1): inputs are scaled so that W and H are alike large in each,
   D = (diag H / diag W^T W)^(1/4); then both are rotated, by Kronecker products of two small orthogonal
   matrices ([quip] §4.1), which cost m (p + q) products a row for m = p q.
2. LDLQ ([quip] §3): with H' = (A + 1) D (A + 1)^T, A strictly upper triangular, column k is rounded to

       Q_k = nearest(W'_k + sum over j < k of (W'_j - Q_j) A_jk)

   which, for weights that may be any, is the best of all roundings with linear feedback. It gives what GPTQ
   gives, as the paper proves (tests hold both side by side): what is new is the rotation.
3. All rows share one scale, 2.4 times the root mean square of W', and levels lie evenly within.
4. Back: U^T Q V, and the inputs' scales undone ([quip] Algorithm 2).

Left out: the paper's further greedy passes over the codes.
"""
import math
from functools import lru_cache

import numpy as np

from ..exact import Random, mean, total
from ..quant import EPS
from .elimination import in_order, orthogonal, unit_upper
from .levels import Levels, about_mean, checked

RHO = 2.4                              # the outermost levels, in root mean squares of W'


def ldlq(w, H, levels):                          # (n, m), (m, m) -> (n, m)
    """Round the columns of w, each with the errors of those before it fed back."""
    A = unit_upper(H)[0]
    wanted, q = np.array(w, np.float64), np.empty(w.shape)
    for k in range(w.shape[1]):
        q[:, k] = levels.nearest(wanted[:, k, None])[:, 0]
        wanted[:, k + 1:] += (w[:, k] - q[:, k])[:, None] * A[k, k + 1:]
    return q


@lru_cache(maxsize=16)
def rotation(m, seed):
    """-> (left (p, p), right (q, q)), orthogonal, p q = m and p as near to q as m allows; what rotates is
    their Kronecker product."""
    p = max(d for d in range(1, math.isqrt(m) + 1) if m % d == 0)
    rng = Random(seed)
    return orthogonal(p, rng), orthogonal(m // p, rng)


def rotate(x, pair):                             # (m, N) -> (m, N)
    """V x of a rotation V: columns x, reshaped to (p, q) each, become left x right^T."""
    left, right = pair
    p, q, N = len(left), len(right), x.shape[1]
    x = in_order(left, x.reshape(p, q * N)).reshape(p, q, N).swapaxes(0, 1)
    return in_order(right, x.reshape(q, p * N)).reshape(q, p, N).swapaxes(0, 1).reshape(p * q, N)


def back(x, pair):
    """V^T x."""
    return rotate(x, tuple(a.T for a in pair))


def levels_of(w, bits):
    """One scale for all of w. (Of 1 and 1.58 bits: the mean magnitude, as everywhere in this package.)"""
    if checked(bits) < 2:
        return about_mean(w.reshape(1, -1), bits)
    outermost = max(RHO * float(np.sqrt(mean(np.square(w)).item())), EPS)
    n = 2**bits - 1
    return Levels(np.full((1, 1), 2 * outermost / n), np.full((1, 1), n / 2), 0, n)


def quip(w, H, bits, seed=0):                    # (n, m), (m, m) -> (n, m)
    """Weights and the (damped) H of their inputs -> what the quantized weights stand for."""
    w = np.asarray(w, np.float64)
    of_weights = np.maximum(total(np.square(w), 0)[0], EPS**2)                # diag W^T W
    D = np.sqrt(np.sqrt(np.diag(H) / of_weights))
    U, V = rotation(len(w), (seed, 0)), rotation(w.shape[1], (seed, 1))
    turned = rotate(rotate(w * D, U).T, V).T
    H = rotate(rotate(H / D / D[:, None], V).T, V)
    q = ldlq(turned, (H + H.T) / 2, levels_of(turned, bits))
    return back(back(q.T, V).T, U) / D
