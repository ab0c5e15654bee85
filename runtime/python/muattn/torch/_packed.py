"""Attention on the result of one projection: q, k and v are slices of it, and so are their gradients, which nobody has to join then."""

from __future__ import annotations

import torch

from . import _channel, _spatial
from ._tensors import is_eager, is_eager_backward, needs_gradient


def _check(packed, heads, first, options):
    for name in ("return_lse", "return_stats"):
        if name in options:
            raise TypeError(f"{name} is no option here: call the function of q, k and v")
    if not isinstance(packed, torch.Tensor):
        raise TypeError(f"packed must be a torch.Tensor, not {type(packed).__qualname__}")
    names = "[batch, channels, tokens]" if first else "[batch, tokens, channels]"
    if packed.dim() != 3:
        raise ValueError(f"packed must have 3 dimensions {names}, not {packed.dim()}")
    if packed.shape[1 if first else 2] % sum(heads):
        raise ValueError(f"packed.shape[{1 if first else 2}] must be a multiple of heads + 2 kv_heads ({sum(heads)}), not {packed.shape[1 if first else 2]}")


def _parts(packed, heads, first):
    """q, k, v, views of packed: [B, heads, n, d] of [B, n, channels] or, with channels first, [B, heads, d, n] of [B, channels, n]. heads: of
    each."""
    dim = 1 if first else -1
    d = packed.shape[dim] // sum(heads)
    parts = [part.unflatten(dim, (-1, d)) for part in packed.split([count * d for count in heads], dim)]
    return parts if first else [part.transpose(1, 2) for part in parts]


def _joined(out, first):
    """The heads side by side, as the packed tensor has them."""
    return out.flatten(1, 2) if first else out.transpose(1, 2).flatten(2)


def _apart(joined, heads, first):
    return joined.unflatten(1, (heads, -1)) if first else joined.unflatten(-1, (heads, -1)).transpose(1, 2)


def _new_joined(q, first):
    """What a call on q writes to, by _apart(): not a view, which PyTorch would not let a caller change in place."""
    B, heads, *sizes = q.shape
    return q.new_empty((B, heads * sizes[0], sizes[1]) if first else (B, sizes[0], heads * sizes[1]))


class _PackedSpatial(torch.autograd.Function):
    @staticmethod
    def forward(ctx, packed, heads, scale, mask, sink, output_multiplier, rest, settings):
        q, k, v = _parts(packed, heads, False)
        joined, lse = _new_joined(q, False), _spatial.new_lse(q)
        _spatial.compute(q, k, v, mask, settings, _apart(joined, heads[0], False), lse)
        ctx.heads, ctx.rest, ctx.settings = heads, rest, settings
        ctx.save_for_backward(packed, scale, mask, sink, output_multiplier, joined, lse)
        return joined

    @staticmethod
    def backward(ctx, d_joined):
        packed, *others, joined, lse = ctx.saved_tensors
        wants_packed, _, *wanted, _, _ = ctx.needs_input_grad
        inputs = (*_parts(packed, ctx.heads, False), *others)
        out, d_out = (_apart(x, ctx.heads[0], False) for x in (joined, d_joined))
        d_packed, parts = _packed_gradient(packed, ctx.heads, False, wants_packed and is_eager_backward(d_joined))
        gradients = _spatial.gradients_of(inputs, ctx.rest, ctx.settings, out, lse, d_out, None, [wants_packed] * 3 + wanted, parts)
        d_packed = _join_gradients(gradients, False) if wants_packed and d_packed is None else d_packed
        return d_packed, None, *map(gradients.get, ("scale", "mask", "sink", "output_multiplier")), None, None


class _PackedChannel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, packed, heads, first, scale, output_multiplier, rest, settings):
        q, k, v = _parts(packed, heads, first)
        joined = _new_joined(q, first)
        _channel.compute(q, k, v, settings, _apart(joined, heads[0], first))
        ctx.heads, ctx.first, ctx.rest, ctx.settings = heads, first, rest, settings
        ctx.save_for_backward(packed, scale, output_multiplier)
        return joined

    @staticmethod
    def backward(ctx, d_joined):
        packed, *others = ctx.saved_tensors
        wants_packed, _, _, *wanted, _, _ = ctx.needs_input_grad
        inputs, d_out = (*_parts(packed, ctx.heads, ctx.first), *others), _apart(d_joined, ctx.heads[0], ctx.first)
        d_packed, parts = _packed_gradient(packed, ctx.heads, ctx.first, wants_packed and is_eager_backward(d_joined))
        gradients = _channel.gradients_of(inputs, ctx.rest, ctx.settings, d_out, [wants_packed] * 3 + wanted, parts)
        d_packed = _join_gradients(gradients, ctx.first) if wants_packed and d_packed is None else d_packed
        return d_packed, None, None, gradients.get("scale"), gradients.get("output_multiplier"), None, None


def _packed_gradient(packed, heads, first, wanted):
    """A new tensor, and its slices, which are the gradients of q, k and v."""
    if not wanted:
        return None, {}
    d_packed = torch.empty_like(packed)
    return d_packed, dict(zip("qkv", _parts(d_packed, heads, first)))


def _join_gradients(gradients, first):
    """Of an operator, which makes tensors of its own."""
    return torch.cat([_joined(gradients[name], first) for name in "qkv"], 1 if first else -1)


def _is_trained(packed, options):
    """Whether autograd follows a call that nothing else has to know of."""
    tensors = [packed, *(x for x in options.values() if isinstance(x, torch.Tensor))]
    return (
        torch.is_grad_enabled() and packed.stride(-1) == 1 and not torch.is_autocast_enabled("cpu") and is_eager(*tensors)
        and needs_gradient(tensors)
    )


def packed_spatial_attention(packed: torch.Tensor, heads: int, kv_heads: int | None = None, **options) -> torch.Tensor:
    """spatial_attention() of q, k and v in one tensor [B, n, (heads + 2 kv_heads) d], as one projection gives them: first q's heads, then k's,
    then v's. Returns [B, n, heads d]. Options: spatial_attention()'s, without return_lse and return_stats."""
    counts = (heads, heads, heads) if kv_heads is None else (heads, kv_heads, kv_heads)
    _check(packed, counts, False, options)
    parts = _parts(packed, counts, False)
    if not _is_trained(packed, options):
        return _joined(_spatial.spatial_attention(*parts, **options), False)
    inputs = _spatial.arguments(*parts, **options)
    return _PackedSpatial.apply(packed, counts, *inputs[3:7], _spatial.kept(*inputs[7:]), _spatial.settings_of(inputs[3], *inputs[5:]))


def packed_channel_attention(packed: torch.Tensor, heads: int, **options) -> torch.Tensor:
    """The same for channel_attention(): [B, n, 3 heads d] to [B, n, heads d] or, with layout="channels_first", [B, 3 heads d, n] to [B, heads d, n]."""
    counts, first = (heads, heads, heads), options.get("layout") == "channels_first"
    _check(packed, counts, first, options)
    parts = _parts(packed, counts, first)
    if not _is_trained(packed, options):
        return _joined(_channel.channel_attention(*parts, **options), first)
    inputs = _channel.arguments(*parts, **options)
    return _PackedChannel.apply(packed, counts, first, *inputs[3:5], inputs[5:], _channel.settings_of(*inputs[3:]))
