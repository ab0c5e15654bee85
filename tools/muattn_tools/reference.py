"""Both operators in float64, straight from their formulas: for the tuner, and for tests/python."""

import numpy as np


def softmax(logits):
    """Over the last axis; a row of -inf gives zeros. Also returns log(sum(exp(row)))."""
    top = logits.max(-1, keepdims=True)
    top = np.where(np.isneginf(top), 0, top)
    weights = np.exp(logits - top)
    total = weights.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (np.log(total) + top)[..., 0]
    return weights / np.where(total == 0, 1, total), lse


def visible(n_q, n_k, causal=None, window=None, key_lengths=None):
    i, j = np.arange(n_q)[:, None], np.arange(n_k)
    lengths = n_k if key_lengths is None else np.reshape(key_lengths, (-1, 1, 1, 1))
    if isinstance(causal, (list, np.ndarray)):
        causal = np.reshape(causal, (-1, 1, 1, 1))  # one offset for each batch entry
    named = causal is None or isinstance(causal, str)
    offset = {None: 0, "top_left": 0, "bottom_right": lengths - n_q}[causal] if named else causal
    seen = np.ones((n_q, n_k), bool) if causal is None else j <= i + offset
    if window is not None:
        left, right = window
        seen = seen & (True if left is None else i + offset - left <= j)
        seen = seen & (True if right is None else j <= i + offset + right)
    return seen & (j < lengths)


def spatial(q, k, v, scale, causal=None, window=None, key_lengths=None, mask=None, softcap=None, output_multiplier=1.0):
    """(out, lse)"""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    groups = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, groups, 1), np.repeat(v, groups, 1)
    logits = np.reshape(scale, (-1, 1, 1)) * (q @ k.swapaxes(-1, -2))
    if softcap is not None:
        logits = softcap * np.tanh(logits / softcap)
    seen = visible(q.shape[2], k.shape[2], causal, window, key_lengths)
    if mask is not None and mask.dtype == bool:
        seen = seen & mask
    elif mask is not None:
        seen = seen & (mask >= -7e37)
        logits = logits + mask
    weights, lse = softmax(np.where(seen, logits, -np.inf))
    return output_multiplier * (weights @ v), lse


def normalized(x):
    """Each channel of [.., n, d] divided by its L2 norm over tokens, with the smallest divisor of PyTorch's normalize."""
    return x / np.maximum(np.sqrt((x**2).sum(-2, keepdims=True)), 1e-12)


def channel(q, k, v, scale, output_multiplier=1.0, normalize=False):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    if normalize:
        q, k = normalized(q), normalized(k)
    weights, _ = softmax(np.reshape(scale, (-1, 1, 1)) * (q.swapaxes(-1, -2) @ k))
    return output_multiplier * (weights @ v.swapaxes(-1, -2)).swapaxes(-1, -2)
