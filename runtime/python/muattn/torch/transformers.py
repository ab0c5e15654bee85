"""Models of Hugging Face's transformers on muattn.

    muattn.torch.transformers.register()
    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="muattn")  # or model.set_attn_implementation("muattn")
"""

from __future__ import annotations

import sys

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ._sdpa import MOST_CHANNELS
from ._spatial import spatial_attention
from ._tensors import is_taken
from ._transformers_masks import Mask, make_mask, visible


def register() -> None:
    """From now on attn_implementation="muattn" is one of transformers', masks included: grouped queries, scales, softcap (Gemma 2), sinks
    (gpt-oss), sliding windows, padding and caches run on muattn's options for them, with all gradients.

    Transformers' own "sdpa" computes what muattn does not: tensors in float64, or not on the CPU, dropout in training, more than 1024 channels; for
    models with softcap or sinks, which it has not, their "eager". So does "eager" where weights are asked for (output_attentions=True). Calling it
    again changes nothing."""
    AttentionInterface.register("muattn", _attention)
    AttentionMaskInterface.register("muattn", make_mask)


def _attention(
    module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None, softcap=None, s_aux=None, position_bias=None, **rest
):
    """As transformers calls it: ([B, n_q, H, d_v], None). Windows are the masks' matter, as they are for "eager" and "sdpa": some models name one
    here for layers that have none."""
    for name in ("indices", "block_indices"):
        if rest.get(name) is not None:
            raise NotImplementedError(f'{type(module).__name__} chooses keys by {name}=, which muattn has not: use attn_implementation="eager"')
    is_causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = _alignment(query.shape[2], key.shape[2]) if attention_mask is None and is_causal and query.shape[2] > 1 else None
    extra = {"softcap": softcap, "s_aux": s_aux, "position_bias": position_bias}
    if not _takes(query, key, value, attention_mask, position_bias, dropout) or rest.get("output_attentions") or rest.get("sinks") is not None:
        rest.update({name: x for name, x in extra.items() if x is not None}, dropout=dropout, scaling=scaling)
        return _theirs(module, query, key, value, attention_mask, causal, rest)
    if isinstance(attention_mask, Mask):
        arguments = attention_mask.arguments() if attention_mask.shape[2:] == (query.shape[2], key.shape[2]) else {"mask": attention_mask.matrix()}
    else:
        arguments = {"causal": causal, "mask": attention_mask}
    if position_bias is not None:
        arguments = {**arguments, "mask": _biased(position_bias, arguments.get("mask"))}
    out = spatial_attention(query, key, value, scale=scaling, softcap=softcap, sink=s_aux, **arguments)
    return out.transpose(1, 2), None


def _alignment(n_q, n_k):
    """The offset of causal attention without a mask: past keys, if there are any, are a cache's."""
    return n_k - n_q if n_k > n_q else 0


def _takes(query, key, value, mask, position_bias, dropout):
    return (
        dropout == 0.0 and all(is_taken(x) and x.device.type == "cpu" and x.dim() == 4 for x in (query, key, value))
        and (torch.is_autocast_enabled("cpu") or query.dtype == key.dtype == value.dtype)
        and (mask is None or mask.dim() == 4 and (mask.dtype is torch.bool or is_taken(mask)))
        and (position_bias is None or is_taken(position_bias))
        and query.shape[0] == key.shape[0] and max(query.shape[3], value.shape[3]) <= MOST_CHANNELS
    )


def _biased(bias, mask):
    if mask is None:
        return bias
    return torch.where(mask, bias, -torch.inf) if mask.dtype is torch.bool else bias + mask


def _theirs(module, query, key, value, mask, causal, options):
    """transformers' own computation. It knows neither Mask nor, when there are more keys than queries, our None."""
    needs_eager = options.get("output_attentions") or any(options.get(name) is not None for name in ("softcap", "s_aux", "sinks"))
    n_q, n_k = query.shape[2], key.shape[2]
    if isinstance(mask, Mask):
        mask = mask.matrix()
    elif causal is not None and (needs_eager or n_q != n_k):
        mask = visible(n_q, n_k, causal).to(query.device)
    if not needs_eager:
        return sdpa_attention_forward(module, query, key, value, mask, is_causal=causal is not None, **options)
    if mask is not None and mask.dtype is torch.bool:
        mask = torch.where(mask, torch.zeros((), dtype=query.dtype, device=query.device), torch.finfo(query.dtype).min)
    return _eager_of(module)(module, query, key, value, mask, **options)


def _eager_of(module):
    """Each of transformers' files has its own, with what its models need."""
    for kind in type(module).__mro__:
        found = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if found is not None:
            return found
    raise NotImplementedError(
        f"{type(module).__name__} asks for what neither muattn nor \"sdpa\" computes here (weights, or softcap or sinks with dropout or in "
        "float64), and its module has no eager_attention_forward"
    )
