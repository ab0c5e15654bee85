"""Channel attention with autograd."""

from __future__ import annotations

from typing import Literal, overload

import torch

from .. import _muattn, _torch
from .._options import choice, factor, flag
from .._settings import CHANNEL_SCALINGS, LAYOUTS, ChannelScaling, Layout, Numbers
from .._stats import LogitStats
from . import _operators
from ._tensors import (
    CHANNELS_FIRST, TOKENS, autocast, check, constant, detached, heads_of, is_eager, is_eager_backward, needs_gradient, new_like, new_stats,
    new_token_gradients, numbers_of, one_number_of, rows, sum_over_heads, tell_openmp, view, width_of_base,
)
from ._vmap import fold_heads, one_by_one, unfold_heads

_SCALINGS = {name: choice("scaling", name, CHANNEL_SCALINGS) for name in CHANNEL_SCALINGS}

_OPTIONS = "str scaling, SymInt d_base, float? scale_number, float? multiplier_number, bool normalize, str layout, float alpha"
_INPUTS = "Tensor q, Tensor k, Tensor v, Tensor? scale, Tensor? output_multiplier"
_FORWARD = f"channel_attention({_INPUTS}, {_OPTIONS}) -> Tensor"
_BACKWARD = f"channel_attention_backward({_INPUTS}, {_OPTIONS}, Tensor d_out, bool[] wanted) -> Tensor[]"
_NAMES = ("q", "k", "v", "scale", "output_multiplier")


def settings_of(scale, output_multiplier, scaling, d_base, scale_number, multiplier_number, normalize, layout, alpha):
    multiplier = multiplier_number if output_multiplier is None else output_multiplier.item()
    return _SCALINGS[scaling], d_base, numbers_of(scale, scale_number), multiplier, normalize, LAYOUTS[layout], 0, alpha


def new_output(q, *_):
    return new_like(q)


def compute(q, k, v, settings, out):
    q, k, v = rows(q), rows(k), rows(v)
    tell_openmp()
    _muattn.channel_attention(None, view(q), view(k), view(v), view(out), settings)
    if (recorder := _torch.recorder) is not None:
        recorder.channel(q, k, settings, out)


def compute_stats(q, k, settings):
    """[B, H, 1, 4]"""
    q, k, stats = rows(q), rows(k), new_stats(q)
    tell_openmp()
    _muattn.channel_logit_stats(view(q), view(k), view(stats), settings)
    return stats


def compute_gradients(q, k, v, settings, d_out, gradients):
    """Writes to the tensors of gradients, by name."""
    q, k, v, d_out = rows(q), rows(k), rows(v), rows(d_out)
    views = {name: view(gradient) for name, gradient in gradients.items()}
    tell_openmp()
    _muattn.channel_attention_backward(view(q), view(k), view(v), view(d_out), None, views, settings)


def new_gradients(q, k, v, wanted):
    """By name, as the kernels write them: scale's for each head."""
    *_, wants_scale, wants_multiplier = wanted
    gradients = new_token_gradients(q, k, v, wanted)
    if wants_scale:
        gradients["scale"] = q.new_empty(q.shape[1], dtype=torch.float32)
    if wants_multiplier:
        gradients["output_multiplier"] = q.new_empty(1, dtype=torch.float32)
    return gradients


def _in_order(gradients, scale):
    """As the operator returns them."""
    sum_over_heads(gradients, scale)
    return list(gradients.values())


def _forward(q, k, v, scale, output_multiplier, *options):
    out = new_output(q)
    compute(q, k, v, settings_of(scale, output_multiplier, *options), out)
    return out


def _backward(q, k, v, scale, output_multiplier, *rest):
    *options, d_out, wanted = rest
    gradients = new_gradients(q, k, v, wanted)
    compute_gradients(q, k, v, settings_of(scale, output_multiplier, *options), d_out, gradients)
    return _in_order(gradients, scale)


def _fake_backward(q, k, v, scale, output_multiplier, *rest):
    return _in_order(new_gradients(q, k, v, rest[-1]), scale)


def _stats(q, k, v, scale, output_multiplier, *options):
    return compute_stats(q, k, settings_of(scale, output_multiplier, *options))


_stats_operator = _operators.define(f"channel_logit_stats({_INPUTS}, {_OPTIONS}) -> Tensor", _stats, new_stats)
_forward_operator = _operators.define(_FORWARD, _forward, new_output)
_backward_operator = _operators.define(_BACKWARD, _backward, _fake_backward)
_call_backward_operator = _operators.never_differentiate(_backward_operator)
_operators.autocast_tokens(_forward_operator)


def _save(ctx, inputs, output):
    ctx.options = inputs[5:]
    ctx.save_for_backward(*inputs[:5])


def _backward_of_operator(ctx, d_out):
    wanted = list(ctx.needs_input_grad[:5])
    nothing = (None,) * len(ctx.needs_input_grad)
    if not any(wanted):
        return nothing
    found = _call_backward_operator(*ctx.saved_tensors, *ctx.options, d_out, wanted)
    return (*_operators.in_places(found, wanted), *nothing[5:])


_call_operator = _operators.differentiate(_forward_operator, _save, _backward_of_operator)


class _Eager(torch.autograd.Function):
    """The same past the dispatcher. rest: the operator's arguments after the output multiplier."""

    @staticmethod
    def forward(ctx, q, k, v, scale, output_multiplier, rest, settings):
        out = new_output(q)
        compute(q, k, v, settings, out)
        ctx.rest, ctx.settings = rest, settings
        ctx.save_for_backward(q, k, v, scale, output_multiplier)
        return out

    @staticmethod
    def backward(ctx, d_out):
        gradients = gradients_of(ctx.saved_tensors, ctx.rest, ctx.settings, d_out, ctx.needs_input_grad[:5])
        return (*map(gradients.get, _NAMES), None, None)


def gradients_of(inputs, rest, settings, d_out, wanted, given=None):
    """By name, past the dispatcher where that may be. given: tensors of the caller's for those of q, k and v."""
    q, k, v, scale, _ = inputs
    if not is_eager_backward(d_out):
        found = _call_backward_operator(*inputs, *rest, d_out, list(wanted))
        return dict(zip(_NAMES, _operators.in_places(found, wanted)))
    if given:
        given.update(new_gradients(q, k, v, (False, False, False, *wanted[3:])))
    gradients = given or new_gradients(q, k, v, wanted)
    compute_gradients(q, k, v, settings, d_out, gradients)
    sum_over_heads(gradients, scale)
    return gradients


def _fold_forward(info, in_dims, *arguments):
    if in_dims[4] is not None:  # one output multiplier for a call
        return one_by_one(_forward_operator, info, in_dims, arguments)
    folded = fold_heads(info.batch_size, in_dims[:4], arguments[:4], of_heads=(3,))
    return unfold_heads(info.batch_size, _forward_operator(*folded, *arguments[4:])), 0


_operators.map_over(_forward_operator, _fold_forward)
_operators.map_over(_stats_operator, lambda info, in_dims, *arguments: one_by_one(_stats_operator, info, in_dims, arguments))
_operators.map_over(_backward_operator, lambda info, in_dims, *arguments: one_by_one(_backward_operator, info, in_dims, arguments))


def arguments(
    q, k, v, *, scaling="sp", d_base=None, alpha=1.0, scale=None, output_multiplier=None, normalize=False, layout="channels_last"
):
    """Those of the operator, checked, of those of channel_attention()."""
    choice("layout", layout, LAYOUTS)
    q, k, v = autocast(q, k, v)
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        check(name, tensor, CHANNELS_FIRST if layout == "channels_first" else TOKENS)
    choice("scaling", scaling, CHANNEL_SCALINGS)
    scale, scale_number = heads_of("scale", scale)
    output_multiplier, multiplier_number = one_number_of("output_multiplier", output_multiplier)
    return (
        q, k, v, scale, output_multiplier, scaling, width_of_base(d_base), scale_number, multiplier_number, flag("normalize", normalize), layout,
        factor("alpha", constant("alpha", alpha)),
    )


@overload
def channel_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scaling: ChannelScaling = ..., d_base: int | None = ..., alpha: float = ...,
    scale: Numbers | None = ..., output_multiplier: float | torch.Tensor | None = ..., normalize: bool = ..., layout: Layout = ...,
    return_stats: Literal[False] = ...,
) -> torch.Tensor: ...
@overload
def channel_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scaling: ChannelScaling = ..., d_base: int | None = ..., alpha: float = ...,
    scale: Numbers | None = ..., output_multiplier: float | torch.Tensor | None = ..., normalize: bool = ..., layout: Layout = ...,
    return_stats: Literal[True],
) -> tuple[torch.Tensor, LogitStats]: ...
def channel_attention(
    q, k, v, *, scaling="sp", d_base=None, alpha=1.0, scale=None, output_multiplier=None, normalize=False, layout="channels_last",
    return_stats=False,
):
    """Channel attention as muattn.channel_attention() has it, which explains the arguments, as an operator of PyTorch: autograd follows q, k, v,
    scale (a tensor of one number, or of one per head, in any shape: a learned temperature) and output_multiplier (a tensor of one).
    torch.compile, torch.export, torch.func.vmap and torch.func.grad take it whole. Tensors are on the CPU, with any
    strides, of the types that it takes; torch.autocast casts q, k and v to its type, as it does for PyTorch's own attention.

    Returns out, in q's shape and order in memory, or (out, stats); stats are numbers without gradients. For the backward pass q, k and v are
    kept, and the map is computed again.

    Raises as muattn.channel_attention() does; RuntimeError where a second derivative is asked for.
    """
    inputs = arguments(
        q, k, v, scaling=scaling, d_base=d_base, alpha=alpha, scale=scale, output_multiplier=output_multiplier, normalize=normalize,
        layout=layout,
    )
    if flag("return_stats", return_stats):
        return _attend(inputs), LogitStats.of(_stats_operator(*map(detached, inputs)))
    return _attend(inputs)


def _attend(inputs):
    if not is_eager(*inputs[:5]):
        return _call_operator(*inputs)
    settings = settings_of(*inputs[3:])
    if torch.is_grad_enabled() and needs_gradient(inputs[:5]):
        return _Eager.apply(*inputs[:5], inputs[5:], settings)
    out = new_output(inputs[0])
    compute(*inputs[:3], settings, out)
    return out
