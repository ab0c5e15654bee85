"""Spatial attention whose ranks exchange tokens for heads: each then has all tokens of some heads."""

from __future__ import annotations

from typing import Any

import torch

from ..._options import flag
from ..._settings import Causal, Numbers, SpatialScaling, Window
from ..._torch import outside_graphs
from .. import _spatial
from ._agreement import agree, require_eager
from ._group import resolve
from ._heads import Exchange, ToHeads, ToTokens
from ._options import check_lengths, check_options, described
from ._shard import Balance
from ._stretches import check_balance, check_counts, stretches_of

_WHAT = "ulysses_attention()"


def _check_heads(q, k, size):
    for name, x in (("q", q), ("k", k)):
        if x.shape[1] % size:
            raise ValueError(
                f"{name}.shape[1] must be a multiple of the number of ranks, {size}, which share the heads, not {x.shape[1]}; ring_attention() "
                "has no such rule"
            )


def _check_mask(mask, H):
    if mask is not None and mask.shape[1] not in (1, H):
        raise ValueError(f"mask.shape[1] must be 1, or the number of all heads, {H}, not {mask.shape[1]}")


def _prepare(group, q, k, v, balance, return_lse, options):
    check_balance(balance)
    arguments = _spatial.arguments(q, k, v, **options)
    q, k, v, scale, mask = arguments[:5]
    require_eager(*arguments[:9])
    settings = _spatial.settings_of(scale, *arguments[5:])
    check_options(q, k, v, settings)
    _check_heads(q, k, group.size)
    _check_mask(mask, q.shape[1])
    description = {"balance": balance, **described(arguments, settings), "return_lse": flag("return_lse", return_lse)}
    return (arguments, settings), description, (q.shape[2], k.shape[2])


def _own(numbers, group):
    """Of numbers for heads those of this rank's."""
    return numbers if numbers is None or numbers.shape[0] == 1 else numbers.chunk(group.size)[group.rank]


@outside_graphs
def ulysses_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, group: Any = None, balance: Balance = None, scaling: SpatialScaling = "sp",
    d_base: int | None = None, power: float = 1.0, alpha: float = 1.0, scale: Numbers | None = None,
    output_multiplier: float | torch.Tensor | None = None, causal: Causal = None, window: Window = None, mask: torch.Tensor | None = None,
    key_lengths: torch.Tensor | list[int] | None = None, softcap: float | None = None, sink: torch.Tensor | list[float] | None = None,
    return_lse: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """muattn.torch.spatial_attention() over the tokens of all ranks, which exchange tokens for heads: each has all tokens of its heads then, and
    calls it once; a second exchange brings the results back.

    q, k, v  this rank's tokens, [B, H, n_local, d]; without balance stretches of any lengths, in the order of the ranks. H and Hk are multiples of
             the number of ranks
    group    a ProcessGroup, a DeviceMesh of one dimension, or None: all ranks
    balance  "zigzag": tokens lie as shard(..., balance="zigzag") lays them; the work is even in either case
    and the options of muattn.torch.spatial_attention(), the same on each rank, which speak of the whole sequence: a mask is [B, H, n_q, n_k], each
    dimension full or 1, of all ranks' tokens and heads.

    Gradients by scale, mask, sink and output_multiplier are this rank's share, that of its heads: those of all ranks add up.

    Returns out, or (out, lse), of this rank's queries. Raises on every rank as muattn.torch.spatial_attention() does; ValueError where ranks
    differ in what must be the same; RuntimeError where another rank does not answer.
    """
    group = resolve(group)
    options = {
        "scaling": scaling, "d_base": d_base, "power": power, "alpha": alpha, "scale": scale, "output_multiplier": output_multiplier,
        "causal": causal, "window": window, "mask": mask, "key_lengths": key_lengths, "softcap": softcap, "sink": sink,
    }
    (arguments, settings), (q_counts, k_counts) = agree(_WHAT, group, lambda: _prepare(group, q, k, v, balance, return_lse, options))
    check_counts("q", q_counts, balance)
    check_counts("k", k_counts, balance)
    check_lengths(settings[7], sum(k_counts))
    q, k, v, scale, mask, sink = arguments[:6]
    queries, keys = stretches_of(q_counts, balance), stretches_of(k_counts, balance)
    options["sink"] = _own(sink, group)
    if scale is not None:  # else it is one number
        options["scale"] = _own(scale, group)
    if mask is not None and mask.shape[1] > 1:
        options["mask"] = mask.chunk(group.size, 1)[group.rank]
    q, k, v = ToHeads.apply(Exchange(_WHAT, group, (queries, keys, keys)), q, k, v)
    out, lse = _spatial.spatial_attention(q, k, v, **options, return_lse=True)
    if not return_lse:
        return ToTokens.apply(Exchange(_WHAT, group, (queries,)), out)[0]
    out, lse = ToTokens.apply(Exchange(_WHAT, group, (queries, queries)), out, lse[..., None])
    return out, lse[..., 0]
