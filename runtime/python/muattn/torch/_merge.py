"""muattn.merge() with autograd."""

from __future__ import annotations

import torch

from .. import _muattn
from . import _operators
from ._tensors import HALVES, ROWS, ROWS_TYPES, check, rows, tell_openmp, view
from ._vmap import fold_heads, unfold_heads

_NAMES = ("out_a", "lse_a", "out_b", "lse_b")


def _outputs(out_a, lse_a, out_b, lse_b):
    B, H, n_q, d_v = out_a.shape
    return out_a.new_empty((B, n_q, H, d_v)).transpose(1, 2), out_a.new_empty((B, H, n_q), dtype=torch.float32)


def _forward(out_a, lse_a, out_b, lse_b):
    inputs = [rows(out_a), lse_a.contiguous(), rows(out_b), lse_b.contiguous()]
    out, lse = _outputs(*inputs)
    tell_openmp()
    _muattn.merge(None, *(view(x) for x in inputs), view(out), view(lse))
    return out, lse


_operator = _operators.define("merge(Tensor out_a, Tensor lse_a, Tensor out_b, Tensor lse_b) -> (Tensor, Tensor)", _forward, _outputs)


def _promoted(out_a, lse_a, out_b, lse_b):
    """What torch.autocast makes of them where it is on: outs of the wider type, as for torch.cat, and lse of float32."""
    dtype = torch.promote_types(out_a.dtype, out_b.dtype)
    lse_a, lse_b = (x.float() if x.dtype in HALVES else x for x in (lse_a, lse_b))
    return out_a.to(dtype), lse_a, out_b.to(dtype), lse_b


_operators.autocast_by(_operator, _promoted)


def _save(ctx, inputs, output):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx, d_out, d_lse):
    """With w = e^(lse_a - lse): d_out_a = w d_out, and d_lse_a = w (d_lse + d_out . (out_a - out)); so for b."""
    *parts, out, lse = ctx.saved_tensors
    gradients = []
    for out_part, lse_part in (parts[:2], parts[2:]):
        weight = torch.where(lse_part == -torch.inf, 0.0, torch.exp(lse_part - lse))
        d_out_part = d_lse_part = None
        if d_out is not None:
            d_out_part = (weight.unsqueeze(-1) * d_out).to(out_part.dtype)
            # A row that counts for nothing may hold anything.
            difference = torch.where(weight.unsqueeze(-1) == 0, 0.0, out_part.float() - out)
            d_lse_part = weight * (d_out * difference).sum(-1)
        if d_lse is not None:
            d_lse_part = weight * d_lse if d_lse_part is None else d_lse_part + weight * d_lse
        gradients += [d_out_part, d_lse_part]
    return tuple(gradients)


_call_operator = _operators.differentiate(_operator, _save, _backward)


def _fold(info, in_dims, *tensors):
    out, lse = _operator(*fold_heads(info.batch_size, in_dims, tensors, of_heads=()))
    return (unfold_heads(info.batch_size, out), unfold_heads(info.batch_size, lse)), (0, 0)


_operators.map_over(_operator, _fold)


def merge(out_a: torch.Tensor, lse_a: torch.Tensor, out_b: torch.Tensor, lse_b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """muattn.merge() as an operator of PyTorch, which autograd follows: two results of spatial_attention(..., return_lse=True) over disjoint
    sets of keys, as one over both. Arguments, results and errors are muattn.merge()'s; torch.autocast makes out_a and out_b of one type, the
    wider."""
    inputs = out_a, lse_a, out_b, lse_b
    if torch.is_autocast_enabled("cpu") and all(isinstance(x, torch.Tensor) for x in inputs):
        inputs = _promoted(*inputs)
    for name, tensor in zip(_NAMES, inputs):
        check(name, tensor) if name.startswith("out") else check(name, tensor, ROWS, ROWS_TYPES)
    return _call_operator(*inputs)
