"""Restormer's attention, MDTA: multi-Dconv head transposed attention (Zamir et al., arXiv:2111.09881, section 3.1)."""

from __future__ import annotations

import torch
from torch import nn

from ._packed import packed_channel_attention


class MDTA(nn.Module):
    """Channel attention with normalised queries and keys and a learned temperature per head, between 1x1 convolutions and, for q, k and v,
    depthwise 3x3 ones.

    Arguments
      dim    channels of x [B, dim, height, width]
      heads  a divisor of dim
      bias   whether the convolutions have biases

    Parameters, with the names of the paper's code, so that its checkpoints load: temperature [heads, 1, 1], qkv, qkv_dwconv, project_out.
    """

    def __init__(self, dim: int, heads: int, bias: bool = False):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads})")
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim, bias=bias)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, dim, height, width] to the same."""
        packed = self.qkv_dwconv(self.qkv(x))
        return self.project_out(images_attention(packed, self.heads, self.temperature))


def images_attention(packed, heads, temperature):
    """Of q, k and v in [B, 3 dim, ...space], whose convolutions are done: [B, dim, ...space]."""
    out = packed_channel_attention(packed.flatten(2), heads, scale=temperature, normalize=True, layout="channels_first")
    return out.unflatten(2, packed.shape[2:])
