"""Spatial and channel attention for models in the maximal update parametrization (muP).

    out = muattn.spatial_attention(q, k, v, scaling="mup", d_base=64, causal="top_left")
    out = muattn.channel_attention(q, k, v, scaling="mup", d_base=64)

    out, lse = muattn.spatial_attention(q, k, v, return_lse=True)
    gradients = muattn.spatial_attention_backward(q, k, v, out, lse, d_out)  # {"q": ..., "k": ..., "v": ...}

on NumPy arrays and, through DLPack, on tensors of any library, without copies.
"""

from ._attention import (
    channel_attention,
    channel_output_multiplier,
    channel_scale,
    merge,
    spatial_attention,
    spatial_output_multiplier,
    spatial_scale,
)
from ._gradients import (
    channel_apply_backward,
    channel_attention_backward,
    channel_map_backward,
    spatial_attention_backward,
)
from ._halves import channel_apply, channel_map
from ._machine import force_backend, set_num_threads, use_openmp, use_own_threads
from ._stats import LogitStats
from ._muattn import backends, current_backend, get_num_threads, kernels, last_kernel, version as _version

__version__ = _version()

__all__ = [
    "LogitStats",
    "backends",
    "channel_apply",
    "channel_apply_backward",
    "channel_attention",
    "channel_attention_backward",
    "channel_map",
    "channel_map_backward",
    "channel_output_multiplier",
    "channel_scale",
    "current_backend",
    "force_backend",
    "get_num_threads",
    "kernels",
    "last_kernel",
    "merge",
    "set_num_threads",
    "spatial_attention",
    "spatial_attention_backward",
    "spatial_output_multiplier",
    "spatial_scale",
    "use_openmp",
    "use_own_threads",
]
