"""Channel attention: the ranks' maps are added up, and so are their gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ..._gradients import channel_apply_backward, channel_map_backward
from ..._halves import channel_apply, channel_map
from ..._settings import ChannelScaling, Layout, Numbers
from ..._torch import outside_graphs
from .. import _channel
from .._tensors import new_like, rows, sum_over_heads, tell_openmp
from ._agreement import agree, require_eager, wanted_of
from ._first_order import first_order
from ._group import Group, exchanging, resolve, start_sum

_WHAT = "channel_attention()"
_NAMES = ("q", "k", "v", "scale", "output_multiplier")


class _Call(NamedTuple):
    group: Group
    normalize: bool
    layout: str
    options: dict[str, Any]  # of both halves, but the squares


def _sum(group, tensor):
    with exchanging(_WHAT):
        start_sum(group, tensor).wait()


def _as_one(parts):
    """Tensors in one buffer, so that they travel at once, and these as views of it."""
    buffer = torch.cat([x.flatten() for x in parts])
    return buffer, [x.view(part.shape) for x, part in zip(buffer.split([x.numel() for x in parts]), parts)]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, scale, output_multiplier, call):
        out = new_like(v)
        tell_openmp()
        sums = channel_map(rows(q.detach()), rows(k.detach()), normalize=call.normalize, layout=call.layout)
        buffer, (map, *squares) = _as_one(sums if call.normalize else [sums])
        _sum(call.group, buffer)
        squares = tuple(squares) or None
        channel_apply(map, rows(v.detach()), squares=squares, out=out, **call.options)
        ctx.call, ctx.squares = call, squares
        ctx.save_for_backward(q, k, v, scale, output_multiplier, map)
        return out

    @staticmethod
    def backward(ctx, d_out):
        q, k, v, scale, output_multiplier, map = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:5]
        with torch.no_grad():
            found = _gradients(ctx.call, q, k, v, map, ctx.squares, rows(d_out), wanted)
            if "output_multiplier" in found:
                found["output_multiplier"] = torch.tensor([found["output_multiplier"]])
            for name in {"scale", "output_multiplier"} & found.keys():
                found[name] /= ctx.call.group.size  # all ranks have that of all tokens: their shares shall add up to it
            sum_over_heads(found, scale)
        gradients = first_order(_WHAT, tuple(found.get(name) for name in _NAMES), d_out, q, k, v, scale, output_multiplier)
        return (*gradients, None)


def _gradients(call, q, k, v, map, squares, d_out, wanted):
    """By name. d_v is computed while the gradients of maps travel."""
    of_map = [name for name, wants in zip(_NAMES, wanted) if wants and name != "v"]
    q, k, v, found = rows(q.detach()), rows(k.detach()), rows(v.detach()), {}
    tell_openmp()
    if of_map:
        d_map = channel_apply_backward(map, v, d_out, squares=squares, wanted=("attention_map",), **call.options)["attention_map"]
        with exchanging(_WHAT):
            under_way = start_sum(call.group, d_map)
    if wanted[2]:
        found.update(channel_apply_backward(map, v, d_out, squares=squares, wanted=("v",), **call.options))
    if of_map:
        with exchanging(_WHAT):
            under_way.wait()
        found.update(channel_map_backward(q, k, map, d_map, squares=squares, wanted=of_map, **call.options))
    return found


def _empty(x, layout):
    return x.detach().narrow(3 if layout == "channels_first" else 2, 0, 0)


def _prepare(group, q, k, v, layout, options):
    arguments = _channel.arguments(q, k, v, layout=layout, **options)
    q, k, v, scale, output_multiplier, scaling, d_base, scale_number, multiplier_number, normalize, _, _ = arguments
    require_eager(*arguments[:5])
    for name, x in (("k", k), ("v", v)):
        if x.shape != q.shape:
            raise ValueError(f"{name}.shape must be q's, {list(q.shape)}, not {list(x.shape)}")
    settings = _channel.settings_of(*arguments[3:])
    empty = [_empty(x, layout) for x in (q, k, v)]
    _channel.compute(*empty, settings, torch.empty_like(empty[0]))  # checks the options, as the ranks' own calls would one by one
    n = q.shape[3 if layout == "channels_first" else 2]
    _, _, numbers, multiplier, _, _, _, alpha = settings
    description = {
        "layout": layout, "type of q": str(q.dtype),
        "sizes of q [batch, heads, channels]": [*q.shape[:2], q.shape[2 if layout == "channels_first" else 3]], "scaling": scaling,
        "d_base": d_base, "alpha": alpha, "scale": numbers, "output_multiplier": multiplier, "normalize": normalize,
        "tensors that require a gradient": wanted_of(q=q, k=k, v=v, scale=scale, output_multiplier=output_multiplier),
    }
    known = {"scaling": scaling, "d_base": d_base or None, "alpha": alpha or 1.0, "scale": numbers, "output_multiplier": multiplier, "layout": layout}
    return (q, k, v, scale, output_multiplier, _Call(group, normalize, layout, known)), description, (n, 0)


@outside_graphs
def channel_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, group: Any = None, scaling: ChannelScaling = "sp", d_base: int | None = None,
    alpha: float = 1.0, scale: Numbers | None = None, output_multiplier: float | torch.Tensor | None = None, normalize: bool = False,
    layout: Layout = "channels_last",
) -> torch.Tensor:
    """muattn.torch.channel_attention() over the tokens of all ranks.

    q, k, v  this rank's tokens, [B, H, n_local, d], or [B, H, d, n_local] with channels first; which these are, and how many, does not matter
    group    a ProcessGroup, a DeviceMesh of one dimension, or None: all ranks
    and the options of muattn.torch.channel_attention(), the same on each rank. The rule's s = 1/sqrt(n) counts all ranks' tokens.

    Each rank sends its map [B, H, d, d], and with normalize the squares, 2 [B, H, d], once forward, and the map's gradient once backward,
    whatever n is. Gradients by scale and output_multiplier are this rank's share: those of all ranks add up.

    Returns out, of this rank's tokens. Raises on every rank as muattn.torch.channel_attention() does; ValueError where ranks differ in what must
    be the same; RuntimeError where another rank does not answer.
    """
    group = resolve(group)
    options = {
        "scaling": scaling, "d_base": d_base, "alpha": alpha, "scale": scale, "output_multiplier": output_multiplier, "normalize": normalize,
    }
    (*inputs, call), (counts, _) = agree(_WHAT, group, lambda: _prepare(group, q, k, v, layout, options))
    call.options["tokens"] = max(1, sum(counts))
    return _Attention.apply(*inputs, call)
