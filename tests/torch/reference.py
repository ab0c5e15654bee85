"""Both operators in PyTorch's own, in double precision or any other: what kernels and drop-ins are compared with."""

import torch


def visible(n_q, n_k, causal=None, window=None, key_lengths=None, batch=1):
    """[B, 1, n_q, n_k], which keys a query sees."""
    i, j = torch.arange(n_q)[:, None], torch.arange(n_k)[None, :]
    seen = torch.ones(batch, 1, n_q, n_k, dtype=torch.bool)
    lengths = torch.full((batch,), n_k) if key_lengths is None else torch.as_tensor(key_lengths)
    offset = {None: torch.zeros(batch), "top_left": torch.zeros(batch), "bottom_right": lengths - n_q}.get(causal if not isinstance(causal, torch.Tensor) else 0)
    if offset is None:
        offset = torch.as_tensor(causal).expand(batch)
    offset = offset.reshape(batch, 1, 1, 1)
    if causal is not None:
        seen &= j <= i + offset
    if window is not None:
        left, right = window
        if left is not None:
            seen &= j >= i + offset - left
        if right is not None:
            seen &= j <= i + offset + right
    return seen & (j < lengths.reshape(batch, 1, 1, 1))


def spatial_attention(
    q, k, v, *, scale, output_multiplier=1.0, causal=None, window=None, mask=None, key_lengths=None, softcap=None, sink=None
):
    """(out, lse). scale: a number, or a tensor of one or H."""
    B, H, n_q, _ = q.shape
    group = H // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scale = torch.as_tensor(scale, dtype=q.dtype).reshape(1, -1, 1, 1)
    logits = scale * q @ k.transpose(-2, -1)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    seen = visible(n_q, k.shape[2], causal, window, key_lengths, B)
    if mask is not None:
        if mask.dtype is torch.bool:
            seen = seen & mask
        else:
            logits = logits + mask.to(q.dtype)
    logits = logits.masked_fill(~seen, -torch.inf)
    if sink is not None:
        logits = torch.cat([logits, sink.to(q.dtype).reshape(1, H, 1, 1).expand(B, H, n_q, 1)], -1)
    lse = torch.logsumexp(logits, -1)
    weights = torch.where(lse[..., None] == -torch.inf, 0.0, torch.exp(logits - torch.where(lse == -torch.inf, 0.0, lse)[..., None]))
    if sink is not None:
        weights = weights[..., :-1]
    return output_multiplier * (weights @ v), lse


def channel_attention(q, k, v, *, scale, output_multiplier=1.0, normalize=False, layout="channels_last"):
    if layout == "channels_last":
        q, k, v = (x.transpose(-2, -1) for x in (q, k, v))
    if normalize:
        q, k = (x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12) for x in (q, k))
    scale = torch.as_tensor(scale, dtype=q.dtype).reshape(1, -1, 1, 1)
    out = output_multiplier * torch.softmax(scale * q @ k.transpose(-2, -1), -1) @ v
    return out.transpose(-2, -1) if layout == "channels_last" else out
