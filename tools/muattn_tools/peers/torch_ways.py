"""PyTorch's ways to compute a problem: SDPA, composed, composed and compiled, and, where there is something for it to skip, compiled FlexAttention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

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
    if p.operation == "spatial" and (p.causal or p.softcap is not None or _allowed(p) is not None):
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


def _allowed(p: Problem) -> torch.Tensor | None:
    """[B, n_k] of a boolean mask, which is for keys."""
    return torch.from_numpy(p.mask[:, 0, 0, :]) if p.mask is not None and p.mask.dtype == np.bool_ else None


def _flex(p: Problem) -> Way:
    """With a block mask, made before: the blocks that no query sees are skipped. On a CPU it has no backward pass."""
    allowed = _allowed(p)

    def sees(b, h, i, j):
        if allowed is not None:
            return allowed[b, j]
        return (j <= i) & (j >= i - p.window) if p.window is not None else j <= i

    def capped(score, b, h, i, j):
        return p.softcap * torch.tanh(score / p.softcap)

    batch = None if allowed is None else len(allowed)
    options = {
        "block_mask": create_block_mask(sees, batch, None, p.q.shape[2], p.k.shape[2], device="cpu"),
        "score_mod": None if p.softcap is None else capped, "scale": p.scale, "enable_gqa": p.q.shape[1] > p.k.shape[1],
    }  # fmt: skip
    compiled = torch.compile(flex_attention)
    return lambda q, k, v: compiled(q, k, v, **options)
