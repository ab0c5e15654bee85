"""muattn for PyTorch: operators with autograd, modules, and drop-ins for what people already run.

    out = muattn.torch.spatial_attention(q, k, v, scaling="mup", d_base=64, causal="top_left")
    out = muattn.torch.channel_attention(q, k, v, scale=temperature, normalize=True)

    attention = muattn.torch.SpatialAttention(512, heads=8, d_base=32, causal="top_left")
    muattn.torch.enable_sdpa()  # torch.nn.functional.scaled_dot_product_attention runs on muattn

Calls run on PyTorch's own threads, as many as torch.get_num_threads() says. docs/pytorch.md has the rest.
"""

import importlib

from .._torch import use_threads_of_torch

use_threads_of_torch()

from ._channel import channel_attention  # noqa: E402: threads first
from ._coord_check import CoordCheck, coord_check  # noqa: E402
from ._merge import merge  # noqa: E402
from ._modules import ChannelAttention, SpatialAttention, set_base  # noqa: E402
from ._packed import packed_channel_attention, packed_spatial_attention  # noqa: E402
from ._record import LogitRecord, record_logits  # noqa: E402
from ._sdpa import disable_sdpa, enable_sdpa  # noqa: E402
from ._spatial import spatial_attention  # noqa: E402

__all__ = [
    "ChannelAttention",
    "CoordCheck",
    "LogitRecord",
    "SpatialAttention",
    "channel_attention",
    "coord_check",
    "disable_sdpa",
    "enable_sdpa",
    "merge",
    "packed_channel_attention",
    "packed_spatial_attention",
    "record_logits",
    "set_base",
    "spatial_attention",
]

_ON_DEMAND = ("distributed", "monai", "restormer", "timm", "transformers")


def __getattr__(name):
    """Modules that import more than this one does, when they are asked for: drop-ins the package that they are for."""
    if name in _ON_DEMAND:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
