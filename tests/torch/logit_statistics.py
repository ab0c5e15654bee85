"""What muattn says of logits, in PyTorch's own operators and double precision."""

import torch
from reference import visible


def statistics(logits, seen):
    """[B, H, 4]: mean |logit|, root mean square, greatest logit, mean entropy of the rows, of logits [B, H, n_q, n_k] where seen."""
    seen = seen.expand(logits.shape)
    count = seen.sum((-2, -1)).clamp_min(1)
    inside = logits.masked_fill(~seen, 0)
    hidden = logits.masked_fill(~seen, -torch.inf)
    lse = torch.logsumexp(hidden, -1)
    weights = torch.exp(hidden - torch.where(lse == -torch.inf, 0, lse)[..., None])
    entropy = torch.where(lse == -torch.inf, 0, lse) - (weights * inside).sum(-1)
    rows = seen.any(-1)
    return torch.stack([
        inside.abs().sum((-2, -1)) / count, (inside.square().sum((-2, -1)) / count).sqrt(), hidden.amax((-2, -1)),
        (entropy * rows).sum(-1) / rows.sum(-1).clamp_min(1),
    ], -1)  # fmt: skip


def _scales(scale):
    return torch.as_tensor(scale, dtype=torch.float64).reshape(1, -1, 1, 1)


def of_spatial(q, k, *, scale, causal=None, window=None, mask=None, key_lengths=None, softcap=None):
    q, k = q.double(), k.double().repeat_interleave(q.shape[1] // k.shape[1], 1)
    logits = _scales(scale) * q @ k.transpose(-2, -1)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    seen = visible(q.shape[2], k.shape[2], causal, window, key_lengths, q.shape[0])
    if mask is not None:
        seen = seen & (mask if mask.dtype is torch.bool else mask > -7e37)
    return statistics(logits, seen)


def of_channel(q, k, *, scale, normalize=False, layout="channels_last"):
    q, k = q.double(), k.double()
    if layout == "channels_last":
        q, k = q.transpose(-2, -1), k.transpose(-2, -1)
    if normalize:
        q, k = (x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12) for x in (q, k))
    logits = _scales(scale) * q @ k.transpose(-2, -1)
    return statistics(logits, torch.ones(logits.shape, dtype=torch.bool))
