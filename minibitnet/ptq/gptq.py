"""GPTQ: column by column, the error of each made up for in those that follow.   [gptq] arXiv 2210.17323

Rounding each weight to its nearest level makes W nearest to itself. What a layer is for is its output, so
GPTQ asks for the Q whose output is nearest ([gptq] eq. 1):

    |W X - Q X|^2 = sum over rows w of (w - q) H (w - q)^T / 2,      H = 2 X X^T

Round the first weight of a row, and the error e = w_1 - q_1 is made; the other weights, still floats, can
make up for part of it. The best they can do is known in closed form ([gptq] eq. 2):

    w_rest -= e [H^-1]_{1,rest} / [H^-1]_11

Then column 1 leaves the problem, H^-1 becomes the inverse of what is left of H, and so on. All H^-1 that will
be needed are rows of one triangular matrix: with H^-1 = U^T U, U upper triangular, the j-th is
U_jj^2 on the diagonal and U_jj U_j,rest beside it.
"""
import numpy as np

from ..exact import mean
from .elimination import cholesky, inverse

DAMPING = 0.01                         # of the mean of H's diagonal, as in [gptq]


def damped(H, damping=DAMPING):
    """H + damping mean(diag H) 1: so that inputs that hardly differ can be told apart. An input that is
    always 0 gets a diagonal, for its weights do not matter."""
    diagonal = np.diag(H)
    return H + np.diag(damping * mean(diagonal) + (diagonal == 0))


def gptq(w, H, levels_of, group=0):              # (n, m), (m, m) -> (n, m)
    """Weights and the H of their inputs -> what the quantized weights stand for.

    levels_of(columns) gives the Levels of some columns as they are when their turn comes; group: how many
    columns share them, 0 for all."""
    U = cholesky(inverse(H)).T
    w, q = np.array(w, np.float64), np.empty(w.shape)
    for j in range(w.shape[1]):
        if j == 0 or group and j % group == 0:
            levels = levels_of(w[:, j:j + group] if group else w)
        q[:, j] = levels.nearest(w[:, j, None])[:, 0]
        error = (w[:, j] - q[:, j]) / U[j, j]
        w[:, j + 1:] -= error[:, None] * U[j, j + 1:]
    return q
