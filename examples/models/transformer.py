"""A small vision transformer over square scans, as a factory: each row of pixels is one token."""

from __future__ import annotations

from math import isqrt

import torch
from torch import nn


class Attention(nn.Module):
    """Self-attention of all tokens, written out, so that exporters meet matrix products alone."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.given = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        q, k, v = self.given(x).view(n, length, 3, self.n_heads, width // self.n_heads).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (width // self.n_heads) ** -0.5, dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, length, width))


class Layer(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, n_heads)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.before(x))
        return x + self.dense(self.after(x))


class Transformer(nn.Module):
    def __init__(self, side: int, n_outputs: int, width: int, depth: int, n_heads: int) -> None:
        super().__init__()
        self.side = side
        self.embed = nn.Linear(side, width)
        self.places = nn.Parameter(torch.randn(side, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, n_heads) for _ in range(depth)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_outputs))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        x = self.embed(rows.view(-1, self.side, self.side)) + self.places
        return self.head(self.layers(x).mean(dim=1))  # type: ignore[no-any-return]


def transformer(n_features: int, n_outputs: int, width: int = 128, depth: int = 4, n_heads: int = 4) -> nn.Module:
    """Return a transformer for rows that are square images of one channel."""
    side = isqrt(n_features)
    if side * side != n_features:
        raise ValueError(f"{n_features} features are no square image")
    return Transformer(side, n_outputs, width, depth, n_heads)
