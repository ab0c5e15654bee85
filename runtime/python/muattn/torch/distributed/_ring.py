"""Spatial attention whose keys and values travel from rank to rank."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ... import _muattn
from ..._options import flag
from ..._settings import Causal, Numbers, SpatialScaling, Window
from ..._torch import outside_graphs
from .. import _merge, _spatial
from .._tensors import beside_tokens, new_like, sum_over_heads
from ._agreement import agree, require_eager
from ._first_order import first_order
from ._group import resolve
from ._options import check_lengths, check_options, described
from ._parts import parts_of
from ._shard import Balance
from ._stretches import check_balance, check_counts, rows_of, stretches_of
from ._travel import Gradients, Route, new_block, visits

_WHAT = "ring_attention()"


class _Call(NamedTuple):
    route: Route
    query_rows: list[tuple[int, int]]  # of this rank's stretches
    parts: dict[int, list]  # by owner of the keys
    settings: Any  # part -> those of the kernel


def _forward(call, q, k, v, sink):
    """(out, lse). Each stretch of queries has its result so far, into which every part's is merged."""
    B, H, n_q, _ = q.shape
    sofar = [None if sink is None else _nothing_but(sink, q, b - a, v.shape[-1]) for a, b in call.query_rows]
    for _, owner, keys, values in visits(call.route, k, v):
        for part in call.parts[owner]:
            found = _attend(call, part, q, keys, values)
            for i, (a, b) in enumerate(call.query_rows):
                if part.queries[0] <= a and b <= part.queries[1]:
                    rows = slice(a - part.queries[0], b - part.queries[0])
                    new = found[0][:, :, rows], found[1][:, :, rows]
                    sofar[i] = new if sofar[i] is None else _merge._forward(*sofar[i], *new)
        del keys, values  # else they would stay while the next but one is received
    if len(sofar) == 1 and sofar[0] is not None and sofar[0][0].shape[2] == n_q:
        return sofar[0]
    out, lse = beside_tokens(q, B, H, n_q, v.shape[-1]).zero_(), q.new_full((B, H, n_q), -torch.inf)
    for (a, b), found in zip(call.query_rows, sofar):
        if found is not None:
            out[:, :, a:b], lse[:, :, a:b] = found
    return out, lse


def _nothing_but(sink, q, n, d_v):
    """The result over no keys: an output of 0, and an lse of the sink."""
    B, H = q.shape[:2]
    return beside_tokens(q, B, H, n, d_v).zero_(), sink.reshape(1, -1, 1).expand(B, H, n).contiguous()


def _attend(call, part, q, keys, values):
    q, keys, values = q[:, :, slice(*part.queries)], keys[:, :, slice(*part.keys)], values[:, :, slice(*part.keys)]
    out, lse = _spatial.new_outputs(q, keys, values)
    _spatial.compute(q, keys, values, None, call.settings(part), out, lse)
    return out, lse


def _backward(call, q, k, v, out, lse, d_out, d_lse, wants_scale):
    """(d_q, d_k, d_v, d_scale of each head)"""
    own = {"q": new_like(q).zero_(), "scale": q.new_zeros(q.shape[1]) if wants_scale else None}
    gradients = Gradients(call.route, k, v)
    for hop, owner, keys, values in visits(call.route, k, v):
        gradients.expect(hop, owner)
        gradients.add(hop, owner, _share(call, call.parts[owner], q, keys, values, out, lse, d_out, d_lse, own))
        del keys, values  # else they would stay while the next but one is received
    return own["q"], *gradients.result(), own["scale"]


def _share(call, parts, q, keys, values, out, lse, d_out, d_lse, own):
    """Adds to own, and returns a block of gradients by keys and values, in float32, as shares are rounded when all are added up: None without
    parts."""
    if not parts:
        return None
    keys, values = keys.float(), values.float()
    share = new_block(keys, values, keys.shape[2])
    is_whole = len(parts) == 1 and parts[0].keys == (0, keys.shape[2])
    if not is_whole:
        share[0].zero_()
    for part in parts:
        given = {"k": share[1], "v": share[2]} if is_whole else {}
        found = _gradients_of(call, part, q, keys, values, out, lse, d_out, d_lse, own["scale"] is not None, given)
        own["q"][:, :, slice(*part.queries)] += found["q"]
        if own["scale"] is not None:
            own["scale"] += found["scale"]
        if not is_whole:
            share[1][:, :, slice(*part.keys)] += found["k"]
            share[2][:, :, slice(*part.keys)] += found["v"]
    return share


def _gradients_of(call, part, q, keys, values, out, lse, d_out, d_lse, wants_scale, given):
    """By name; those that are given are written to."""
    of_queries, of_keys = slice(*part.queries), slice(*part.keys)
    q, out, lse, d_out = (x[:, :, of_queries] for x in (q, out, lse, d_out))
    d_lse = None if d_lse is None else d_lse[:, :, of_queries].contiguous()
    keys, values = keys[:, :, of_keys], values[:, :, of_keys]
    found = {**_spatial.new_gradients(q, keys, values, None, (True, not given, not given, wants_scale, False, False, False)), **given}
    _spatial.compute_gradients(q, keys, values, None, call.settings(part), out, lse.contiguous(), d_out, d_lse, found)
    return found


def _gradient_by_sink(sink, out, lse, d_out, d_lse):
    """-sum_i exp(sink - lse_i) (d_out_i . out_i - d_lse_i)"""
    weight = torch.where(lse == -torch.inf, 0.0, torch.exp(sink.reshape(1, -1, 1) - lse))
    through = (d_out * out).sum(-1)
    return -(weight * (through if d_lse is None else through - d_lse)).sum((0, 2))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, scale, sink, call):
        ctx.call = call
        out, lse = _forward(call, q.detach(), k.detach(), v.detach(), None if sink is None else sink.detach())
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(q, k, v, scale, sink, out, lse)
        return out, lse

    @staticmethod
    def backward(ctx, d_out, d_lse):
        q, k, v, scale, sink, out, lse = ctx.saved_tensors
        d_out = torch.zeros_like(out) if d_out is None else d_out
        with torch.no_grad():
            wants_scale = ctx.needs_input_grad[3]
            d_q, d_k, d_v, d_scale = _backward(ctx.call, q, k, v, out, lse, d_out, d_lse, wants_scale)
            found = {"scale": d_scale} if wants_scale else {}
            sum_over_heads(found, scale)
            d_sink = _gradient_by_sink(sink, out, lse, d_out, d_lse) if ctx.needs_input_grad[4] else None
            gradients = d_q, d_k.to(k.dtype), d_v.to(v.dtype), found.get("scale"), d_sink
            gradients = tuple(x if wants else None for x, wants in zip(gradients, ctx.needs_input_grad))
        return (*first_order(_WHAT, gradients, d_out, d_lse, q, k, v, scale, sink), None)


def _settings_for(settings, scale):
    """Of one part: its places, and what the whole call has; the sink and the output multiplier come in when all parts are merged."""
    softcap = settings[8]

    def of(part):
        alignment, offset, offsets = "none", 0, None
        if part.offsets is not None:
            alignment = "offset"
            offset, offsets = (part.offsets[0], None) if len(part.offsets) == 1 else (0, part.offsets)
        causal = _spatial._CAUSALS[alignment], offset, offsets
        window = None if part.window_left is None else (part.window_left, 0)
        return (_spatial._SCALINGS["sp"], 0, scale, *causal, window, part.lengths, softcap, None, 0.0, 0.0, None)

    return of


def _prepare(q, k, v, balance, mask, return_lse, options):
    check_balance(balance)
    if mask is not None:
        raise ValueError(
            "mask: ring_attention() takes none, as no rank has all keys at once: take causal, window or key_lengths, or ulysses_attention(), "
            "which takes it"
        )
    arguments = _spatial.arguments(q, k, v, **options)
    q, k, v, scale = arguments[:4]
    require_eager(*arguments[:9])
    settings = _spatial.settings_of(scale, *arguments[5:])
    check_options(q, k, v, settings)
    description = {"balance": balance, **described(arguments, settings), "return_lse": flag("return_lse", return_lse)}
    return (arguments, settings), description, (q.shape[2], k.shape[2])


def _call_of(group, arguments, settings, balance, q_counts, k_counts):
    n_q, n_k = sum(q_counts), sum(k_counts)
    check_counts("q", q_counts, balance)
    check_counts("k", k_counts, balance)
    check_lengths(settings[7], n_k)
    B, H = arguments[0].shape[:2]
    sight = _muattn.Sight(B, H, n_q, n_k, settings)
    queries, keys = stretches_of(q_counts, balance), stretches_of(k_counts, balance)
    route = Route(_WHAT, group, tuple(k_counts), sight.last_hops(queries, keys))
    own = queries[group.rank]
    parts = {owner: parts_of(own, keys[owner], sight) for owner in range(group.size)}
    # Of what belongs to heads and batch entries the rule takes nothing.
    of_rule = (*settings[:2], None, *settings[3:5], None, None, None, 0.0, None, *settings[10:12], None)
    s, o = _muattn.spatial_rule(arguments[0].shape[3], n_k, of_rule)
    return _Call(route, rows_of(own), parts, _settings_for(settings, settings[2] or [s])), o


@outside_graphs
def ring_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, group: Any = None, balance: Balance = None, scaling: SpatialScaling = "sp",
    d_base: int | None = None, power: float = 1.0, alpha: float = 1.0, scale: Numbers | None = None,
    output_multiplier: float | torch.Tensor | None = None, causal: Causal = None, window: Window = None, mask: None = None,
    key_lengths: torch.Tensor | list[int] | None = None, softcap: float | None = None, sink: torch.Tensor | list[float] | None = None,
    return_lse: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """muattn.torch.spatial_attention() over the tokens of all ranks. Keys and values travel from rank to rank, while kernels run on those that are
    there; a rank never has more than three ranks' of them.

    q, k, v  this rank's tokens, [B, H, n_local, d]; without balance stretches of any lengths, in the order of the ranks
    group    a ProcessGroup, a DeviceMesh of one dimension, or None: all ranks
    balance  "zigzag": tokens lie as shard(..., balance="zigzag") lays them. With causal="top_left" each rank then has as much to do; in order
             the last one has most. Gives nothing to calls without causal
    and the options of muattn.torch.spatial_attention(), the same on each rank, which speak of the whole sequence: causal, window and key_lengths
    count tokens of all ranks. mask is refused.

    Keys travel as far as a query sees one of them, so a window sends few. Gradients by scale, sink and output_multiplier are this rank's share:
    those of all ranks add up. The backward pass sends keys and values once more, and their gradients behind them.

    Returns out, or (out, lse), of this rank's queries. Raises on every rank as muattn.torch.spatial_attention() does; ValueError where ranks
    differ in what must be the same; RuntimeError where another rank does not answer.
    """
    group = resolve(group)
    options = {
        "scaling": scaling, "d_base": d_base, "power": power, "alpha": alpha, "scale": scale, "output_multiplier": output_multiplier,
        "causal": causal, "window": window, "key_lengths": key_lengths, "softcap": softcap, "sink": sink,
    }
    (arguments, settings), counts = agree(_WHAT, group, lambda: _prepare(q, k, v, balance, mask, return_lse, options))
    call, rule_multiplier = _call_of(group, arguments, settings, balance, *counts)
    q, k, v, scale, _, sink, multiplier = arguments[:7]
    out, lse = _Attention.apply(q.float(), k, v, scale, sink, call)  # partial results are merged in float32
    number = arguments[18]
    factor = multiplier if multiplier is not None else rule_multiplier if number is None else number
    if isinstance(factor, torch.Tensor) or factor != 1:
        out = out * factor
    out = out.to(q.dtype)
    return (out, lse) if return_lse else out
