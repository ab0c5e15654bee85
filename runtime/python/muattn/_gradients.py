"""The operators' gradients. Formulas of spatial attention's: Dao, "FlashAttention-2" (arXiv:2307.08691), section 3.2."""

from __future__ import annotations

from typing import Any, Literal, Sequence

from . import _muattn
from ._devices import exported, require_processor
from ._refusals import refuse
from ._results import like
from ._settings import Array, Causal, Numbers, SpatialScaling, Window, spatial_settings
from ._torch import outside_graphs

_OF_SPATIAL = ("q", "k", "v", "scale", "mask", "sink")


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
    wanted: Sequence[Literal["q", "k", "v", "scale", "mask", "sink"]] = ("q", "k", "v"), scaling: SpatialScaling = "sp",
    d_base: int | None = None, scale: Numbers | None = None, causal: Causal = None, window: Window = None, mask: Any = None,
    key_lengths: Sequence[int] | Any = None, softcap: float | None = None, sink: Sequence[float] | Any = None,
) -> dict[str, Array]:
    """The gradients of a loss by the inputs of spatial_attention(), from its gradients by out and lse.

    Arguments
      q, k, v   as spatial_attention() had them, and so all its options; in the CPU's memory
      out, lse  what it gave, with return_lse=True; or those over more keys than k has (merge()): the gradients are then this k's
                share, and those of disjoint sets of keys add up. Give the same sink to each call then, and take "sink" of one.
      d_out     [B, H, n_q, d_v], the loss's gradient by out
      d_lse     [B, H, n_q], its gradient by lse; None: 0
      wanted    names of what to return the gradients by

    Returns a dict with an entry for each name in wanted, new float32 arrays of q's kind (NumPy, PyTorch, ...):
      "q"      [B, H, n_q, d]     } summed over the query heads that share a key/value head
      "k"      [B, Hk, n_k, d]    }
      "v"      [B, Hk, n_k, d_v]  }
      "scale"  [H], by each head's s, be it the rule's, one for all heads or its own
      "mask"   in the mask's shape, which is additive then; summed over what a dimension of 1 stands for; finite where it hides a key
      "sink"   [H]; the call has a sink then
    A query that sees no key has gradient 0, and so has a key that no query sees. The same input gives the same bits, whatever the
    number of threads.

    With logit_ij as spatial_attention() has it, after softcap and mask, p_ij = exp(logit_ij - lse_i), D_i = d_out_i . out_i - d_lse_i:
      dz_ij = p_ij (d_out_i . v_j - D_i), dt_ij = dz_ij (1 - tanh(s q_i . k_j / softcap)^2), or dz_ij without softcap
      q_i: s sum_j dt_ij k_j;  k_j: s sum_i dt_ij q_i;  v_j: sum_i p_ij d_out_i
      scale: sum_ij dt_ij q_i . k_j;  mask_ij: dz_ij;  sink: -sum_i exp(sink - lse_i) D_i

    Raises as spatial_attention() does; ValueError also for names that wanted cannot have, NotImplementedError for arrays in a
    GPU's memory.
    """
    names = _names(wanted, _OF_SPATIAL)
    _given("out", out, "what spatial_attention() gave")
    _given("lse", lse, "what spatial_attention(..., return_lse=True) gave")
    arrays = {"q": q, "k": k, "v": v, "out": out, "lse": lse, "d_out": d_out, "d_lse": d_lse, "mask": mask}
    refuse(**arrays, scale=scale, softcap=softcap, causal=causal, window=window, key_lengths=key_lengths, sink=sink)
    settings = spatial_settings(scaling, d_base, scale, causal, window, key_lengths, softcap, sink)
    require_processor("spatial_attention_backward()", **arrays)
    gradients = _muattn.spatial_attention_backward(*exported(None, outputs=(), **arrays), names, settings)
    return {name: like(q, gradients[name]) for name in names}
