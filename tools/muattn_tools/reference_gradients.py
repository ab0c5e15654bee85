"""Gradients in float64, straight from the formulas of muattn.h: for the tuner, and for tests/python."""

import numpy as np
from muattn_tools.reference import normalized, softmax, visible


def _with_options(q, k, scale, mask=None, softcap=None, sink=None, **visibility):
    """What the softmax needs: the dot products, their cap's slope, the logits (hidden: -inf), sinks [H, 1, 1]."""
    groups = q.shape[1] // k.shape[1]
    dots = q @ np.repeat(k, groups, 1).swapaxes(-1, -2)
    logits, slope = np.reshape(scale, (-1, 1, 1)) * dots, 1.0
    if softcap is not None:
        capped = np.tanh(logits / softcap)
        logits, slope = softcap * capped, 1 - capped**2
    seen = visible(q.shape[2], k.shape[2], **visibility)
    if mask is not None and mask.dtype == bool:
        seen = seen & mask
    elif mask is not None:
        seen, logits = seen & (mask >= -7e37), logits + np.where(mask >= -7e37, mask, 0)
    sinks = np.full((q.shape[1], 1, 1), -np.inf) if sink is None else np.reshape(sink, (-1, 1, 1))
    return dots, slope, np.where(seen, logits, -np.inf), sinks


def spatial_forward(q, k, v, scale, sink=None, output_multiplier=1.0, **options):
    """(out, lse)"""
    _, _, logits, sinks = _with_options(q, k, scale, sink=sink, **options)
    v = np.repeat(v, q.shape[1] // k.shape[1], 1)
    weights, lse = softmax(np.concatenate([logits, np.broadcast_to(sinks, (*logits.shape[:3], 1))], -1))
    return output_multiplier * (weights[..., :-1] @ v), lse


def _summed_to(x, shape):
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    return x.sum(axes, keepdims=True)


def spatial(q, k, v, d_out, scale, d_lse=None, out_and_lse=None, output_multiplier=None, **options):
    """Gradients by q, k, v and scale, and by mask, sink and output multiplier where there are such. out_and_lse: of the forward call; with
    those, some queries alone have the same gradients as among all, and so have some keys."""
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))
    B, H, Hk = *q.shape[:2], k.shape[1]
    o = 1.0 if output_multiplier is None else output_multiplier
    groups, s = H // Hk, np.broadcast_to(np.reshape(scale, (-1, 1, 1)), (H, 1, 1))
    dots, slope, logits, sinks = _with_options(q, k, s, **options)
    if out_and_lse is None:
        out_and_lse = spatial_forward(q, k, v, s, output_multiplier=o, **options)
    out, lse = (np.asarray(x, np.float64) for x in out_and_lse)
    lse = np.where(np.isneginf(lse), np.inf, lse)[..., None]
    p = np.exp(logits - lse)
    D = (d_out * out).sum(-1, keepdims=True) - (0 if d_lse is None else np.asarray(d_lse, np.float64)[..., None])
    d_mean = o * d_out
    dz = p * (d_mean @ np.repeat(v, groups, 1).swapaxes(-1, -2) - D)
    dt = dz * slope

    def of_group(x):
        return x.reshape(B, Hk, groups, *x.shape[2:]).sum(2)

    gradients = {
        "q": s * (dt @ np.repeat(k, groups, 1)),
        "k": of_group(s * (dt.swapaxes(-1, -2) @ q)),
        "v": of_group(p.swapaxes(-1, -2) @ d_mean),
        "scale": (dt * dots).sum((0, 2, 3)),
    }
    mask = options.get("mask")
    if mask is not None and mask.dtype != bool:
        gradients["mask"] = _summed_to(dz, mask.shape)
    if options.get("sink") is not None:
        gradients["sink"] = -(np.exp(sinks - lse) * D).sum((0, 2, 3))
    if output_multiplier is not None:
        gradients["output_multiplier"] = (d_out * out).sum() / o
    return gradients


def attention_map(q, k, scale, normalize=False):
    """Of channel attention, channels last."""
    if normalize:
        q, k = normalized(q), normalized(k)
    return softmax(np.reshape(scale, (-1, 1, 1)) * (q.swapaxes(-1, -2) @ k))[0]


def _before_normalisation(x, d_normalized):
    norms, unit = np.sqrt((x**2).sum(-2, keepdims=True)), normalized(x)
    along = np.where(norms > 1e-12, unit * (unit * d_normalized).sum(-2, keepdims=True), 0)
    return (d_normalized - along) / np.maximum(norms, 1e-12)


def channel(q, k, v, d_out, scale, output_multiplier=1.0, normalize=False):
    """Gradients by all inputs, channels last; "attention_map" as channel_apply_backward() has it."""
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))
    x, y = (normalized(q), normalized(k)) if normalize else (q, k)
    s, o, A = np.broadcast_to(np.reshape(scale, (-1, 1, 1)), (q.shape[1], 1, 1)), output_multiplier, attention_map(q, k, scale, normalize)
    d_map = d_out.swapaxes(-1, -2) @ v
    dz = A * o * (d_map - (A * d_map).sum(-1, keepdims=True))
    dx, dy = s * (y @ dz.swapaxes(-1, -2)), s * (x @ dz)
    if normalize:
        dx, dy = _before_normalisation(q, dx), _before_normalisation(k, dy)
    return {
        "q": dx, "k": dy, "v": o * (d_out @ A), "scale": (dz * (x.swapaxes(-1, -2) @ y)).sum((0, 2, 3)),
        "output_multiplier": (A * d_map).sum(), "attention_map": d_map,
    }  # fmt: skip
