"""Two small transformers, of spatial and of channel attention. What a parametrization changes comes from outside: attention's rule, and the class
of the last layer. Parameters begin as PyTorch's own layers do, but the last layer's, which begin as 0, as mup advises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..torch import ChannelAttention, SpatialAttention


class Block(nn.Module):
    """Pre-LN: x + attention(norm(x)), then the same with an MLP."""

    def __init__(self, width: int, attention: nn.Module):
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), attention
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class _Model(nn.Module):
    """What both have after the embedding."""

    blocks: nn.Sequential
    norm: nn.LayerNorm
    output: nn.Linear

    def _make(self, width, tokens, outputs, depth, make_attention, last_layer):
        self.positions = nn.Embedding(tokens, width)
        self.blocks = nn.Sequential(*(Block(width, make_attention()) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.output = last_layer(width, outputs)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)


class TextModel(_Model):
    """[B, n] characters, n up to length, to the next ones' logits [B, n, characters]: spatial attention, causal."""

    def __init__(
        self, width: int, heads: int, scaling: str, d_base: int | None = None, *, characters: int, length: int, depth: int = 2,
        last_layer: Callable[[int, int], nn.Linear] = nn.Linear,
    ):
        super().__init__()
        self.characters = nn.Embedding(characters, width)
        attention = lambda: SpatialAttention(width, heads, scaling=scaling, d_base=d_base, causal="top_left")  # noqa: E731
        self._make(width, length, characters, depth, attention, last_layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.characters(x) + self.positions.weight[: x.shape[1]]
        return self.output(self.norm(self.blocks(x)))


class DigitsModel(_Model):
    """[B, tokens, pixels] patches to the labels' logits [B, labels]: channel attention as in XCiT, with normalised queries and keys and a learned
    temperature, or with neither."""

    def __init__(
        self, width: int, heads: int, scaling: str, d_base: int | None = None, *, tokens: int, pixels: int, labels: int = 10, depth: int = 2,
        normalize: bool = True, last_layer: Callable[[int, int], nn.Linear] = nn.Linear,
    ):
        super().__init__()
        self.patches = nn.Linear(pixels, width)
        attention = lambda: ChannelAttention(width, heads, scaling=scaling, d_base=d_base, normalize=normalize)  # noqa: E731
        self._make(width, tokens, labels, depth, attention, last_layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x) + self.positions.weight
        return self.output(self.norm(self.blocks(x)).mean(1))
