"""PyTorch's ways to compute a problem: SDPA, composed, composed and compiled, and, where there is something for it to skip, compiled FlexAttention."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import and_masks, create_block_mask, flex_attention

from muattn_tools.problems import Problem

MOST_SCORE_BYTES = 1 << 30  # a composition writes scores several times

Way = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class TorchProblem:
    ways: dict[str, Way]  # functions of q, k and v in the layout that PyTorch has rows in
    transposed: bool  # that layout is not the problem's

    def layout(self, array: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(array)
        return x.transpose(2, 3) if self.transposed else x

    def finish(self, out: torch.Tensor) -> torch.Tensor:
        return out.transpose(2, 3) if self.transposed else out


def torch_problem(p: Problem) -> TorchProblem:
    fused, composed = _channel(p) if p.operation == "channel" else _spatial(p)
    torch.compiler.reset()
    ways = {"torch SDPA": fused} if p.softcap is None else {}  # which SDPA has not
    if p.score_bytes() <= MOST_SCORE_BYTES:
        ways["torch composed"] = composed
        ways["torch.compile"] = torch.compile(composed)
    if p.operation == "spatial" and (_sees(p) or p.softcap is not None):
        ways["torch flex"] = _flex(p)
    return TorchProblem(ways, p.operation == "channel" and not p.channels_first)


def _channel(p: Problem) -> tuple[Way, Way]:
    def composed(q, k, v):
        if p.normalize:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        return torch.softmax(q @ k.transpose(-2, -1) * p.scale, dim=-1) @ v

    def fused(q, k, v):
        if p.normalize:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        return F.scaled_dot_product_attention(q, k, v, scale=p.scale)

    return fused, composed


def _spatial(p: Problem) -> tuple[Way, Way]:
    if p.mask is not None and p.causal:
        raise ValueError(f"{p.name}: a mask and causal together are not compared")
    groups = p.q.shape[1] // p.k.shape[1]
    mask = None if p.mask is None else torch.from_numpy(p.mask)
    if p.window is not None:
        mask = torch.from_numpy(p.visible())
    hidden = None
    if p.window is not None:
        hidden = ~mask
    elif p.causal:
        hidden = torch.ones(p.q.shape[2], p.k.shape[2], dtype=torch.bool).triu(1)
    elif mask is not None and mask.dtype == torch.bool:
        hidden = ~mask

    def composed(q, k, v):
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        logits = q @ k.transpose(-2, -1) * p.scale
        if p.softcap is not None:
            logits = p.softcap * torch.tanh(logits / p.softcap)
        if hidden is not None:
            logits = logits.masked_fill(hidden, float("-inf"))
        elif mask is not None:
            logits = logits + mask
        return torch.softmax(logits, dim=-1) @ v

    is_causal = p.causal and p.window is None

    def fused(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal, scale=p.scale, enable_gqa=groups > 1)

    return fused, composed


def _sees(p: Problem) -> list[Callable]:
    """What FlexAttention skips blocks by; all of them count."""
    found = []
    if p.mask is not None and p.mask.dtype == np.bool_:
        allowed = torch.from_numpy(p.mask[:, 0, 0, :])  # it is for keys
        found.append(lambda b, h, i, j: allowed[b, j])
    if p.causal:
        found.append(lambda b, h, i, j: j <= i)
    if p.window is not None:
        found.append(lambda b, h, i, j: j >= i - p.window)
    return found


def _flex(p: Problem) -> Way:
    """With a block mask, made at the first call: the blocks that no query sees are skipped. On a CPU it has no backward pass."""

    def capped(score, b, h, i, j):
        return p.softcap * torch.tanh(score / p.softcap)

    @functools.cache
    def prepared() -> tuple[Callable, dict]:
        sees, batch = _sees(p), None if p.mask is None else len(p.mask)
        return torch.compile(flex_attention), {
            "block_mask": create_block_mask(and_masks(*sees), batch, None, p.q.shape[2], p.k.shape[2], device="cpu") if sees else None,
            "score_mod": None if p.softcap is None else capped, "scale": p.scale, "enable_gqa": p.q.shape[1] > p.k.shape[1],
        }  # fmt: skip

    def way(q, k, v):
        compiled, options = prepared()
        return compiled(q, k, v, **options)

    return way
