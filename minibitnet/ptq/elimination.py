"""Linear algebra of symmetric matrices whose bits depend on nothing but their inputs.

A library's Cholesky adds products up in an order of its own, and a code that lies at a tie would differ from
machine to machine. Here every number changes by one multiplication and one subtraction at a time, whole
matrices at once: outer products, which NumPy rounds one by one.

All matrices float64.
"""
import numpy as np

from ..errors import UserError
from ..exact import total


def cholesky(a):                                 # (m, m) -> (m, m)
    """The lower triangular L with a = L L^T; UserError where a is not positive definite."""
    rest, L = np.array(a, np.float64), np.zeros(a.shape)
    for j in range(len(a)):
        L[j:, j] = rest[j:, j] / np.sqrt(positive(rest[j, j], j))
        rest[j + 1:, j + 1:] -= L[j + 1:, j, None] * L[j + 1:, j]
    return L


def inverse(a):                                  # (m, m) -> (m, m)
    """a^-1 of a positive definite a, by L y = 1 and L^T x = y."""
    L, x = cholesky(a), np.eye(len(a))
    for j in range(len(a)):
        x[j] /= L[j, j]
        x[j + 1:] -= L[j + 1:, j, None] * x[j]
    for j in reversed(range(len(a))):
        x[j] /= L[j, j]
        x[:j] -= L[j, :j, None] * x[j]
    return x


def unit_upper(a):                               # (m, m) -> (m, m), (m,)
    """U, D with a = U diag(D) U^T, U upper triangular with ones on its diagonal."""
    rest, U, D = np.array(a, np.float64), np.eye(len(a)), np.zeros(len(a))
    for k in reversed(range(len(a))):
        D[k] = positive(rest[k, k], k)
        U[:k, k] = rest[:k, k] / D[k]
        rest[:k, :k] -= D[k] * U[:k, k, None] * U[:k, k]
    return U, D


def positive(pivot, j):
    """A pivot of a positive definite matrix."""
    if not pivot > 0:
        raise UserError(f"input {j} is a sum of others, or was never seen: expected more calibration text, "
                        "or more damping")
    return pivot


def in_order(a, b):                              # (n, K), (K, N) -> (n, N)
    """a b, added up from the first k to the last."""
    out = np.zeros((len(a), b.shape[1]))
    for k in range(len(b)):
        out += a[:, k, None] * b[k]
    return out


def orthogonal(m, rng):                          # -> (m, m)
    """A random orthogonal matrix, all alike likely: columns drawn one after another, each made orthogonal to
    those before (Gram and Schmidt; twice, for what rounding left). rng: exact.Random."""
    q = np.zeros((m, m))
    for j, v in enumerate(rng.standard_normal((m, m))):
        for _ in range(2):
            for u in q[:, :j].T:
                v = v - dot(u, v) * u
        q[:, j] = v / np.sqrt(dot(v, v))
    return q


def dot(u, v):
    """The sum of u v, added up by halves."""
    return total(u * v)[0]
