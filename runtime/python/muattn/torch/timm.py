"""timm's attention modules on muattn: those over channels, which no other library fuses, and those over tokens."""

from __future__ import annotations

import functools

import torch
from torch import nn

from ._channel import channel_attention
from ._packed import packed_channel_attention, packed_spatial_attention
from ._spatial import spatial_attention
from ._tensors import in_four_dimensions, is_taken


def _is_for_us(module, x):
    """The rest is left to timm: dropout of the map, other types than float32, float16 and bfloat16, other devices."""
    drop = getattr(module, "attn_drop", None)
    drops = module.training and isinstance(drop, nn.Dropout) and drop.p > 0
    return not drops and x.device.type == "cpu" and is_taken(x)


def _cross_covariance(module, x):
    """XCiT's XCA and EdgeNeXt's."""
    attended = packed_channel_attention(module.qkv(x), module.num_heads, scale=module.temperature, normalize=True)
    return module.proj_drop(module.proj(attended))


def _davit(module, x):
    """The map is softmax(s K^T V), and Q what it is applied to."""
    q, k, v = module.qkv(x).unflatten(-1, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return module.proj(channel_attention(k, v, q, scale=module.scale).transpose(1, 2).flatten(2))


def _davit_v2(module, x):
    scale = (x.shape[1] if module.dynamic_scale else module.head_dim) ** -0.5
    return module.proj(packed_channel_attention(module.qkv(x), module.groups, scale=scale))


def _davit_windows(module, x):
    return module.proj(packed_spatial_attention(module.qkv(x), module.num_heads))


def _vit(module, x, attn_mask=None, is_causal=False):
    options = {"mask": None if is_causal else in_four_dimensions(attn_mask), "causal": "top_left" if is_causal else None}
    packed = module.qkv(x)
    if isinstance(module.q_norm, nn.Identity) and isinstance(module.k_norm, nn.Identity):
        attended = packed_spatial_attention(packed, module.num_heads, **options)
    else:
        q, k, v = packed.unflatten(-1, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attended = spatial_attention(module.q_norm(q), module.k_norm(k), v, **options).transpose(1, 2).flatten(2)
    attended = module.norm(attended)
    if module.gate is not None:
        attended = attended * module.gate(x).sigmoid()
    return module.proj_drop(module.proj(attended))


def _swin(module, x, mask=None):
    """The learned bias is one for all windows and images; with a shift each window has a mask, which repeats over images."""
    bias = module._get_rel_pos_bias()
    if mask is not None:
        of_windows = bias + mask.unsqueeze(1)
        bias = of_windows.repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
    attended = packed_spatial_attention(module.qkv(x), module.num_heads, mask=bias, scale=module.scale)
    return module.proj_drop(module.proj(attended))


def _forward(ours, module, x, *arguments, **options):
    if _is_for_us(module, x):
        return ours(module, x, *arguments, **options)
    return type(module).forward(module, x, *arguments, **options)


def replacements():
    """By timm's class, what its forward becomes."""
    from timm.layers.attention import Attention
    from timm.models import davit
    from timm.models.edgenext import CrossCovarianceAttn
    from timm.models.swin_transformer import WindowAttention
    from timm.models.xcit import XCA

    return {
        Attention: _vit, CrossCovarianceAttn: _cross_covariance, WindowAttention: _swin, XCA: _cross_covariance,
        davit.ChannelAttention: _davit, davit.ChannelAttentionV2: _davit_v2, davit.WindowAttention: _davit_windows,
    }  # fmt: skip


def patch(model: nn.Module) -> int:
    """Lets timm's attention modules in model run on muattn, and returns how many: XCiT's and EdgeNeXt's cross-covariance attention, both
    forms of DaViT's channel attention and its windows, ViT's Attention, Swin's WindowAttention. Parameters, names and results stay as they are. A call goes
    to timm's own where it has dropout of the map in training, other types than float32, float16 and bfloat16, or another device than the CPU."""
    ours_by_class = replacements()
    count = 0
    for module in model.modules():
        ours = ours_by_class.get(type(module))
        if ours is not None:
            module.forward = functools.partial(_forward, ours, module)  # can be copied and pickled with it
            count += 1
    return count
