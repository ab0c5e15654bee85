"""The ways to compute a problem on tensors of a device: muattn, each backend of PyTorch's scaled_dot_product_attention, a
composition; and the result in double precision."""

from __future__ import annotations

import contextlib
from typing import Callable, NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import muattn
from muattn_tools.problems import Problem

BACKENDS = (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION)
ROWS = 1024  # queries at a time, in double precision


class Way(NamedTuple):
    call: Callable[[], torch.Tensor]
    context: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext  # entered once for many calls


def ways(p: Problem, device: str) -> tuple[dict[str, Way], torch.Tensor]:
    """The ways by name, and what they should give."""
    q, k, v = (torch.from_numpy(x).to(device) for x in (p.q, p.k, p.v))
    return _channel(p, q, k, v) if p.operation == "channel" else _spatial(p, q, k, v)


def _spatial(p: Problem, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[dict[str, Way], torch.Tensor]:
    mask = None if p.mask is None else torch.from_numpy(p.mask).to(q.device)
    out = torch.empty((*q.shape[:3], v.shape[3]), device=q.device)
    causal = "top_left" if p.causal else None
    window = None if p.window is None else (p.window, None)
    found = {
        "muattn": Way(lambda: muattn.spatial_attention(
            q, k, v, scale=p.scale, causal=causal, window=window, mask=mask, out=out))
    }  # fmt: skip
    seen = mask if p.window is None else torch.from_numpy(p.visible()).to(q.device)
    options = {"attn_mask": seen, "is_causal": p.causal and p.window is None, "scale": p.scale, "enable_gqa": q.shape[1] != k.shape[1]}
    for backend in BACKENDS:
        found[f"SDPA {backend.name.removesuffix('_ATTENTION').lower()}"] = Way(
            lambda: F.scaled_dot_product_attention(q, k, v, **options), lambda backend=backend: sdpa_kernel(backend)
        )
    return found, _spatial_in_double(p, q, k, v, seen)


def _spatial_in_double(p: Problem, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
    groups, n_q, n_k = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    k, v = (x.double().repeat_interleave(groups, 1) for x in (k, v))
    blocks = []
    for first in range(0, n_q, ROWS):
        rows = slice(first, min(first + ROWS, n_q))
        logits = p.scale * q[:, :, rows].double() @ k.transpose(2, 3)
        if seen is not None:
            here = seen if seen.shape[-2] == 1 else seen[..., rows, :]
            logits = logits.masked_fill(~here, -torch.inf) if here.dtype == torch.bool else logits + here
        elif p.causal:
            later = torch.arange(n_k, device=q.device) > torch.arange(first, rows.stop, device=q.device)[:, None]
            logits = logits.masked_fill(later, -torch.inf)
        blocks.append((torch.softmax(logits, -1) @ v).float())
    return torch.cat(blocks, 2)


def _channel(p: Problem, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[dict[str, Way], torch.Tensor]:
    out = torch.empty_like(q)
    layout = "channels_first" if p.channels_first else "channels_last"

    def composed(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if not p.channels_first:
            q, k, v = (x.transpose(2, 3) for x in (q, k, v))
        if p.normalize:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        result = torch.softmax(q @ k.transpose(2, 3) * p.scale, dim=-1) @ v
        return result if p.channels_first else result.transpose(2, 3)

    found = {
        "muattn": Way(lambda: muattn.channel_attention(q, k, v, scale=p.scale, normalize=p.normalize, layout=layout, out=out)),
        "composed": Way(lambda: composed(q, k, v)),
    }
    return found, composed(q.double(), k.double(), v.double()).float()
