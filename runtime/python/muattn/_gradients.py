"""The operators' gradients. Formulas of spatial attention's: Dao, "FlashAttention-2" (arXiv:2307.08691), section 3.1.2."""

from __future__ import annotations

from typing import Any, Literal, Sequence

from . import _muattn
from ._devices import exported, require_processor
from ._options import pair
from ._refusals import FORWARD, refuse
from ._results import like, narrowed, widened
from ._settings import (
    Array, Causal, ChannelScaling, Layout, Numbers, SpatialScaling, Window, channel_settings, spatial_settings,
)
from ._torch import outside_graphs

_OF_CHANNEL = ("q", "k", "v", "scale", "output_multiplier")
_OF_SPATIAL = ("q", "k", "v", "scale", "mask", "sink", "output_multiplier")


def _names(wanted, known):
    if isinstance(wanted, str) or not isinstance(wanted, Sequence):
        raise TypeError(f"wanted must be a sequence of names, not {wanted!r}")
    names = list(wanted)
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"wanted must hold names of {', '.join(map(repr, known))}, not {name!r}")
        if names.count(name) > 1:
            raise ValueError(f"wanted has {name!r} {names.count(name)} times")
    return names


def _given(name, array, where_from):
    if array is None:
        raise ValueError(f"{name} must be given: {where_from}")


@outside_graphs
def spatial_attention_backward(
    q: Array, k: Any, v: Any, out: Any, lse: Any, d_out: Any, *, d_lse: Any = None,
    wanted: Sequence[Literal["q", "k", "v", "scale", "mask", "sink", "output_multiplier"]] = ("q", "k", "v"), scaling: SpatialScaling = "sp",
    d_base: int | None = None, power: float = 1.0, alpha: float = 1.0, scale: Numbers | None = None, output_multiplier: float | None = None,
    causal: Causal = None, window: Window = None, mask: Any = None, key_lengths: Sequence[int] | Any = None, softcap: float | None = None,
    sink: Sequence[float] | Any = None,
) -> dict[str, Any]:
    """The gradients of a loss by the inputs of spatial_attention(), from its gradients by out and lse.

    Arguments
      q, k, v   as spatial_attention() had them, and so all its options; in the CPU's memory
      out, lse  what it gave, with return_lse=True; or those over more keys than k has (merge()): the gradients are then this k's
                share, and those of disjoint sets of keys add up. Give the same sink and output_multiplier to each call then, and take
                "sink" and "output_multiplier" of one.
      d_out     [B, H, n_q, d_v], the loss's gradient by out, in its type
      d_lse     [B, H, n_q], its gradient by lse; None: 0
      wanted    names of what to return the gradients by

    Returns a dict with an entry for each name in wanted, new arrays; those by q, k, v and mask have the kind (NumPy, PyTorch, ...) and the
    type of what they are by, summed in float32 and rounded once; others are float32, of q's kind:
      "q"      [B, H, n_q, d]     } summed over the query heads that share a key/value head
      "k"      [B, Hk, n_k, d]    }
      "v"      [B, Hk, n_k, d_v]  } int8 has no gradients
      "scale"  [H], by each head's s, be it the rule's, one for all heads or its own
      "mask"   in the mask's shape, which is additive then; summed over what a dimension of 1 stands for; 0 where it hides a key
      "sink"   [H]; the call has a sink then
      "output_multiplier"  a float, by o, be it the rule's or given, but not 0: out does not tell it then
    A query that sees no key has gradient 0, and so has a key that no query sees. The same input gives the same bits, whatever the
    number of threads.

    With logit_ij as spatial_attention() has it, after softcap and mask, p_ij = exp(logit_ij - lse_i), D_i = d_out_i . out_i - d_lse_i:
      dz_ij = p_ij (o d_out_i . v_j - D_i), dt_ij = dz_ij (1 - tanh(s q_i . k_j / softcap)^2), or dz_ij without softcap
      q_i: s sum_j dt_ij k_j;  k_j: s sum_i dt_ij q_i;  v_j: o sum_i p_ij d_out_i
      scale: sum_ij dt_ij q_i . k_j;  mask_ij: dz_ij;  sink: -sum_i exp(sink - lse_i) D_i;  output_multiplier: sum_i d_out_i . out_i / o

    Raises as spatial_attention() does; ValueError also for names that wanted cannot have, NotImplementedError for arrays in a
    GPU's memory.
    """
    names = _names(wanted, _OF_SPATIAL)
    _given("out", out, "what spatial_attention() gave")
    _given("lse", lse, "what spatial_attention(..., return_lse=True) gave")
    arrays = {"q": q, "k": k, "v": v, "out": out, "lse": lse, "d_out": d_out, "d_lse": d_lse, "mask": mask}
    refuse(
        FORWARD, **arrays, power=power, alpha=alpha, scale=scale, output_multiplier=output_multiplier, softcap=softcap, causal=causal,
        window=window, key_lengths=key_lengths, sink=sink,
    )
    settings = spatial_settings(scaling, d_base, scale, causal, window, key_lengths, softcap, sink, alpha, power, output_multiplier)
    require_processor("spatial_attention_backward()", **arrays)
    arrays["mask"] = widened(mask)
    gradients = _muattn.spatial_attention_backward(*exported(None, outputs=(), **arrays), names, settings)
    found = _by_name(names, {"q": q, "k": k, "v": v, "mask": arrays["mask"]}, q, gradients)
    if "mask" in found:
        found["mask"] = narrowed(mask, found["mask"])
    return found


def _by_name(names, arrays, first, gradients):
    """As the caller gets them: those by arrays are like these, others of the first's kind; the output multiplier's is a number."""
    return {
        name: float(gradients[name][0]) if name == "output_multiplier" else like(arrays.get(name, first), gradients[name]) for name in names
    }


@outside_graphs
def channel_attention_backward(
    q: Array, k: Any, v: Any, d_out: Any, *, attention_map: Any = None,
    wanted: Sequence[Literal["q", "k", "v", "scale", "output_multiplier"]] = ("q", "k", "v"), scaling: ChannelScaling = "sp",
    d_base: int | None = None, alpha: float = 1.0, scale: Numbers | None = None, output_multiplier: float | None = None,
    normalize: bool = False, layout: Layout = "channels_last",
) -> dict[str, Any]:
    """The gradients of a loss by the inputs of channel_attention(), from its gradient by out.

    Arguments
      q, k, v        as channel_attention() had them, and so all its options; in the CPU's memory
      d_out          [B, H, n, d], or [B, H, d, n] with channels first: the loss's gradient by out
      attention_map  [B, H, d, d], what channel_attention(..., return_map=True) gave: saves a product over all tokens. None: it is
                     computed again. Not with normalize, where channel_apply_backward() and channel_map_backward() save that product.
      wanted         names of what to return the gradients by

    Returns a dict with an entry for each name in wanted:
      "q", "k", "v"        new arrays of the kind (NumPy, PyTorch, ...), type and shape of q, k and v
      "scale"              [H], float32, of q's kind, by each head's s, be it the rule's, one for all heads or its own
      "output_multiplier"  a float, by o
    The same input gives the same bits, whatever the number of threads.

    With x, y: Q and K or, with normalize, these divided by their norms; A the attention map:
      dA_ij = o sum_t d_out[t, i] V[t, j], dz_ij = A_ij (dA_ij - sum_j A_ij dA_ij)
      x_i: s sum_j dz_ij y_j;  y_j: s sum_i dz_ij x_i;  v[t, j]: o sum_i d_out[t, i] A_ij
      scale: sum_ij dz_ij x_i . y_j;  output_multiplier: sum_ij A_ij dA_ij / o
      with normalize q_i: (dx_i - x_i (x_i . dx_i)) / |Q_i|, or dx_i / 1e-12 where |Q_i| is below 1e-12; so for k

    Raises as channel_attention() does; ValueError also for names that wanted cannot have, NotImplementedError for arrays in a
    GPU's memory.
    """
    names = _names(wanted, _OF_CHANNEL)
    arrays = {"q": q, "k": k, "v": v, "d_out": d_out, "attention_map": attention_map}
    refuse(FORWARD, **arrays, alpha=alpha, scale=scale, output_multiplier=output_multiplier)
    settings = channel_settings(scaling, d_base, scale, output_multiplier, normalize, layout, alpha=alpha)
    require_processor("channel_attention_backward()", **arrays)
    gradients = _muattn.channel_attention_backward(*exported(None, outputs=(), **arrays), names, settings)
    return _by_name(names, {"q": q, "k": k, "v": v}, q, gradients)


@outside_graphs
def channel_apply_backward(
    map: Any, v: Array, d_out: Any, *, squares: tuple[Any, Any] | None = None,
    wanted: Sequence[Literal["attention_map", "v"]] = ("attention_map", "v"), scaling: ChannelScaling = "sp", d_base: int | None = None,
    alpha: float = 1.0, scale: Numbers | None = None, output_multiplier: float | None = None, layout: Layout = "channels_last",
    tokens: int | None = None,
) -> dict[str, Array]:
    """The first half of channel_attention_backward(), for tokens that are spread over machines: channel_apply() backwards.

    map, v, squares and the options are as channel_apply() had them, d_out is like its out; channel_attention_backward() has the formulas.

    Returns a dict with an entry for each name in wanted, new arrays of v's kind:
      "attention_map"  [B, H, d, d], sum_t d_out[t, i] V[t, j], before the output multiplier: channel_map_backward() takes the sum of
                       those of all tokens; float32
      "v"              in v's shape and type
    Raises as channel_attention_backward() does.
    """
    names = _names(wanted, ("attention_map", "v"))
    q_squares, k_squares = pair("squares", squares)
    arrays = {"map": map, "q_squares": q_squares, "k_squares": k_squares, "v": v, "d_out": d_out}
    refuse(FORWARD, **arrays, alpha=alpha, scale=scale, output_multiplier=output_multiplier)
    settings = channel_settings(scaling, d_base, scale, output_multiplier, squares is not None, layout, tokens, alpha)
    require_processor("channel_apply_backward()", **arrays)
    return _by_name(names, {}, v, _muattn.channel_apply_backward(*exported(None, outputs=(), **arrays), names, settings))


@outside_graphs
def channel_map_backward(
    q: Array, k: Any, map: Any, d_attention_map: Any, *, squares: tuple[Any, Any] | None = None,
    wanted: Sequence[Literal["q", "k", "scale", "output_multiplier"]] = ("q", "k"), scaling: ChannelScaling = "sp",
    d_base: int | None = None, alpha: float = 1.0, scale: Numbers | None = None, output_multiplier: float | None = None,
    layout: Layout = "channels_last", tokens: int | None = None,
) -> dict[str, Any]:
    """The second half of channel_attention_backward(), for tokens that are spread over machines: channel_map() backwards.

    map, squares and the options are as channel_apply() had them, those of all tokens; d_attention_map [B, H, d, d] is the sum of what
    channel_apply_backward() gave for all; q and k are this machine's.

    Returns a dict with an entry for each name in wanted: "q" and "k", the gradients of this call's tokens, new arrays of the kind and type of q
    and k; "scale" [H] and "output_multiplier", a float, which are those of all tokens, the same on each machine. Raises as
    channel_attention_backward() does.
    """
    names = _names(wanted, ("q", "k", "scale", "output_multiplier"))
    q_squares, k_squares = pair("squares", squares)
    arrays = {"q": q, "k": k, "map": map, "q_squares": q_squares, "k_squares": k_squares, "d_attention_map": d_attention_map}
    refuse(FORWARD, **arrays, alpha=alpha, scale=scale, output_multiplier=output_multiplier)
    settings = channel_settings(scaling, d_base, scale, output_multiplier, squares is not None, layout, tokens, alpha)
    require_processor("channel_map_backward()", **arrays)
    gradients = _muattn.channel_map_backward(*exported(None, outputs=(), **arrays), names, settings)
    return _by_name(names, {"q": q, "k": k}, q, gradients)
