"""The packed engine: the model of nn/model.py, run from matrices that take two bits a weight.

    h = x + o(sub_norm(attention(rope(q), rope(k), v)))    with q, k, v from norm(x)
    x = h + down(sub_norm(act(gate) * up))                 with gate, up from norm(h)

Every operation but the products with weights is the plain forward of ``nn/ops.py``, and these are the same
integers, so with float32 embeddings, norms and scales the logits are those of the training model's
evaluation, bit for bit: of a whole sequence, in pieces, token by token with a cache, in a batch or alone, for
no product depends on its shape (``exact.py``).

Matrices that see the same input are stacked: q, k, v are one product, gate and up another. Embedding and head
may be float16 or bfloat16; they stay 16 bits wide in memory. A head of 16 bits is kept as whole numbers and a
power of two for each row, an exact operand; of a row's numbers below 2^-5 of its largest (float16; bfloat16:
2^-8) the last bits are rounded away. A float32 head is put on its grid once, which float32 still holds. The
head, the largest matrix, is widened and multiplied block by block, by all threads if it is large.
"""
from functools import partial

import numpy as np

from ..exact import FINE, Grid, fine, product, whole
from ..float16 import ScaledRows, row_blocks, scaled_rows, widen
from ..nn import ops
from ..quant import split_groups
from ..shapes import new_positions
from ..threads import pool_of, share_out
from ..variants import EIGHT_BITS, LAYER
from .cache import caches
from .kernels import matmul, repack, stack
from .scoring import finite

HEAD_BLOCK = 2**19       # weights of the head that are multiplied at a time, 4 MB of float64
FEW = 4                  # blocks of a head that threads do not share: to wake them takes longer


class PackedModel:
    """Token ids to logits.

    c: the configuration; threads: of its own, which share the large products; kv_bits: of its key-value
    caches, a key of ``cache.KINDS``; matrices {name: PackedMatrix} and arrays {name: array}: as
    formats/packed.py reads them.

    Both are handed over, and whoever wants them again keeps copies. Every matrix is taken with
    ``matrices.pop(name)``, once, and let go as soon as its planes are made; a head of 16 bits becomes codes
    in the memory of its array. So the bytes of the file and the resident form of the whole model are never in
    memory together, and anything whose ``pop`` makes a matrix will do.
    """
    logit_scale = 1.0

    def __init__(self, c, matrices, arrays, threads=1, kv_bits=32):
        self.config, self.kv_bits = c, kv_bits
        self.threads, self.pool = threads, (pool := pool_of(threads))
        self.embedding, self.gain = arrays["embed_tokens.weight"], widen(arrays["norm.weight"])
        head = self.embedding if c.tied else arrays["lm_head.weight"]
        self.head = on_grid(head) if head.dtype == np.float32 else scaled_rows(head, in_place=True)
        if c.tied and head.dtype != np.float32:            # one copy of a large matrix
            self.embedding = self.head
        self.blocks = [PackedBlock(c, f"layers.{i}.", matrices, arrays, pool) for i in range(c.n_layers)]
        self.rotary = ops.rotary_tables(c.head_dim, c.context, c.rope_theta)

    def __repr__(self):
        return f"<PackedModel: {self.config.summary}>"

    @finite
    def __call__(self, ids, caches=None, last=False):      # (B, T) int -> logits (V, B, T); last: (V, B, 1)
        new = new_positions(ids, caches, self.config)
        rotary = ops.rotary_of(self.rotary, new, len(ids))
        x = self.embedding.row(ids) if isinstance(self.embedding, ScaledRows) else widen(self.embedding[ids])
        x = np.ascontiguousarray(x.transpose(2, 0, 1))                               # (C, B, T)
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x = block(x, rotary, cache)
        x = np.ascontiguousarray(x[..., -1:]) if last else x
        return self.project(ops.rms_norm.forward(x, self.gain, eps=self.config.norm_eps))

    def project(self, x):                                  # (C, B, T) -> (V, B, T): the head
        head, X = self.head, fine(ops.columns(x), 0)
        codes = head.codes if isinstance(head, ScaledRows) else head
        y = np.empty((len(codes), X.values.shape[1]), np.float32)

        blocks = row_blocks(codes, HEAD_BLOCK)
        shares = self.threads if len(blocks) > FEW else 1

        def share(k):
            buffer = np.empty(codes[blocks[0]].shape)
            with np.errstate(over="ignore"):               # what overflows shows in the logits
                for rows in blocks[k::shares]:
                    w = buffer[:len(codes[rows])]
                    np.copyto(w, codes[rows])
                    if codes is head:
                        y[rows] = product(Grid(w, FINE), X)
                    else:
                        places = -head.bits[rows, None].astype(np.intc)
                        y[rows] = np.ldexp(product(whole(w, 2**15, -1), X), places)
        share_out(share, shares, self.pool)
        return y.reshape(-1, *x.shape[1:])

    def new_caches(self, batch=1):
        return caches(self.config, batch, self.kv_bits)


def on_grid(matrix):
    """float32 (V, C) -> the same on the grid of its rows, float32."""
    y = np.empty_like(matrix)
    for rows in row_blocks(matrix):
        y[rows] = fine(matrix[rows], -1).values
    return y


class PackedBlock:
    def __init__(self, c, prefix, matrices, arrays, pool):
        def norm(name, kind):
            if kind is None:
                return lambda x: x
            if kind == LAYER:
                return partial(ops.layer_norm.forward, eps=c.norm_eps)
            gain = widen(arrays[f"{prefix}{name}.weight"])
            return partial(ops.rms_norm.forward, gain=gain, eps=c.norm_eps)

        def linear(reads, *names):
            return PackedBitLinear([matrices.pop(f"{prefix}{name}.weight") for name in names], reads, pool)

        inputs, o, down = c.variant.reads
        of_block, of_bitlinear = c.variant.norm, c.variant.sub_norm
        self.input_norm = norm("input_layernorm", of_block)
        self.attn_sub_norm = norm("self_attn.attn_sub_norm", of_bitlinear)
        self.ffn_norm = norm("post_attention_layernorm", of_block)
        self.ffn_sub_norm = norm("mlp.ffn_sub_norm", of_bitlinear)
        self.qkv_proj = linear(inputs, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        self.o_proj = linear(o, "self_attn.o_proj")
        self.gate_up_proj = linear(inputs, "mlp.gate_proj", "mlp.up_proj")
        self.down_proj = linear(down, "mlp.down_proj")
        self.act = {"silu": ops.swiglu.forward, "relu2": ops.relu2_gate.forward}[c.activation]
        self.head_dim, self.d_kv = c.head_dim, c.n_kv_heads * c.head_dim

    def __call__(self, x, rotary, cache=None):             # (C, B, T) -> (C, B, T)
        (cos, sin), d = rotary, self.d_kv
        qkv = self.qkv_proj(self.input_norm(x))
        qk = ops.rope.forward(qkv[:-d], cos=cos, sin=sin)  # head by head, so queries and keys go together
        q, k, v = qk[:-d], qk[-d:], qkv[-d:]
        if cache is not None:
            k, v = cache.extend(k, v)
        h = x + self.o_proj(self.attn_sub_norm(ops.causal_attention.forward(q, k, v, head_dim=self.head_dim)))
        gate, up = split_groups(self.gate_up_proj(self.ffn_norm(h)), 2)
        return h + self.down_proj(self.ffn_sub_norm(self.act(gate, up)))


class PackedBitLinear:
    """y = (W~ x~) s_w s_x, for one matrix or several of one input, stacked.   [bitnet] eq. 11"""

    def __init__(self, matrices, reads=EIGHT_BITS, pool=None):
        self.planes = stack([repack(matrix.packed, matrix.n) for matrix in matrices])
        scales, rows = [matrix.scale for matrix in matrices], [matrix.n for matrix in matrices]
        self.scale = np.repeat(scales, rows)[:, None, None]                          # (n, 1, 1)
        self.reads, self.pool = reads, pool

    def __call__(self, x):                                 # (m, B, T) -> (n, B, T)
        codes, scale = self.reads.quantize(ops.hadamard.forward(x) if self.reads.rotated else x)
        y = matmul(codes, self.planes, bits=self.reads.bits, pool=self.pool).astype(np.float32)
        y *= self.scale * scale                            # as ``ops.quantized_linear`` does it, to the bit
        return y
