"""The same model and training step in PyTorch (optional extra "peers"), to measure beside ours.

Written as PyTorch people write it: features last, straight-through by ``detach``,
scaled_dot_product_attention, fused AdamW. Quantized inputs are shared by q, k, v and by gate, up, as in
ours.
"""
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear, rms_norm, scaled_dot_product_attention, silu

from ..nn.ops import rotary_tables
from ..quant import EPS, QB


def quantize_activation(x):
    """absmax_int8 per token, dequantized, with the straight-through gradient."""
    scale = x.detach().abs().amax(-1, keepdim=True).clamp_(min=EPS) / QB
    return x + ((x / scale).round() * scale - x).detach()


def quantize_weight(w):
    """absmean_ternary, dequantized, with the straight-through gradient."""
    scale = w.detach().abs().mean().clamp_(min=EPS)
    return w + ((w / scale).round().clamp_(-1, 1) * scale - w).detach()


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, d_kv, F = c.d_model, c.n_kv_heads * c.head_dim, c.d_ffn
        matrix = lambda n, m: nn.Parameter(0.02 * torch.randn(n, m))   # noqa: E731
        self.q, self.k, self.v, self.o = matrix(d, d), matrix(d_kv, d), matrix(d_kv, d), matrix(d, d)
        self.gate, self.up, self.down = matrix(F, d), matrix(F, d), matrix(d, F)
        self.norms = nn.ParameterList(torch.ones(n) for n in (d, d, d, F))
        self.c, self.ternary = c, c.linear == "ternary"

    def forward(self, x, cos, sin):
        c, (B, T, _) = self.c, x.shape
        W = quantize_weight if self.ternary else nn.Identity()
        Q = quantize_activation if self.ternary else nn.Identity()

        def norm(x, i):
            return rms_norm(x, x.shape[-1:], self.norms[i], c.norm_eps) if self.ternary or i < 2 else x

        def heads(x):
            return x.view(B, T, -1, c.head_dim).transpose(1, 2)

        def rope(x):
            a, b = x.chunk(2, -1)
            return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

        n = Q(norm(x, 0))
        q, k, v = (heads(linear(n, W(w))) for w in (self.q, self.k, self.v))
        a = scaled_dot_product_attention(rope(q), rope(k), v, is_causal=True,
                                         enable_gqa=c.n_kv_heads < c.n_heads)
        h = x + linear(Q(norm(a.transpose(1, 2).reshape(B, T, -1), 2)), W(self.o))
        n = Q(norm(h, 1))
        f = silu(linear(n, W(self.gate))) * linear(n, W(self.up))
        return h + linear(Q(norm(f, 3)), W(self.down))


class Transformer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed = nn.Parameter(0.02 * torch.randn(c.vocab_size, c.d_model))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.n_layers))
        self.norm, self.head = (nn.Parameter(torch.ones(c.d_model)),
                                nn.Parameter(0.02 * torch.randn(c.vocab_size, c.d_model)))
        self.cos, self.sin = (torch.from_numpy(table.T.copy())
                              for table in rotary_tables(c.head_dim, c.context, c.rope_theta))
        self.c = c

    def forward(self, ids, targets):
        x = self.embed[ids]
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return cross_entropy(linear(rms_norm(x, x.shape[-1:], self.norm, self.c.norm_eps),
                                    self.head).flatten(0, 1), targets.flatten())


def pytorch_step(c, ids, targets, threads, compiled):
    """A function that makes one step on the batch: forward, backward, clip, AdamW."""
    torch.set_num_threads(threads)
    model = torch.compile(Transformer(c)) if compiled else Transformer(c)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)
    ids, targets = torch.from_numpy(ids), torch.from_numpy(targets)

    def step():
        loss = model(ids, targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()
    return step


def dense_product(w, codes, threads):
    """A contender of ``minibitnet.bench kernels``: the float32 matrix, a function of it that multiplies,
    the threads."""
    torch.set_num_threads(threads)
    x = torch.from_numpy(codes)
    return torch.from_numpy(w).float(), lambda W: W @ x, threads
