"""Channel attention in two halves, between which maps can be added up: for tokens that are spread over machines."""

from __future__ import annotations

from typing import Any, Literal, overload

from . import _muattn
from ._devices import exported, require_processor
from ._options import flag, pair
from ._refusals import BOTH_HALVES, refuse
from ._results import like
from ._settings import Array, ChannelScaling, Layout, Numbers, channel_settings
from ._torch import outside_graphs, written


@overload
def channel_map(q: Array, k: Any, *, normalize: Literal[False] = ..., layout: Layout = ...) -> Array: ...
@overload
def channel_map(q: Array, k: Any, *, normalize: Literal[True], layout: Layout = ...) -> tuple[Array, Array, Array]: ...
@outside_graphs
def channel_map(q, k, *, normalize=False, layout="channels_last"):
    """The first half of channel_attention(): the map's logits without their scale, and without norms,
    map[i, j] = sum_u Q[u, i] K[u, j]. Maps, and squares, of disjoint sets of tokens add up: channel_apply() goes on from the sum.

    Arguments
      q, k       [B, H, n, d], both float32, float16 or bfloat16, in the CPU's memory; the innermost stride is 1, the others are free
      normalize  as channel_attention() has it: the squares are wanted too
      layout     "channels_last": as above; "channels_first": q and k are [B, H, d, n]

    Returns map [B, H, d, d], or with normalize (map, q_squares, k_squares), the squares [B, H, d]: sum_u Q[u, i]^2 and
    sum_u K[u, j]^2; new float32 arrays of q's kind. Raises as channel_attention() does, and NotImplementedError for arrays in a GPU's memory.
    """
    refuse(BOTH_HALVES, q=q, k=k)
    settings = channel_settings("sp", None, None, None, normalize, layout)
    require_processor("channel_map()", q=q, k=k)
    sums = _muattn.channel_map(*exported(None, q=q, k=k), settings)
    return tuple(like(q, x) for x in sums) if sums[1] is not None else like(q, sums[0])


@overload
def channel_apply(
    map: Any, v: Array, *, squares: tuple[Any, Any] | None = ..., return_map: Literal[False] = ..., scaling: ChannelScaling = ...,
    d_base: int | None = ..., alpha: float = ..., scale: Numbers | None = ..., output_multiplier: float | None = ...,
    layout: Layout = ..., tokens: int | None = ..., out: Any = ...,
) -> Array: ...
@overload
def channel_apply(
    map: Any, v: Array, *, squares: tuple[Any, Any] | None = ..., return_map: Literal[True], scaling: ChannelScaling = ...,
    d_base: int | None = ..., alpha: float = ..., scale: Numbers | None = ..., output_multiplier: float | None = ...,
    layout: Layout = ..., tokens: int | None = ..., out: Any = ...,
) -> tuple[Array, Array]: ...
@outside_graphs
def channel_apply(
    map, v, *, squares=None, return_map=False, scaling="sp", d_base=None, alpha=1.0, scale=None, output_multiplier=None,
    layout="channels_last", tokens=None, out=None,
):
    """The second half of channel_attention(), from the map on: out[t, i] = o sum_j softmax_j(s map[i, j]) V[t, j].

    Arguments
      map         [B, H, d, d], float32, as channel_map() gives it, or the sum of several
      v           [B, H, n, d], or [B, H, d, n] with channels first; float32, float16 or bfloat16
      squares     (q_squares, k_squares), each [B, H, d], as channel_map(normalize=True) gives them, or sums: the softmax is then of
                  s map[i, j] / (max(sqrt(q_squares[i]), 1e-12) max(sqrt(k_squares[j]), 1e-12)). None: not normalised
      return_map  also return the attention map, softmax_j(...) itself: channel_attention_backward() takes it
      tokens      the n of the rule's s = 1/sqrt(n), where v has only some of the tokens; None: those of v
    and scaling, d_base, alpha, scale, output_multiplier, layout, out as channel_attention() has them; arrays are in the CPU's memory.

    Returns out, or (out, attention_map [B, H, d, d]), new arrays of v's kind, out of its type, the map float32; or the `out` given. Raises as channel_map() does.
    """
    q_squares, k_squares = pair("squares", squares)
    arrays = {"map": map, "q_squares": q_squares, "k_squares": k_squares, "v": v, "out": out}
    refuse(BOTH_HALVES, **arrays, alpha=alpha, scale=scale, output_multiplier=output_multiplier)
    settings = channel_settings(scaling, d_base, scale, output_multiplier, squares is not None, layout, tokens, alpha)
    with_map = flag("return_map", return_map)
    require_processor("channel_apply()", **arrays)
    result = _muattn.channel_apply(*exported(None, **arrays), with_map, settings)
    written(out)
    if with_map:
        return (like(v, result[0]) if out is None else out), like(v, result[1])
    return like(v, result) if out is None else out
