"""The differentiable operations of the model; every gradient in this file is DERIVED (finite differences agree).

Each op is one screen: shapes, formula and source, the forward pass in the formula's letters, then `vjp(g)` under its
derivative in one line. g is dL/d(out), dx is dL/dx, n is a normed value.

Shapes: activations are (C, B, T), C features of B sequences of T tokens: features first, one token per column, as the
papers write  y = W x.  It is also the fast order in NumPy: reductions over features and factors per token run along
contiguous memory.

Sources: [bitnet] arXiv 2310.11453 · [b158] arXiv 2402.17764 · [2b4t] arXiv 2504.12285 · [rmsnorm] arXiv 1910.07467 ·
[swiglu] arXiv 2002.05202 · [rope] arXiv 2104.09864 · [attention] arXiv 1706.03762.
"""
import math

import numpy as np

from ..quant import QB, dequantize, split_groups
from .autograd import op

QUERY_BLOCK = 64     # queries that attention handles at a time


def matmul(w, x):                                # (n, m), (m, ...) -> (n, ...)
    """W x: contracts the last axis of w with the first of x."""
    return (w @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:])


def outer(g, x):                                 # (n, ...), (m, ...) -> (n, m)
    """g x^T, summed over all tokens: the gradient of W in  y = W x."""
    return g.reshape(len(g), -1) @ x.reshape(len(x), -1).T


@op
def embedding(table, ids):                       # (V, C), (B, T) int -> (C, B, T)
    """x[:, b, t] = table[ids[b, t]]"""
    def vjp(g):                                  # dtable[v] = sum of g over the tokens with id v
        order = np.argsort(ids, axis=None, kind="stable")
        used, starts = np.unique(ids.ravel()[order], return_index=True)
        dtable = np.zeros(table.shape, g.dtype)
        dtable[used] = np.add.reduceat(g.reshape(len(g), -1)[:, order], starts, axis=1).T
        return dtable, None
    return np.ascontiguousarray(table[ids].transpose(2, 0, 1)), vjp


@op
def add(x, y):                                   # two arrays of one shape -> the same
    """x + y, the residual connection."""
    def vjp(g):                                  # dx = g,  dy = g
        return g, g
    return x + y, vjp


@op
def rms_norm(x, gain, *, eps):                   # (C, B, T), (C,) -> (C, B, T)
    """y = n gain,  n = x r,  r = (mean_C(x^2) + eps)^(-1/2).   [rmsnorm] eq. 4, plus eps"""
    r = 1 / np.sqrt(np.einsum("cbt,cbt->bt", x, x) / len(x) + eps)       # (B, T); einsum squares and sums in one pass
    n = x * r

    def vjp(g):                                  # dx = r (dn - n mean_C(dn n)),  dn = g gain;   dgain = sum_BT(g n)
        gn = (g * n).reshape(len(gain), -1)
        dx = g * gain[:, None, None]
        dx -= n * (gain @ gn / len(gain)).reshape(r.shape)               # mean_C(dn n) = gain^T (g n) / C
        dx *= r
        return dx, gn.sum(1)
    return n * gain[:, None, None], vjp


@op
def layer_norm(x, *, eps, groups=1):             # (C, B, T) -> (C, B, T)
    """n = (x - mean_C(x)) r,  r = (var_C(x) + eps)^(-1/2), without gain or bias.   [bitnet] eq. 12; in groups: eq. 15"""
    x = split_groups(x, groups)                                          # (G, C/G, B, T)
    centred = x - x.mean(1, keepdims=True)
    r = 1 / np.sqrt(np.square(centred).mean(1, keepdims=True) + eps)     # (G, 1, B, T)
    n = centred * r
    shape = (-1, *x.shape[2:])

    def vjp(g):                                  # dx = r (g - mean_C(g) - n mean_C(g n))
        g = split_groups(g, groups)
        return (r * (g - g.mean(1, keepdims=True) - n * (g * n).mean(1, keepdims=True))).reshape(shape),
    return n.reshape(shape), vjp


@op
def linear(x, w):                                # (m, B, T), (n, m) -> (n, B, T)
    """y = W x"""
    def vjp(g):                                  # dx = W^T g,  dW = g x^T
        return matmul(w.T, g), outer(g, x)
    return matmul(w, x), vjp


@op
def quantized_linear(x, w):                      # Quantized (m, B, T), Quantized (n, m) -> (n, B, T)
    """y = W^ x^ = (W~ x~) s,  s = s_w s_x.   [bitnet] eq. 11, where s = beta gamma / Q_b;  ^ is codes~ * scale

    The product is of whole numbers, |sums| <= 127 m, and float32 counts exactly up to 2^24: BLAS gives the very
    integers that a packed integer kernel gives, and one rescale follows. (Rescaling first, W^ @ x^, would round.)
    """
    assert QB * len(x.codes) < 2**24, f"{len(x.codes)} features overflow the exact range of float32"
    assert len(x.scale) == 1, "a scale that varies over the features that are summed cannot be taken out of the sum"
    s = w.scale[..., None] * x.scale                                     # (1 or n, B, T), or (1 or n, 1, 1) per tensor
    y = matmul(w.codes, x.codes)
    y *= s

    def vjp(g):                                  # dx^ = W^T g,  dW^ = g x^T: the plain product's, in dequantized values
        return matmul(dequantize(*w).T, g), outer(g, dequantize(*x))
    return y, vjp


@op
def rope(x, *, cos, sin):                        # (H D, B, T), constants (D/2, B, T) -> (H D, B, T)
    """Rotate pair i of every head by its token's angle: (a, b) -> (a cos - b sin, a sin + b cos).   [rope] eq. 34

    A pair is (i, i + D/2), the half-split order of Hugging Face; the paper pairs neighbours (2i, 2i+1), the same up to
    a fixed reordering of each head's features.
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
    angles = np.outer(theta ** (-np.arange(0, head_dim, 2) / head_dim), np.arange(length))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@op
def causal_attention(q, k, v, *, head_dim):      # (H D, B, T), (K D, B, S), (K D, B, S) -> (H D, B, T)
    """o = v P,  P = softmax over keys of k^T q / sqrt(D), each query seeing the keys up to its own position.
    [attention] eq. 1, transposed as everything here: one token per column.

    The T queries are the last T of the S positions (S > T with a key-value cache). With K < H heads of keys and
    values, each serves H/K consecutive query heads (grouped-query attention). Queries go in blocks, so that keys which
    none of them may see are not even multiplied.
    """
    (_, B, T), S, D, n_kv_heads = q.shape, k.shape[2], head_dim, len(k) // head_dim

    def heads(x):                                # (H D, B, T) -> (B, K, H/K, D, T), a view
        return x.reshape(n_kv_heads, -1, D, *x.shape[1:]).transpose(3, 0, 1, 2, 4)

    q, k, v, out = heads(q) / math.sqrt(D), heads(k), heads(v), np.empty_like(q)
    o, blocks = heads(out), []
    for t in range(0, T, QUERY_BLOCK):
        queries, seen = slice(t, t + QUERY_BLOCK), min(t + QUERY_BLOCK, T) + S - T    # its newest query sees `seen` keys
        e = k[..., :seen].swapaxes(-1, -2) @ q[..., queries]             # (B, K, H/K, seen, block)
        width = e.shape[-1]
        e[..., -width:, :] -= np.tri(width, k=-1, dtype=e.dtype) * 1e30  # key after query: its weight becomes exp(-1e30) = 0
        e -= e.max(-2, keepdims=True)
        np.exp(e, out=e)
        z = 1 / e.sum(-2, keepdims=True)                                 # P = e z; e is kept, P never made
        o[..., queries] = (v[..., :seen] @ e) * z
        blocks.append((queries, seen, e, z))

    def vjp(g):      # dS = P (dP - sum_keys(dP P)),  dP = v^T g;   dq = k dS / sqrt(D),  dk = q dS^T / sqrt(D),  dv = g P^T
        g, dq = heads(g), np.empty_like(out)
        dk, dv = np.zeros((2, n_kv_heads * D, B, S), out.dtype)
        for queries, seen, e, z in blocks:
            gz = g[..., queries] * z                                     # g P^T = (g z) e^T, and P (v^T g) = e (v^T (g z))
            dS = v[..., :seen].swapaxes(-1, -2) @ gz
            dS -= (gz * o[..., queries]).sum(-2, keepdims=True)          # sum_keys(dP P) = sum_D(g o), a far shorter sum
            dS *= e
            heads(dq)[..., queries] = (k[..., :seen] @ dS) / math.sqrt(D)
            heads(dk)[..., :seen] += (q[..., queries] @ dS.swapaxes(-1, -2)).sum(2, keepdims=True)    # q carries 1 / sqrt(D)
            heads(dv)[..., :seen] += (gz @ e.swapaxes(-1, -2)).sum(2, keepdims=True)
        return dq, dk, dv
    return out, vjp


@op
def swiglu(gate, up):                            # two (F, B, T) -> (F, B, T)
    """y = silu(gate) up,  silu(x) = x s,  s = 1 / (1 + exp(-x)).   [swiglu] eq. 5"""
    s = 0.5 * np.tanh(0.5 * gate) + 0.5          # the same s, with no exponential to overflow

    def vjp(g):                                  # dgate = g up (s + silu (1 - s)),  dup = g silu
        silu = gate * s                          # made again, so that the forward pass need not keep it
        return g * up * (s + silu * (1 - s)), g * silu
    return gate * s * up, vjp


@op
def relu2_gate(gate, up):                        # two (F, B, T) -> (F, B, T)
    """y = relu(gate)^2 up, the squared ReLU in place of SiLU.   [2b4t] §2"""
    r = np.maximum(gate, 0)

    def vjp(g):                                  # dgate = 2 g up relu(gate),  dup = g relu(gate)^2
        return 2 * g * up * r, g * r * r
    return r * r * up, vjp


@op
def cross_entropy(logits, targets):              # (V, B, T), (B, T) int -> ()
    """Mean over the N tokens with a target of -log p[target],  p = softmax_V(logits) = e / total, in nats. A target below 0
    is none: padding."""
    shape, logits, targets = logits.shape, logits.reshape(len(logits), -1), targets.ravel()
    counts, token = targets >= 0, np.arange(targets.size)
    N = int(counts.sum())
    e = logits - logits.max(0)
    log_e_target = e[targets, token]
    np.exp(e, out=e)
    total = e.sum(0)                                                     # (B T,)

    def vjp(g):                                  # dlogits = g (p - onehot(targets)) / N
        dlogits = e * (counts * (g / (total * N)))
        dlogits[targets[counts], token[counts]] -= g / N
        return dlogits.reshape(shape), None
    return (np.log(total) - log_e_target)[counts].mean(), vjp
