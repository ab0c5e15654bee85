"""The arguments of spatial attention, before any rank waits for another."""

import torch

from ... import _muattn
from .. import _spatial
from .._tensors import rows, view
from ._agreement import wanted_of

_GRADIENTS = ("q", "k", "v", "scale", "mask", "sink", "output_multiplier")


def described(arguments, settings):
    """What must be the same on all ranks: of the operator's arguments, and the settings that they make."""
    q, k, v, _, mask = arguments[:5]
    scaling, d_base, _, alignment, offset, window, softcap, alpha, power, _ = arguments[9:]
    sizes = {f"sizes of {name} [batch, heads, channels]": [*x.shape[:2], x.shape[3]] for name, x in (("q", q), ("k", k), ("v", v))}
    return {
        **sizes, "types of q, k and v": [str(x.dtype) for x in (q, k, v)], "scaling": scaling, "d_base": d_base, "alpha": alpha, "power": power,
        "scale": settings[2], "output_multiplier": settings[12], "causal": [alignment, offset, settings[5]], "window": window,
        "key_lengths": settings[7], "softcap": softcap, "sink": settings[9],
        "mask": None if mask is None else [str(mask.dtype), list(mask.shape)],
        "tensors that require a gradient": wanted_of(**dict(zip(_GRADIENTS, arguments))),
    }


def check_options(q, k, v, settings):
    """Raises what the kernels would say of sizes and options. They are asked without tokens, whose number each rank knows only of its own."""
    for name, x in (("k", k), ("v", v)):
        if x.dtype is torch.int8:
            raise ValueError(f"{name}.dtype must be float32, float16 or bfloat16, not int8: whose calls are muattn.torch.spatial_attention()'s alone")
    if k.shape[2] != v.shape[2]:
        raise ValueError(f"v must have k's tokens, {k.shape[2]}, not {v.shape[2]}")
    q, k, v = (rows(x.detach()[:, :, :0]) for x in (q, k, v))
    lengths = settings[7]
    without = (*settings[:7], None if lengths is None else [0] * len(lengths), *settings[8:])
    out, _ = _spatial.new_outputs(q, k, v)
    _muattn.spatial_attention(None, view(q), view(k), view(v), None, view(out), None, None, None, False, without)


def check_lengths(lengths, n_k):
    for i, length in enumerate(lengths or ()):
        if not 0 <= length <= n_k:
            raise ValueError(f"key_lengths[{i}] must lie in 0..{n_k}, the keys of all ranks, not be {length}")
