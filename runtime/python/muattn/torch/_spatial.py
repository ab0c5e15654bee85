"""Spatial attention with autograd."""

from __future__ import annotations

from typing import Literal, overload

import torch

from .. import _muattn, _torch
from .._options import choice, factor, flag, integer, resolve_window
from .._settings import SPATIAL_SCALINGS, Causal, Numbers, SpatialScaling, Window
from .._stats import LogitStats
from .._torch import entries_of
from . import _operators
from ._tensors import (
    CACHE_TYPES, HALVES, MASK, MASK_TYPES, ROWS_TYPES, TOKENS, autocast, beside_tokens, check, constant, detached, heads_of, integer_tensor, is_eager,
    is_eager_backward, item, needs_gradient, new_stats, new_token_gradients, numbers_of, one_number_of, rows, sum_over_heads, tell_openmp, view,
    view_or_none, width_of_base,
)
from ._vmap import fold_heads, one_by_one, unfold_heads

_CAUSALS = dict(_muattn.causals)
_SCALINGS = {name: choice("scaling", name, SPATIAL_SCALINGS) for name in SPATIAL_SCALINGS}

_OPTIONS = (
    "Tensor? key_lengths, Tensor? causal_offsets, str scaling, SymInt d_base, float? scale_number, str causal, SymInt causal_offset, "
    "SymInt[]? window, float softcap, float alpha, float power, float? multiplier_number"
)
_INPUTS = "Tensor q, Tensor k, Tensor v, Tensor? scale, Tensor? mask, Tensor? sink, Tensor? output_multiplier"
_FORWARD = f"spatial_attention({_INPUTS}, {_OPTIONS}) -> (Tensor, Tensor)"
_BACKWARD = (
    f"spatial_attention_backward({_INPUTS}, {_OPTIONS}, Tensor out, Tensor lse, Tensor d_out, Tensor? d_lse, bool[] wanted) -> Tensor[]"
)
_NAMES = ("q", "k", "v", "scale", "mask", "sink", "output_multiplier")


def settings_of(
    scale, sink, output_multiplier, key_lengths, causal_offsets, scaling, d_base, scale_number, causal, causal_offset, window, softcap,
    alpha=0.0, power=0.0, multiplier_number=None,
):
    return (
        _SCALINGS[scaling], d_base, numbers_of(scale, scale_number), _CAUSALS[causal], causal_offset,
        None if causal_offsets is None else causal_offsets.tolist(), window, None if key_lengths is None else key_lengths.tolist(),
        softcap, None if sink is None else sink.tolist(), alpha, power,
        multiplier_number if output_multiplier is None else output_multiplier.item(),
    )


def kept(lengths, offsets, *options):
    """The operator's arguments after the tensors that may have gradients, for a backward pass: lengths and offsets as they are now, whatever the caller writes to his
    tensors. What the kernels get, settings, has them as numbers."""
    return *(None if x is None else x.clone() for x in (lengths, offsets)), *options


def new_outputs(q, k, v, *_):
    B, H, n_q, _ = q.shape
    return beside_tokens(q, B, H, n_q, v.shape[-1]), new_lse(q)


def new_lse(q):
    return q.new_empty(q.shape[:3], dtype=torch.float32)


def compute(q, k, v, mask, settings, out, lse, k_scale=None, v_scale=None):
    """Writes to out and lse, which may be None. The scales are those of int8's rows."""
    q, k, v, mask, k_scale, v_scale = rows(q), rows(k), rows(v), _plain(mask), _plain(k_scale), _plain(v_scale)
    tell_openmp()
    _muattn.spatial_attention(
        None, view(q), view(k), view(v), view_or_none(mask), view(out), view_or_none(lse), view_or_none(k_scale), view_or_none(v_scale),
        lse is not None, settings,
    )
    if (recorder := _torch.recorder) is not None:
        recorder.spatial(q, k, mask, settings, out, k_scale)


def compute_stats(q, k, mask, settings):
    """[B, H, 1, 4]"""
    q, k, mask, stats = rows(q), rows(k), _plain(mask), new_stats(q)
    tell_openmp()
    _muattn.spatial_logit_stats(view(q), view(k), view_or_none(mask), view(stats), settings)
    return stats


def compute_gradients(q, k, v, mask, settings, out, lse, d_out, d_lse, gradients):
    """Writes to the tensors of gradients, by name."""
    q, k, v, mask, out, lse, d_out, d_lse = rows(q), rows(k), rows(v), _plain(mask), rows(out), _plain(lse), rows(d_out), _plain(d_lse)
    by_zero = gradients.get("output_multiplier") if settings[-1] == 0 else None
    if by_zero is not None:
        gradients = {name: gradient for name, gradient in gradients.items() if name != "output_multiplier"}
        by_zero.copy_(_gradient_by_zero(q, k, v, mask, settings, d_out))
    if "mask" in gradients and mask.numel() > 1 and not any(mask.stride()):  # one element for all
        mask = mask.contiguous()
    tell_openmp()
    _muattn.spatial_attention_backward(
        view(q), view(k), view(v), view(out), view(lse), view(d_out), view_or_none(d_lse), view_or_none(mask),
        {name: view(gradient) for name, gradient in gradients.items()}, settings,
    )


def _gradient_by_zero(q, k, v, mask, settings, d_out):
    """By an output multiplier of 0, where out, which is 0, does not tell it."""
    out, _ = new_outputs(q, k, v)
    compute(q, k, v, mask, (*settings[:-1], 1.0), out, None)
    return (d_out.float() * out.float()).sum()


def _plain(tensor):
    return tensor.resolve_neg() if tensor is not None and tensor.is_neg() else tensor


def new_gradients(q, k, v, mask, wanted):
    """By name, as the kernels write them: scale's and sink's for each head."""
    *_, wants_scale, wants_mask, wants_sink, wants_multiplier = wanted
    gradients = new_token_gradients(q, k, v, wanted)
    if wants_scale:
        gradients["scale"] = q.new_empty(q.shape[1], dtype=torch.float32)
    if wants_mask:
        gradients["mask"] = q.new_empty(mask.shape, dtype=torch.float32)
    if wants_sink:
        gradients["sink"] = q.new_empty(q.shape[1], dtype=torch.float32)
    if wants_multiplier:
        gradients["output_multiplier"] = q.new_empty(1, dtype=torch.float32)
    return gradients


def _in_order(gradients, scale):
    """As the operator returns them."""
    sum_over_heads(gradients, scale)
    return list(gradients.values())


def _forward(q, k, v, scale, mask, *options):
    out, lse = new_outputs(q, k, v)
    compute(q, k, v, mask, settings_of(scale, *options), out, lse)
    return out, lse


def _backward(q, k, v, scale, mask, *rest):
    *options, out, lse, d_out, d_lse, wanted = rest
    gradients = new_gradients(q, k, v, mask, wanted)
    compute_gradients(q, k, v, mask, settings_of(scale, *options), out, lse, d_out, d_lse, gradients)
    return _in_order(gradients, scale)


def _fake_backward(q, k, v, scale, mask, *rest):
    return _in_order(new_gradients(q, k, v, mask, rest[-1]), scale)


def _stats(q, k, v, scale, mask, sink, output_multiplier, *options):
    return compute_stats(q, k, mask, settings_of(scale, sink, output_multiplier, *options))


_stats_operator = _operators.define(f"spatial_logit_stats({_INPUTS}, {_OPTIONS}) -> Tensor", _stats, new_stats)
_forward_operator = _operators.define(_FORWARD, _forward, new_outputs)
_backward_operator = _operators.define(_BACKWARD, _backward, _fake_backward)
_call_backward_operator = _operators.never_differentiate(_backward_operator)
_operators.autocast_tokens(_forward_operator)


def _save(ctx, inputs, output):
    tensors, ctx.options = inputs[:9], inputs[9:]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output)


def _backward_of_operator(ctx, d_out, d_lse):
    *tensors, out, lse = ctx.saved_tensors
    wanted = list(ctx.needs_input_grad[:7])
    nothing = (None,) * len(ctx.needs_input_grad)
    if not any(wanted) or (d_out is None and d_lse is None):
        return nothing
    d_out = torch.zeros_like(out) if d_out is None else d_out
    found = _call_backward_operator(*tensors, *ctx.options, out, lse, d_out, d_lse, wanted)
    return (*_operators.in_places(found, wanted), *nothing[7:])


_call_operator = _operators.differentiate(_forward_operator, _save, _backward_of_operator)


class _Eager(torch.autograd.Function):
    """The same past the dispatcher. rest: the operator's arguments after the output multiplier."""

    @staticmethod
    def forward(ctx, q, k, v, scale, mask, sink, output_multiplier, rest, settings):
        out, lse = new_outputs(q, k, v)
        compute(q, k, v, mask, settings, out, lse)
        ctx.rest, ctx.settings = rest, settings
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(q, k, v, scale, mask, sink, output_multiplier, out, lse)
        return out, lse

    @staticmethod
    def backward(ctx, d_out, d_lse):
        if d_out is None and d_lse is None:
            return (None,) * 9
        *inputs, out, lse = ctx.saved_tensors
        d_out = torch.zeros_like(out) if d_out is None else d_out
        gradients = gradients_of(inputs, ctx.rest, ctx.settings, out, lse, d_out, d_lse, ctx.needs_input_grad[:7])
        return (*map(gradients.get, _NAMES), None, None)


def gradients_of(inputs, rest, settings, out, lse, d_out, d_lse, wanted, given=None):
    """By name, past the dispatcher where that may be. given: tensors of the caller's for those of q, k and v."""
    q, k, v, scale, mask, *_ = inputs
    if not is_eager_backward(d_out, d_lse):
        found = _call_backward_operator(*inputs, *rest, out, lse, d_out, d_lse, list(wanted))
        return dict(zip(_NAMES, _operators.in_places(found, wanted)))
    if given:
        given.update(new_gradients(q, k, v, mask, (False, False, False, *wanted[3:])))
    gradients = given or new_gradients(q, k, v, mask, wanted)
    compute_gradients(q, k, v, mask, settings, out, lse, d_out, d_lse, gradients)
    sum_over_heads(gradients, scale)
    return gradients


def _fold_forward(info, in_dims, *arguments):
    if any(dim is not None for dim in in_dims[6:9]):  # one output multiplier for a call; key_lengths, causal_offsets are per batch entry
        return one_by_one(_forward_operator, info, in_dims, arguments)
    folded = fold_heads(info.batch_size, in_dims[:6], arguments[:6], of_heads=(3, 5))
    out, lse = _forward_operator(*folded, *arguments[6:])
    return (unfold_heads(info.batch_size, out), unfold_heads(info.batch_size, lse)), (0, 0)


_operators.map_over(_forward_operator, _fold_forward)
_operators.map_over(_stats_operator, lambda info, in_dims, *arguments: one_by_one(_stats_operator, info, in_dims, arguments))
_operators.map_over(_backward_operator, lambda info, in_dims, *arguments: one_by_one(_backward_operator, info, in_dims, arguments))


def _forward_of_int8(q, k, v, scale, mask, sink, output_multiplier, k_scale, v_scale, *options):
    out, lse = new_outputs(q, k, v)
    compute(q, k, v, mask, settings_of(scale, sink, output_multiplier, *options), out, lse, k_scale, v_scale)
    return out, lse


_int8_operator = _operators.define(
    f"spatial_attention_int8({_INPUTS}, Tensor? k_scale, Tensor? v_scale, {_OPTIONS}) -> (Tensor, Tensor)", _forward_of_int8, new_outputs
)
_call_int8_operator = _operators.never_differentiate(_int8_operator, "int8 keys and values have none")
_operators.autocast_tokens(_int8_operator)
_operators.map_over(_int8_operator, lambda info, in_dims, *arguments: one_by_one(_int8_operator, info, in_dims, arguments))


def _row_scales(name, scales):
    if scales is None:
        return None
    if isinstance(scales, torch.Tensor) and scales.dim() == 4 and scales.shape[-1] == 1:
        scales = scales.squeeze(-1)
    check(name, scales, ("batch", "key/value heads", "n_k"), ROWS_TYPES)
    return scales


def _attend_int8(inputs, k_scale, v_scale, return_lse):
    """(out, lse)"""
    scales = _row_scales("k_scale", k_scale), _row_scales("v_scale", v_scale)
    for name, tensor in zip((*_NAMES, "k_scale", "v_scale"), (*inputs[:7], *scales)):
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{name} requires a gradient, and calls with int8 keys and values have none: call it under torch.no_grad(), or pass {name}.detach()"
            )
    if not is_eager(*inputs[:9], *scales):
        return _call_int8_operator(*inputs[:7], *scales, *inputs[7:])
    q, k, v, scale, mask, *_ = inputs
    out, lse = new_outputs(q, k, v)
    compute(q, k, v, mask, settings_of(scale, *inputs[5:]), out, lse if return_lse else None, *scales)
    return out, lse


def _is_size(value):
    return isinstance(value, (int, torch.SymInt)) and not isinstance(value, bool)


def _causal(causal, batch):
    """(alignment, offset, offsets)"""
    if causal is None:
        return "none", 0, None
    if _is_size(causal):
        return "offset", causal, None
    if isinstance(causal, str):
        if causal in ("top_left", "bottom_right"):
            return causal, 0, None
    elif isinstance(causal, torch.Tensor) and causal.dim() == 0:
        return "offset", 0, integer_tensor("causal", causal).expand(batch)
    elif getattr(causal, "shape", None) == ():
        return "offset", integer("causal", causal), None
    elif entries_of(causal) is not None or hasattr(causal, "reshape"):
        return "offset", 0, integer_tensor("causal", causal)
    raise ValueError(
        f"causal must be None, 'top_left', 'bottom_right', an integer offset or one for each batch entry, not {causal!r}"
        + ("; PyTorch's is_causal=True is 'top_left'" if causal is True else "")
    )


def _window(window):
    if window is None:
        return None
    sides = [item(side) for side in window] if hasattr(window, "__iter__") else window
    symbols = [isinstance(side, torch.SymInt) for side in sides] if isinstance(sides, list) else ()
    if not any(symbols):
        return list(resolve_window(sides))
    known = resolve_window([0 if is_symbol else side for side, is_symbol in zip(sides, symbols)])
    for side, is_symbol in zip(sides, symbols):
        if is_symbol:
            torch._check(side >= 0, lambda: "window's sides must be at least 0, or None for open")
    return [side if is_symbol else number for side, is_symbol, number in zip(sides, symbols, known)]


def arguments(
    q, k, v, *, scaling="sp", d_base=None, power=1.0, alpha=1.0, scale=None, output_multiplier=None, causal=None, window=None, mask=None,
    key_lengths=None, softcap=None, sink=None,
):
    """Those of the operator, checked, of those of spatial_attention()."""
    q, k, v = autocast(q, k, v)
    check("q", q)
    for name, tensor in (("k", k), ("v", v)):
        check(name, tensor, TOKENS, CACHE_TYPES)
    if mask is not None:
        check("mask", mask, MASK, MASK_TYPES)
        mask = mask.float() if mask.dtype in HALVES else mask
    choice("scaling", scaling, SPATIAL_SCALINGS)
    scale, scale_number = heads_of("scale", scale)
    output_multiplier, multiplier_number = one_number_of("output_multiplier", output_multiplier)
    sink, sink_number = heads_of("sink", sink)
    if sink_number is not None:
        sink = torch.tensor([sink_number], dtype=torch.float32, device="cpu")
    key_lengths = None if key_lengths is None else integer_tensor("key_lengths", key_lengths)
    alignment, offset, offsets = _causal(causal, q.shape[0])
    cap = 0.0 if softcap is None else constant("softcap", softcap)
    if softcap is not None and not cap > 0:
        raise ValueError(f"softcap must be above 0, or None, not {softcap!r}")
    return (
        q, k, v, scale, mask, sink, output_multiplier, key_lengths, offsets, scaling, width_of_base(d_base), scale_number, alignment, offset,
        _window(window), cap, factor("alpha", constant("alpha", alpha)), factor("power", constant("power", power)), multiplier_number,
    )


@overload
def spatial_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scaling: SpatialScaling = ..., d_base: int | None = ..., power: float = ...,
    alpha: float = ..., scale: Numbers | None = ..., output_multiplier: float | torch.Tensor | None = ..., causal: Causal = ...,
    window: Window = ..., mask: torch.Tensor | None = ..., key_lengths: torch.Tensor | list[int] | None = ..., softcap: float | None = ...,
    sink: torch.Tensor | list[float] | None = ..., k_scale: torch.Tensor | None = ..., v_scale: torch.Tensor | None = ...,
    return_lse: Literal[False] = ..., return_stats: Literal[False] = ...,
) -> torch.Tensor: ...
@overload
def spatial_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scaling: SpatialScaling = ..., d_base: int | None = ..., power: float = ...,
    alpha: float = ..., scale: Numbers | None = ..., output_multiplier: float | torch.Tensor | None = ..., causal: Causal = ...,
    window: Window = ..., mask: torch.Tensor | None = ..., key_lengths: torch.Tensor | list[int] | None = ..., softcap: float | None = ...,
    sink: torch.Tensor | list[float] | None = ..., k_scale: torch.Tensor | None = ..., v_scale: torch.Tensor | None = ...,
    return_lse: Literal[True], return_stats: Literal[False] = ...,
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def spatial_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scaling: SpatialScaling = ..., d_base: int | None = ..., power: float = ...,
    alpha: float = ..., scale: Numbers | None = ..., output_multiplier: float | torch.Tensor | None = ..., causal: Causal = ...,
    window: Window = ..., mask: torch.Tensor | None = ..., key_lengths: torch.Tensor | list[int] | None = ..., softcap: float | None = ...,
    sink: torch.Tensor | list[float] | None = ..., k_scale: torch.Tensor | None = ..., v_scale: torch.Tensor | None = ...,
    return_lse: Literal[False] = ..., return_stats: Literal[True],
) -> tuple[torch.Tensor, LogitStats]: ...
@overload
def spatial_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scaling: SpatialScaling = ..., d_base: int | None = ..., power: float = ...,
    alpha: float = ..., scale: Numbers | None = ..., output_multiplier: float | torch.Tensor | None = ..., causal: Causal = ...,
    window: Window = ..., mask: torch.Tensor | None = ..., key_lengths: torch.Tensor | list[int] | None = ..., softcap: float | None = ...,
    sink: torch.Tensor | list[float] | None = ..., k_scale: torch.Tensor | None = ..., v_scale: torch.Tensor | None = ...,
    return_lse: Literal[True], return_stats: Literal[True],
) -> tuple[torch.Tensor, torch.Tensor, LogitStats]: ...
def spatial_attention(
    q, k, v, *, scaling="sp", d_base=None, power=1.0, alpha=1.0, scale=None, output_multiplier=None, causal=None, window=None, mask=None,
    key_lengths=None, softcap=None, sink=None, k_scale=None, v_scale=None, return_lse=False, return_stats=False,
):
    """Spatial attention as muattn.spatial_attention() has it, which explains the arguments, as an operator of PyTorch: autograd follows q, k,
    v, an additive mask, scale and sink (tensors of one number, or of one per head, in any shape), output_multiplier (a tensor of one), and
    lse. torch.compile, torch.export, torch.func.vmap and torch.func.grad take it whole. Tensors are on the CPU, with
    any strides, of the types that it takes; gradients have those of what they are by, sums are of float32. torch.autocast casts q, k and v to its
    type, as it does for PyTorch's own attention. int8 keys and values have no gradients.

    Returns out [B, H, n_q, d_v], whose memory is that of [B, n_q, H, d_v], or (out, lse), (out, stats), (out, lse, stats); stats are numbers
    without gradients.

    Raises as muattn.spatial_attention() does; RuntimeError where a second derivative is asked for.
    """
    inputs = arguments(
        q, k, v, scaling=scaling, d_base=d_base, power=power, alpha=alpha, scale=scale, output_multiplier=output_multiplier, causal=causal,
        window=window, mask=mask, key_lengths=key_lengths, softcap=softcap, sink=sink,
    )
    return_lse, return_stats = flag("return_lse", return_lse), flag("return_stats", return_stats)
    stats = (LogitStats.of(_stats_operator(*map(detached, inputs))),) if return_stats else ()
    if inputs[1].dtype is torch.int8 or inputs[2].dtype is torch.int8 or k_scale is not None or v_scale is not None:
        out, lse = _attend_int8(inputs, k_scale, v_scale, return_lse)
        return (out, lse, *stats) if return_lse else (out, *stats) if stats else out
    if not is_eager(*inputs[:9]):
        out, lse = _call_operator(*inputs)
        return (out, lse, *stats) if return_lse else (out, *stats) if stats else out
    settings = settings_of(inputs[3], *inputs[5:])
    if torch.is_grad_enabled() and needs_gradient(inputs[:7]):
        out, lse = _Eager.apply(*inputs[:7], kept(*inputs[7:]), settings)
    else:
        B, H, n_q, _ = inputs[0].shape
        out = beside_tokens(inputs[0], B, H, n_q, inputs[2].shape[-1])
        lse = new_lse(inputs[0]) if return_lse else None
        compute(*inputs[:3], inputs[4], settings, out, lse)
    return (out, lse, *stats) if return_lse else (out, *stats) if stats else out
