"""The two operators and their scaling rules. Formulas: Yang et al., "Tensor Programs V" (arXiv:2203.03466), and
microsoft/mup, issues 17 and 18."""

from __future__ import annotations

from typing import Any, Literal, Sequence, overload

from . import _muattn, _torch
from ._devices import exported, new_array, queue_of, require_processor
from ._options import base_width, choice, factor, flag, integer
from ._refusals import WITHOUT_OUT, refuse
from ._results import like, widened
from ._settings import (
    CHANNEL_SCALINGS, Array, Causal, ChannelScaling, Layout, Numbers, SpatialScaling, Window, channel_settings, spatial_settings,
)
from ._stats import LogitStats, channel_logit_stats, spatial_logit_stats
from ._torch import needs_operator, outside_graphs, written


@overload
def spatial_attention(
    q: Array, k: Any, v: Any, *, scaling: SpatialScaling = ..., d_base: int | None = ..., power: float = ..., alpha: float = ...,
    scale: Numbers | None = ..., output_multiplier: float | Any | None = ..., causal: Causal = ..., window: Window = ..., mask: Any = ...,
    key_lengths: Sequence[int] | Any = ..., softcap: float | None = ..., sink: Sequence[float] | Any = ..., k_scale: Any = ...,
    v_scale: Any = ..., return_lse: Literal[False] = ..., return_stats: Literal[False] = ..., out: Any = ...,
) -> Array: ...
@overload
def spatial_attention(
    q: Array, k: Any, v: Any, *, scaling: SpatialScaling = ..., d_base: int | None = ..., power: float = ..., alpha: float = ...,
    scale: Numbers | None = ..., output_multiplier: float | Any | None = ..., causal: Causal = ..., window: Window = ..., mask: Any = ...,
    key_lengths: Sequence[int] | Any = ..., softcap: float | None = ..., sink: Sequence[float] | Any = ..., k_scale: Any = ...,
    v_scale: Any = ..., return_lse: Literal[True], return_stats: Literal[False] = ..., out: Any = ...,
) -> tuple[Array, Array]: ...
@overload
def spatial_attention(
    q: Array, k: Any, v: Any, *, scaling: SpatialScaling = ..., d_base: int | None = ..., power: float = ..., alpha: float = ...,
    scale: Numbers | None = ..., output_multiplier: float | Any | None = ..., causal: Causal = ..., window: Window = ..., mask: Any = ...,
    key_lengths: Sequence[int] | Any = ..., softcap: float | None = ..., sink: Sequence[float] | Any = ..., k_scale: Any = ...,
    v_scale: Any = ..., return_lse: Literal[False] = ..., return_stats: Literal[True], out: Any = ...,
) -> tuple[Array, LogitStats]: ...
@overload
def spatial_attention(
    q: Array, k: Any, v: Any, *, scaling: SpatialScaling = ..., d_base: int | None = ..., power: float = ..., alpha: float = ...,
    scale: Numbers | None = ..., output_multiplier: float | Any | None = ..., causal: Causal = ..., window: Window = ..., mask: Any = ...,
    key_lengths: Sequence[int] | Any = ..., softcap: float | None = ..., sink: Sequence[float] | Any = ..., k_scale: Any = ...,
    v_scale: Any = ..., return_lse: Literal[True], return_stats: Literal[True], out: Any = ...,
) -> tuple[Array, Array, LogitStats]: ...
@outside_graphs
def spatial_attention(
    q, k, v, *, scaling="sp", d_base=None, power=1.0, alpha=1.0, scale=None, output_multiplier=None, causal=None, window=None, mask=None,
    key_lengths=None, softcap=None, sink=None, k_scale=None, v_scale=None, return_lse=False, return_stats=False, out=None,
):
    """Spatial attention: out = o softmax(s Q K^T) V per head, softmax over the keys that a query sees.

    Arguments
      q            [B, H, n_q, d]   } all in the CPU's memory or in one CUDA device's; the innermost stride is 1, the others are
      k            [B, Hk, n_k, d]  } free, so slices of a packed QKV array and [B, n, H, d] transposed are used as they are.
      v            [B, Hk, n_k, d_v]  H is a multiple of Hk; 1 <= d, d_v <= 1024, on a GPU 256. Types: all three float32, float16 or
                   bfloat16 (ml_dtypes', in NumPy); or q float32, and k and v float16 or bfloat16; or k and v int8, with
                   k_scale and v_scale. On a GPU float32 alone. Whatever the type, all is computed in float32: out, which has q's
                   type, is what float32 arrays of the same numbers give, rounded once
      scaling      "sp":        s = 1/sqrt(d)
                   "mup":       s = sqrt(d_base)/d^power, or 1/d^power without d_base: the head dimension grows with width
                   "mup_heads": s = 1/sqrt(d): the number of heads grows, d is fixed
                   "umup":      s = 1/d and o = 1/sigma: unit-scaled muP (Blake et al., arXiv:2407.17465), as the package unit_scaling
                                has it; sigma = c^(1 - a), a = 1/(1 + 4 d/alpha^2), c = sqrt(1/n_k), with causal sqrt(log(n_k)/n_k)
                   and o = 1 under the others
      d_base       head dimension of the muP base model, for "mup" alone, which equals "sp" at d = d_base
      power        of "mup" alone
      alpha        factor on the rule's s
      scale        s itself, instead of a rule's, with neither alpha nor power: a number, or H numbers, one per head. Under "umup", whose o
                   belongs to its s, give output_multiplier as well
      output_multiplier  o itself, instead of a rule's; lse does not depend on it
      causal       key j is visible to query i if j <= i + o: "top_left" is o = 0, "bottom_right" o = n_k - n_q, with
                   key_lengths key_lengths[b] - n_q; an integer is o itself (with a cache of p past keys: p), B integers
                   are the o of each batch entry
      window       (left, right): i + o - left <= j <= i + o + right with causal's o (0 when not causal); None: open
      key_lengths  [B], the number of valid keys per batch entry: the others are neither read nor computed
      return_lse   also return lse [B, H, n_q] = log(sum_j exp(logit_j)), natural logarithm, after softcap and mask
      return_stats  also return what the logits are like, LogitStats(mean_abs, rms, max, entropy), each [B, H]: a kernel of its own, that
                   takes about as long as the call, with few queries to a head several times as long. Not on a GPU.
      out          [B, H, n_q, d_v] to write to; it must not overlap an input
      mask         [B, H, n_q, n_k], each dimension full or 1, all strides free. bool: a query sees a key where it is
                   true. float32: added to the logit; -inf, or anything below -7e37, hides the key. float16, bfloat16: the
                   same, converted; float16's least, -65504, hides no key, and gives it a weight of 0.
      softcap      c > 0: logit -> c tanh(logit / c), before any mask
      sink         [H]: for each head a logit that takes part in the softmax's sum and has no value (gpt-oss learns such
                   logits); neither scale, softcap nor mask concerns it; -inf: none. out and lse are then
                   merge(out, lse, 0, sink) of those without.
      k_scale, v_scale  [B, Hk, n_k], or with a last dimension of 1, float32: what each row of an int8 k and v is multiplied with.
                   Such calls have no gradients, and no return_stats.

    Returns out, or (out, lse), (out, stats), (out, lse, stats): new arrays of q's kind (NumPy, PyTorch, ...), out of its type, the others of
    float32; or the `out` given. A query that sees no
    key, as where n_k = 0, has output 0 and lse -inf, or the sink. The same input gives the same bits, whatever the number of threads. PyTorch tensors in
    CUDA memory: the call goes to PyTorch's current stream and does not wait for it.

    PyTorch tensors that need a gradient, or that torch.func maps, go to muattn.torch.spatial_attention(), unless out is given.

    Raises ValueError (the message names the argument and the rule; also for a PyTorch tensor that says more than its memory does),
    TypeError (not an array, a masked array of NumPy), NotImplementedError, MemoryError. torch.compile breaks its graph at the call: there
    use muattn.torch. Gradients without PyTorch: spatial_attention_backward().
    """
    if out is None and needs_operator(q, k, v, mask, scale, sink, output_multiplier, k_scale, v_scale):
        from . import torch

        return torch.spatial_attention(
            q, k, v, scaling=scaling, d_base=d_base, power=power, alpha=alpha, scale=scale, output_multiplier=output_multiplier,
            causal=causal, window=window, mask=mask, key_lengths=key_lengths, softcap=softcap, sink=sink, k_scale=k_scale, v_scale=v_scale,
            return_lse=return_lse, return_stats=return_stats,
        )
    refuse(
        WITHOUT_OUT, q=q, k=k, v=v, mask=mask, power=power, alpha=alpha, scale=scale, output_multiplier=output_multiplier,
        softcap=softcap, causal=causal, window=window, key_lengths=key_lengths, sink=sink, k_scale=k_scale, v_scale=v_scale, out=out,
    )
    with_lse, with_stats = flag("return_lse", return_lse), flag("return_stats", return_stats)
    settings = spatial_settings(scaling, d_base, scale, causal, window, key_lengths, softcap, sink, alpha, power, output_multiplier)
    mask = widened(mask)
    queue = queue_of(q=q, k=k, v=v, mask=mask, k_scale=k_scale, v_scale=v_scale, out=out)
    stats = (spatial_logit_stats(q, k, mask, settings),) if with_stats else ()
    lse = None
    if queue is not None:
        out = new_array(q, (*q.shape[:3], *v.shape[3:]), True) if out is None else out
        lse = new_array(q, tuple(q.shape[:3])) if with_lse else None
    arrays = exported(queue, q=q, k=k, v=v, mask=mask, out=out, lse=lse, k_scale=k_scale, v_scale=v_scale)
    result = _muattn.spatial_attention(queue, *arrays, with_lse, settings)
    written(out)
    results = result if with_lse else (result,)
    returned = [like(q, new) if given is None else given for new, given in zip(results, (out, lse))]
    if (recorder := _torch.recorder) is not None:
        recorder.spatial(q, k, mask, settings, returned[0], k_scale)
    return returned[0] if len(returned) + len(stats) == 1 else (*returned, *stats)


@outside_graphs
def merge(out_a: Array, lse_a: Any, out_b: Any, lse_b: Any) -> tuple[Array, Array]:
    """Two results of spatial_attention(..., return_lse=True) over disjoint sets of keys, as one over both.

    Arguments
      out_a, out_b  [B, H, n_q, d_v], both float32, float16 or bfloat16
      lse_a, lse_b  [B, H, n_q], float32; a row with lse -inf counts for nothing, whatever out holds

    causal and window count keys from the start of the k of their call: for the part that starts at key p give the whole
    call's offset minus p (causal=o - p, of each batch entry where key_lengths make it differ), not an alignment of the part; cut mask and key_lengths to the part too.
    Give sink to one of the calls only: it would count once for each. Under "umup" give both the same output_multiplier: a rule's depends
    on n_k.

    Returns (out, lse), new arrays of out_a's kind, out of its type: lse = log(e^lse_a + e^lse_b), out the mean of out_a and out_b with
    weights e^(lse_a - lse) and e^(lse_b - lse). Raises as spatial_attention does.
    """
    if needs_operator(out_a, lse_a, out_b, lse_b):
        from . import torch

        return torch.merge(out_a, lse_a, out_b, lse_b)
    refuse(WITHOUT_OUT, out_a=out_a, lse_a=lse_a, out_b=out_b, lse_b=lse_b)
    arrays = {"out_a": out_a, "lse_a": lse_a, "out_b": out_b, "lse_b": lse_b}
    queue = queue_of(**arrays)
    if queue is None:
        out, lse = _muattn.merge(None, *exported(None, **arrays), None, None)
        return like(out_a, out), like(out_a, lse)
    out, lse = new_array(out_a, tuple(out_a.shape), True), new_array(out_a, tuple(out_a.shape[:3]))
    _muattn.merge(queue, *exported(queue, **arrays, out=out, lse=lse))
    return out, lse


@overload
def channel_attention(
    q: Array, k: Any, v: Any, *, scaling: ChannelScaling = ..., d_base: int | None = ..., alpha: float = ..., scale: Numbers | None = ...,
    output_multiplier: float | Any | None = ..., normalize: bool = ..., layout: Layout = ..., return_map: Literal[False] = ...,
    return_stats: Literal[False] = ..., out: Any = ...,
) -> Array: ...
@overload
def channel_attention(
    q: Array, k: Any, v: Any, *, scaling: ChannelScaling = ..., d_base: int | None = ..., alpha: float = ..., scale: Numbers | None = ...,
    output_multiplier: float | Any | None = ..., normalize: bool = ..., layout: Layout = ..., return_map: Literal[True],
    return_stats: Literal[False] = ..., out: Any = ...,
) -> tuple[Array, Array]: ...
@overload
def channel_attention(
    q: Array, k: Any, v: Any, *, scaling: ChannelScaling = ..., d_base: int | None = ..., alpha: float = ..., scale: Numbers | None = ...,
    output_multiplier: float | Any | None = ..., normalize: bool = ..., layout: Layout = ..., return_map: Literal[False] = ...,
    return_stats: Literal[True], out: Any = ...,
) -> tuple[Array, LogitStats]: ...
@overload
def channel_attention(
    q: Array, k: Any, v: Any, *, scaling: ChannelScaling = ..., d_base: int | None = ..., alpha: float = ..., scale: Numbers | None = ...,
    output_multiplier: float | Any | None = ..., normalize: bool = ..., layout: Layout = ..., return_map: Literal[True],
    return_stats: Literal[True], out: Any = ...,
) -> tuple[Array, Array, LogitStats]: ...
@outside_graphs
def channel_attention(
    q, k, v, *, scaling="sp", d_base=None, alpha=1.0, scale=None, output_multiplier=None, normalize=False, layout="channels_last",
    return_map=False, return_stats=False, out=None,
):
    """Channel attention: out = o (softmax(s Q^T K) V^T)^T per head, a d x d map, softmax over its second index:
    out[t, i] = o sum_j softmax_j(s sum_u Q[u, i] K[u, j]) V[t, j].

    Arguments
      q, k, v      [B, H, n, d], all float32, float16 or bfloat16 (ml_dtypes', in NumPy), on a GPU float32 alone, all in the CPU's
                   memory or in one CUDA device's; the innermost stride is 1, the others are free; 1 <= d <= 1024. All is
                   computed in float32, and out, of their type, rounded once
      scaling      s = 1/sqrt(n) under every rule, and
                   "sp":        o = 1
                   "mup":       o = d_base/d: the head dimension grows with width; needs d_base
                   "mup_heads": o = 1: the number of heads grows, d is fixed
                   "mup_mean":  o = 1: as "mup", without its division. Rows of the softmax already sum to one over d, so
                                under "mup" the output vanishes with width; the coordinate check shows what a model wants.
      d_base       head dimension of the muP base model
      alpha        factor on the rule's s
      scale        s itself, instead of a rule's, without alpha: a number, or H numbers, one per head (a learned temperature)
      output_multiplier  o itself, instead of a rule's
      out          [B, H, n, d] to write to; it must not overlap an input
      normalize    divide each channel of Q and K by max(its L2 norm over tokens, 1e-12) first, as XCiT and Restormer do;
                   then give scale: the learned temperature
      layout       "channels_last": as above; "channels_first": q, k, v and out are [B, H, d, n]
      return_map   also return the attention map [B, H, d, d], softmax_j(...) itself, which channel_attention_backward() takes; the
                   call is then one of channel_map() and one of channel_apply(), and rounds as these do. Not on a GPU.
      return_stats  also return what the logits of the map are like, LogitStats(mean_abs, rms, max, entropy), each [B, H]. Not on a GPU.

    Returns out, or (out, attention_map), (out, stats), (out, attention_map, stats): new arrays of q's kind (NumPy, PyTorch, ...), out of its type, the others
    of float32; or the `out` given. Raises as spatial_attention does. Gradients: channel_attention_backward().
    """
    if out is None and not return_map and needs_operator(q, k, v, scale, output_multiplier):
        from . import torch

        return torch.channel_attention(
            q, k, v, scaling=scaling, d_base=d_base, alpha=alpha, scale=scale, output_multiplier=output_multiplier, normalize=normalize,
            layout=layout, return_stats=return_stats,
        )
    refuse(WITHOUT_OUT, q=q, k=k, v=v, alpha=alpha, scale=scale, output_multiplier=output_multiplier, out=out)
    settings = channel_settings(scaling, d_base, scale, output_multiplier, normalize, layout, alpha=alpha)
    with_map = flag("return_map", return_map)
    stats = (channel_logit_stats(q, k, settings),) if flag("return_stats", return_stats) else ()
    if with_map:
        require_processor("channel_attention(..., return_map=True)", q=q, k=k, v=v, out=out)
        result, attention_map = _muattn.channel_attention_and_map(*exported(None, q=q, k=k, v=v, out=out), settings)
        written(out)
        returned = like(q, result) if out is None else out
        if (recorder := _torch.recorder) is not None:
            recorder.channel(q, k, settings, returned)
        return returned, like(q, attention_map), *stats
    queue = queue_of(q=q, k=k, v=v, out=out)
    if queue is not None and out is None:
        out = new_array(q, tuple(q.shape), True)
    result = _muattn.channel_attention(queue, *exported(queue, q=q, k=k, v=v, out=out), settings)
    written(out)
    returned = like(q, result) if out is None else out
    if (recorder := _torch.recorder) is not None:
        recorder.channel(q, k, settings, returned)
    return (returned, *stats) if stats else returned


def spatial_scale(scaling: SpatialScaling, d: int, d_base: int | None = None, *, power: float = 1.0, alpha: float = 1.0) -> float:
    """The logit scale s that spatial_attention uses at head dimension d."""
    return _muattn.spatial_rule(integer("d", d), 0, spatial_settings(scaling, d_base, alpha=alpha, power=power))[0]


def spatial_output_multiplier(scaling: SpatialScaling, d: int, n_k: int, *, causal: bool = False, alpha: float = 1.0) -> float:
    """The output multiplier o that spatial_attention uses at head dimension d over n_k keys, where causal: with any alignment."""
    settings = spatial_settings(scaling, causal="top_left" if flag("causal", causal) else None, alpha=alpha)
    return _muattn.spatial_rule(integer("d", d), integer("n_k", n_k), settings)[1]


def channel_scale(scaling: ChannelScaling, n: int, *, alpha: float = 1.0) -> float:
    """The logit scale s that channel_attention uses over n tokens."""
    return (factor("alpha", alpha) or 1.0) * _muattn.channel_scale(choice("scaling", scaling, CHANNEL_SCALINGS), integer("n", n))


def channel_output_multiplier(scaling: ChannelScaling, d: int, d_base: int | None = None) -> float:
    """The output multiplier o that channel_attention uses at head dimension d."""
    rule = choice("scaling", scaling, CHANNEL_SCALINGS)
    return _muattn.channel_output_multiplier(rule, integer("d", d), base_width(d_base))
