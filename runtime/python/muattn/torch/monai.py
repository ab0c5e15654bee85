"""MONAI's channel attention block (monai.networks.blocks.cablock.CABlock) on muattn."""

from __future__ import annotations

import functools

import torch
from torch import nn

from ._tensors import is_taken
from .restormer import images_attention


def _forward(block, x: torch.Tensor) -> torch.Tensor:
    """Of CABlock: its convolutions, muattn's attention with each head's temperature."""
    if not is_taken(x) or x.device.type != "cpu":
        return type(block).forward(block, x)
    return block.project_out(images_attention(block.qkv_dwconv(block.qkv(x)), block.num_heads, block.temperature))


def patch(model: nn.Module) -> int:
    """Lets every CABlock of model, for images and volumes, run on muattn; returns how many there are. With flash_attention=True too, whose own
    way takes one temperature for all heads, their mean, and cuts its gradient: each head has its own here, as without flash_attention. A call goes to MONAI's own
    where it has other types than float32, float16 and bfloat16, or another device than the CPU."""
    from monai.networks.blocks.cablock import CABlock

    count = 0
    for module in model.modules():
        if isinstance(module, CABlock):
            module.forward = functools.partial(_forward, module)  # can be copied and pickled with it
            count += 1
    return count
