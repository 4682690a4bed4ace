# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of the demo model: LLaMA's architecture, small enough to train on two cores."""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Params:
    dim: int = 192
    multiple_of: int = 32
    n_heads: int = 6
    n_kv_heads: int = 2
    n_layers: int = 6
    norm_eps: float = 1e-5
    vocab_size: int = 2048
    max_seq_len: int = 512

    @property
    def head_dim(self):
        return self.dim // self.n_heads

    @property
    def hidden(self):
        """Meta's rule for the width of the feed-forward network."""
        hidden = int(2 * (4 * self.dim) / 3)
        return self.multiple_of * ((hidden + self.multiple_of - 1) // self.multiple_of)


class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotations(head_dim, length, theta=10000.0):
    freqs = 1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim))
    angles = torch.outer(torch.arange(length).float(), freqs)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x, rot):
    """x: batch, length, heads, head_dim; consecutive pairs are complex numbers."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rot[None, :, None, :]).flatten(3)


class Attention(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
        self.wq = nn.Linear(p.dim, p.n_heads * p.head_dim, bias=False)
        self.wk = nn.Linear(p.dim, p.n_kv_heads * p.head_dim, bias=False)
        self.wv = nn.Linear(p.dim, p.n_kv_heads * p.head_dim, bias=False)
        self.wo = nn.Linear(p.n_heads * p.head_dim, p.dim, bias=False)

    def forward(self, x, rot, mask):
        p, (b, t, _) = self.p, x.shape
        q = rotate(self.wq(x).view(b, t, p.n_heads, p.head_dim), rot)
        k = rotate(self.wk(x).view(b, t, p.n_kv_heads, p.head_dim), rot)
        v = self.wv(x).view(b, t, p.n_kv_heads, p.head_dim)
        # Query heads share a key/value head in consecutive groups.
        rep = p.n_heads // p.n_kv_heads
        q = (q * p.head_dim ** -0.5).transpose(1, 2).reshape(b * p.n_kv_heads, rep * t, p.head_dim)
        k = k.permute(0, 2, 3, 1).reshape(b * p.n_kv_heads, p.head_dim, t)
        v = v.transpose(1, 2).reshape(b * p.n_kv_heads, t, p.head_dim)
        scores = torch.bmm(q, k).view(b * p.n_kv_heads, rep, t, t) + mask
        att = F.softmax(scores, dim=-1).view(b * p.n_kv_heads, rep * t, t)
        out = torch.bmm(att, v).view(b, p.n_heads, t, p.head_dim)
        return self.wo(out.transpose(1, 2).reshape(b, t, -1))


class FeedForward(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.w1 = nn.Linear(p.dim, p.hidden, bias=False)
        self.w2 = nn.Linear(p.hidden, p.dim, bias=False)
        self.w3 = nn.Linear(p.dim, p.hidden, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.attention = Attention(p)
        self.feed_forward = FeedForward(p)
        self.attention_norm = RMSNorm(p.dim, p.norm_eps)
        self.ffn_norm = RMSNorm(p.dim, p.norm_eps)

    def forward(self, x, rot, mask):
        x = x + self.attention(self.attention_norm(x), rot, mask)
        return x + self.feed_forward(self.ffn_norm(x))


class Llama(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
        self.tok_embeddings = nn.Embedding(p.vocab_size, p.dim)
        self.layers = nn.ModuleList(Block(p) for _ in range(p.n_layers))
        self.norm = RMSNorm(p.dim, p.norm_eps)
        self.output = nn.Linear(p.dim, p.vocab_size, bias=False)
        self.rot = rotations(p.head_dim, p.max_seq_len)
        self.mask = torch.full((p.max_seq_len, p.max_seq_len), float("-inf")).triu(1)
        # Small weights and, beside them, large embeddings: with larger weights the
        # layers drown out who is who before any head has learned to look back.
        # The head starts as a copy of the embeddings and is then trained on its own.
        for name, w in self.named_parameters():
            if w.dim() == 2:
                std = 0.03
                if name.endswith(("wo.weight", "w2.weight")):
                    std /= math.sqrt(2 * p.n_layers)
                nn.init.normal_(w, std=std)
        with torch.no_grad():
            self.tok_embeddings.weight.normal_(std=0.1)
            self.output.weight.copy_(0.3 * self.tok_embeddings.weight)

    def forward(self, tokens):
        t = tokens.shape[1]
        x, rot, mask = self.tok_embeddings(tokens), self.rot[:t], self.mask[:t, :t]
        for layer in self.layers:
            x = layer(x, rot, mask)
        return self.output(self.norm(x))
