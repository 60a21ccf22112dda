"""The differentiable operations of the model. Every gradient here is DERIVED: finite differences agree.

Read ``autograd.py`` first: it says what `@op` and `vjp` are. Each op here is one screen: shapes, formula and
source, the forward pass in the formula's letters, `vjp(g)` under its derivative in one line; a forward pass
of one line stands in the `return`. g is dL/d(out), dx is dL/dx; in norms n is the normed value. Two are
longer than their formulas, for speed: ``causal_attention`` (blocks) and the gradient of ``embedding``
(sorted); ``tests/nn/test_ops.py`` has the six lines and the ``np.add.at`` that they must equal.

Products, sums and functions are those of ``exact*.py``: their bits do not depend on the library. ``product``
multiplies two grids in their own type, ``fine_product`` in float64, rounded once; ``whole``: whole numbers.

Shapes: activations are (C, B, T), C features of B sequences of T tokens: features first, one token per
column, as the papers write  y = W x.  It is also the fast order in NumPy: reductions over features and
factors per token run along contiguous memory.

Sources (arXiv): [bitnet] 2310.11453 · [b158] 2402.17764 · [2b4t] 2504.12285 · [rmsnorm] 1910.07467 ·
[swiglu] 2002.05202 · [rope] 2104.09864 · [attention] 1706.03762.
"""
import math

import numpy as np

from ..exact import (Grid, Operand, coarse, cos_sin, exp, fine, fine_gradient, fine_product, log, operand,
                     product, rest_of, sigmoid, sum_runs, total, whole)
from ..exact_attention import Values, shared_out, weighted_gradient, weighted_sums
from ..float16 import column_blocks
from ..quant import QB, split_groups
from ..shapes import same_shape
from .autograd import op

QUERY_BLOCK = 64     # queries that attention handles at a time


def columns(x):                                  # (m, ...) -> (m, tokens)
    """All tokens side by side, one to a column."""
    return x.reshape(len(x), -1)


@op
def embedding(table, ids):                       # (V, C), (B, T) int -> (C, B, T)
    """x[:, b, t] = table[ids[b, t]]"""
    def vjp(g):                                  # dtable[v] = sum of g over the tokens with id v
        order = np.argsort(ids, axis=None, kind="stable")
        used, starts = np.unique(ids.ravel()[order], return_index=True)
        dtable = np.zeros(table.shape, g.dtype)
        dtable[used] = sum_runs(columns(g)[:, order], starts).T
        return dtable, None
    return np.ascontiguousarray(table[ids].transpose(2, 0, 1)), vjp


@op
def add(x, y):                                   # two arrays of one shape -> the same
    """x + y, the residual connection."""
    same_shape("add", x.shape, y.shape)

    def vjp(g):                                  # dx = g,  dy = g
        return g, g
    return x + y, vjp


@op
def rms_norm(x, gain, *, eps):                   # (C, B, T), (C,) -> (C, B, T)
    """y = n gain,  n = x r,  r = (mean_C(x^2) + eps)^(-1/2).   [rmsnorm] eq. 4, plus eps"""
    same_shape("rms_norm's features and gain", x.shape[:-2], gain.shape)
    r = 1 / np.sqrt(total(x * x) / len(x) + eps)                         # (1, B, T)
    n = x * r

    def vjp(g):                  # dx = r (dn - n mean_C(dn n)),  dn = g gain;   dgain = sum_BT(g n)
        dx, gn = g * gain[:, None, None], g * n                          # dx begins as dn
        dx -= n * (total(dx * n) / len(n))
        dx *= r
        return dx, total(columns(gn), 1)[:, 0]
    return n * gain[:, None, None], vjp


@op
def layer_norm(x, *, eps, groups=1):             # (C, B, T) -> (C, B, T)
    """n = (x - mean_C(x)) r,  r = (var_C(x) + eps)^(-1/2), no gain or bias.  [bitnet] eq. 12, in groups 15"""
    def mean_C(x):                               # C: the features of each group
        return total(x, 1) / x.shape[1]
    x = split_groups(x, groups)                                          # (G, C/G, B, T)
    centred = x - mean_C(x)
    r = 1 / np.sqrt(mean_C(np.square(centred)) + eps)                    # (G, 1, B, T)
    n = centred * r
    shape = (-1, *x.shape[2:])

    def vjp(g):                                  # dx = r (g - mean_C(g) - n mean_C(g n))
        g = split_groups(g, groups)
        return (r * (g - mean_C(g) - n * mean_C(g * n))).reshape(shape),
    return n.reshape(shape), vjp


@op
def linear(x, w):                                # (m, B, T), (n, m) -> (n, B, T)
    """y = W x.  Each is an array or a ready Operand."""
    x, w = (a if isinstance(a, Operand) else operand(a, axis) for a, axis in ((x, 0), (w, -1)))
    WT, XT, shape = w.coarse, x.coarse, x.values.shape

    def vjp(g):                                  # dx = W^T g,  dW = g x^T
        g = columns(g)
        return product(WT, coarse(g, 0)).reshape(shape), product(coarse(g, -1), XT)
    return fine_product(w.fine, x.fine).reshape(-1, *shape[1:]), vjp


@op
def ready(x):                                    # (m, B, T) -> Operand
    """x, made ready once for all the matrices that multiply it."""
    def vjp(g):                                  # dx = g
        return g,
    return operand(x, 0), vjp


@op
def head(x, w, *, grids=(None, None)):           # (m, B, T), (n, m) -> (n, B, T)
    """y = W x, whose gradients are as fine as itself. The gradient of a logit is a probability, and most of
    them are tiny beside the target's: of 32,000 tokens each starts at 2^-15, which 12 bits round away.
    grids: W's, where they were made once for several calls."""
    def vjp(g):                                  # dx = W^T g,  dW = g x^T
        W, G, X = grids[1] or fine_gradient(w), fine_gradient(columns(g)), fine_gradient(columns(x))
        return fine_product(W.T, G).reshape(x.shape), fine_product(G, X.T)
    return fine_product(grids[0] or fine(w, -1), fine(columns(x), 0)).reshape(-1, *x.shape[1:]), vjp


@op
def quantized_linear(x, w):                      # Quantized (m, B, T), Quantized (n, m) -> (n, B, T)
    """y = Wq xq = (W~ x~) s,  Wq = s_w W~,  xq = s_x x~,  s = s_w s_x.   [bitnet] eq. 11, s = beta gamma/Q_b

    The product is of whole numbers, |sums| <= 127 m, and float32 counts exactly up to 2^24: BLAS gives the
    very integers that a packed integer kernel gives, and one rescale follows. (Rescaling first, Wq @ xq,
    would round.)
    """
    assert len(x.scale) == 1, "a scale that varies over the summed features cannot be taken out of the sum"
    s = w.scale[..., None] * x.scale                             # (1 or n, B, T), per tensor (1 or n, 1, 1)
    W, X = whole(w.codes, 1, -1), whole(columns(x.codes), QB, 0)
    y = product(W, X).reshape(-1, *x.codes.shape[1:])
    y *= s

    def vjp(g):                      # dxq = Wq^T g = W~^T (s_w g),  dWq = g xq^T = (g s_x) x~^T
        WT, XT = whole(w.codes.T, 1, -1), whole(X.values.T, QB, 0)
        return (product(WT, rest_of(WT, columns(g * w.scale[..., None]))).reshape(x.codes.shape),
                product(rest_of(XT, columns(g * x.scale), axis=-1), XT))
    return y, vjp


@op
def hadamard(x):                                 # (m, B, T) -> (m, B, T)
    """y = H x,  H = [[H', H'], [H', -H']] / sqrt 2,  H' of half the size, the smallest (1).   [v2] eqs. 3-4

    Every y is a sum of all x with signs, so a large one is spread over all. H is orthogonal, and its own
    inverse. Of m that is no power of two, features are taken in blocks of the largest one that divides m
    (the paper's sizes are powers of two).
    """
    def vjp(g):                                  # dx = H^T g = H g.   [v2] eq. 8
        return _hadamard(g),
    return _hadamard(x), vjp


def _hadamard(x):
    """By halves: m log2 m additions, in an order that is written here; block by block, which stays in the
    cache."""
    size = len(x) & -len(x)                      # the largest power of two that divides it
    y, other = np.empty((2, size, *x.shape[1:]), x.dtype)
    out = np.empty_like(x)
    for block, result in zip(split_groups(x, len(x) // size), split_groups(out, len(x) // size)):
        y[:], half = block, 1
        while half < size:
            pairs, sums = (a.reshape(-1, 2, half, *x.shape[1:]) for a in (y, other))
            np.add(pairs[:, 0], pairs[:, 1], out=sums[:, 0])
            np.subtract(pairs[:, 0], pairs[:, 1], out=sums[:, 1])
            y, other, half = other, y, 2 * half
        np.multiply(y, x.dtype.type(1 / math.sqrt(size)), out=result)
    return out


@op
def rope(x, *, cos, sin):                        # (H D, B, T), constants (D/2, B, T) -> (H D, B, T)
    """Rotate pair i of every head by its token's angle: (a, b) -> (a cos - b sin, a sin + b cos).
    [rope] eq. 34

    A pair is (i, i + D/2), the half-split order of Hugging Face; the paper pairs neighbours (2i, 2i+1), the
    same up to a fixed reordering of each head's features.
    """
    assert x.shape[1:] == cos.shape[1:], f"tables for {cos.shape[1:]} tokens, activations for {x.shape[1:]}"

    def rotate(x, sin):
        pairs = x.reshape(-1, 2, *cos.shape)                             # (H, 2, D/2, B, T)
        a, b = pairs[:, 0], pairs[:, 1]
        out = np.empty_like(pairs)
        np.subtract(a * cos, b * sin, out=out[:, 0])
        np.add(a * sin, b * cos, out=out[:, 1])
        return out.reshape(x.shape)

    def vjp(g):                                  # dx = R^T g: a rotation by the opposite angle
        return rotate(g, -sin),
    return rotate(x, sin), vjp


def rotary_tables(head_dim, length, theta):      # -> cos, sin (D/2, length), float32
    """cos and sin of position p times theta_i = theta^(-2i/D).   [rope] eq. 15"""
    theta_i = exp(np.arange(0, head_dim, 2) * (-log(float(theta)) / head_dim))
    return tuple(table.astype(np.float32) for table in cos_sin(theta_i[:, None] * np.arange(length)))


def split_heads(x, head_dim, n_kv_heads=None):   # (H D, B, T) -> (B, K, H/K, D, T), a view
    """Features into K heads of keys and values, each with the query heads it serves; K = H if not given."""
    return x.reshape(n_kv_heads or len(x) // head_dim, -1, head_dim, *x.shape[1:]).transpose(3, 0, 1, 2, 4)


def rotary_of(tables, positions, batch):         # two (D/2, length), a slice -> two (D/2, B, T)
    """What ``rope`` takes: cos and sin of these positions, repeated for every sequence of the batch, for it
    then multiplies contiguous arrays."""
    return [np.repeat(table[:, None, positions], batch, axis=1) for table in tables]


def query_blocks(T, L):
    """T queries, the last T of L positions, in blocks -> (block, positions) of each, slices of the queries
    and of the positions. A block may see the keys in front of positions.stop; no others are multiplied."""
    for t in range(0, T, QUERY_BLOCK):
        end = min(t + QUERY_BLOCK, T)
        yield slice(t, end), slice(t + L - T, end + L - T)


@op
def causal_attention(q, k, v, *, head_dim):      # (H D, B, T), (K D, B, L), (K D, B, L) -> (H D, B, T)
    """o = v P,  P = softmax over keys of S,  S = k^T q / sqrt(D), each query seeing the keys up to its own
    position.   [attention] eq. 1, transposed as everything here: one token per column.

    The T queries are the last T of the L positions (L > T with a key-value cache). With K < H heads of keys
    and values, each serves H/K consecutive query heads (grouped-query attention).
    """
    D, (_, B, T) = head_dim, q.shape
    if not isinstance(k, Grid):
        same_shape("causal_attention's keys and values", k.shape, v.shape, (len(k), B, max(T, k.shape[-1])))
    keys = k if isinstance(k, Grid) else fine(split_heads(k, D), -2)     # (B, K, 1, D, L), as from a cache
    values = v if isinstance(v, Values) else shared_out(split_heads(v, D))
    K, L = keys.values.shape[1], keys.values.shape[-1]

    def heads(x):                                # (H D, B, T) -> (B, K, H/K, D, T), a view
        return split_heads(x, D, K)

    q, out = heads(q) / math.sqrt(D), np.empty_like(q)
    queries, o, blocks = fine(q, -2), heads(out), []
    z = np.empty((*o.shape[:3], 1, T), out.dtype)                        # 1 / Z of every query
    for block, positions in query_blocks(T, L):
        seen = slice(positions.stop)
        S = fine_product(keys.columns(seen).T, queries.columns(block))   # (B, K, H/K, seen, block)
        width = S.shape[-1]
        if width > 1:                                                    # key after query: exp(-1e30) = 0
            S[..., -width:, :] -= np.tri(width, k=-1, dtype=S.dtype) * 1e30
        S -= S.max(-2, keepdims=True)
        sums, Z, e = weighted_sums(values, exp(S), positions)            # P = e / Z; e is kept, P never made
        o[..., block], z[..., block] = sums / Z, 1 / Z
        blocks.append((block, seen, e))

    def vjp(g):          # dS = P (dP - sum_keys(dP P)),  dP = v^T g,  dv = g P^T
                         # dq = k dS / sqrt(D),  dk = q dS^T / sqrt(D)
        dq = np.empty_like(out)
        dk, dv = np.zeros((2, K * D, B, L), out.dtype)
        gz = heads(g) * z                # g P^T = (g z) e^T,  and with P = e z  dS = e (v^T (g z) - delta)
        delta = total(gz * o, -2)        # z sum_keys(dP P) = z sum_D(g o), far shorter
        k_grid, q_grid = map(fine_gradient, (heads(k), q))
        v_grid, gz_grid = coarse(heads(v), -2), coarse(gz, -2)
        for block, seen, e in blocks:            # of q_grid, q has its 1 / sqrt(D) already
            dS = product(v_grid.columns(seen).T, gz_grid.columns(block))
            dS -= delta[..., block]
            dS *= e
            dS_grid = fine_gradient(dS)
            heads(dq)[..., block] = fine_product(k_grid.columns(seen), dS_grid) / math.sqrt(D)
            heads(dk)[..., seen] += total(fine_product(q_grid.columns(block), dS_grid.T), 2)
            heads(dv)[..., seen] += total(weighted_gradient(gz[..., block], e), 2)
        return dq, dk, dv
    return out, vjp


@op
def swiglu(gate, up):                            # two (F, B, T) -> (F, B, T)
    """y = silu(gate) up,  silu(x) = x s,  s = 1 / (1 + exp(-x)).   [swiglu] eq. 5"""
    same_shape("swiglu", gate.shape, up.shape)
    s = sigmoid(gate)

    def vjp(g):                                  # dgate = g up (s + silu (1 - s)),  dup = g silu
        silu = gate * s                          # made again, so that the forward pass need not keep it
        return g * up * (s + silu * (1 - s)), g * silu
    return gate * s * up, vjp


@op
def relu2_gate(gate, up):                        # two (F, B, T) -> (F, B, T)
    """y = relu(gate)^2 up, the squared ReLU in place of SiLU.   [2b4t] §2"""
    same_shape("relu2_gate", gate.shape, up.shape)
    r = np.maximum(gate, 0)

    def vjp(g):                                  # dgate = 2 g up relu(gate),  dup = g relu(gate)^2
        return 2 * g * up * r, g * r * r
    return r * r * up, vjp


@op
def cross_entropy(logits, targets):              # (V, B, T), (B, T) int -> ()
    """Mean of ``losses`` over the N tokens with a target; with no target at all it is 0 / 0, nan."""
    shape, (logits, targets) = logits.shape, _flat(logits, targets)
    each, e, Z = _losses(logits, targets)
    counts, N = targets >= 0, len(each)

    def vjp(g):                                  # dlogits = g (p - onehot(targets)) / N
        dlogits = e * (counts * (g / (Z * N)))
        dlogits[targets[counts], np.flatnonzero(counts)] -= g / N
        return dlogits.reshape(shape), None
    return total(each)[0] / N, vjp


def losses(logits, targets):                     # (V, B, T), (B, T) int -> (N,)
    """-log p[target],  p = softmax_V(logits) = e / Z, in nats, of the N tokens with a target, in order.
    A target below 0 is none: padding. A few tokens at a time: e takes little memory beside the logits."""
    logits, targets = _flat(logits, targets)
    return np.concatenate([_losses(logits[:, n], targets[n])[0] for n in column_blocks(logits)])


def _flat(logits, targets):                      # (V, B, T), (B, T) -> (V, B T), (B T,)
    same_shape("logits' tokens and targets", logits.shape[1:], targets.shape)
    return logits.reshape(len(logits), -1), targets.ravel()


def _losses(logits, targets):                    # (V, B T), (B T,) -> losses (N,), e (V, B T), Z (B T,)
    counts = targets >= 0
    log_e = logits - logits.max(0)
    log_e_target = log_e[np.maximum(targets, 0), np.arange(targets.size)]     # padding's is not counted
    e = exp(log_e)
    Z = total(e)[0]
    return (log(Z) - log_e_target)[counts], e, Z
