"""torch.nn.functional.scaled_dot_product_attention on muattn's kernels.

On the CPU PyTorch sends to one operator, and one more for the gradients, what its fused attention takes; their kernels are exchanged.
What does not come that way (dropout, v of another width than q, a mask that needs a gradient) is PyTorch's still."""

from __future__ import annotations

import threading

import torch

from . import _spatial
from ._tensors import beside_tokens, in_four_dimensions, is_taken, widened

_FORWARD, _BACKWARD = "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward"
MOST_CHANNELS = 1024


def _takes(q, k, v, dropout_p, mask):
    """The rest is PyTorch's, as if nothing were exchanged."""
    return (
        is_taken(q) and k.dtype is q.dtype and v.dtype is q.dtype and dropout_p == 0.0
        and (mask is None or mask.dtype is torch.bool or is_taken(mask))
        and all(x.stride(-1) == 1 for x in (q, k, v))
        and q.shape[-1] <= MOST_CHANNELS and q.shape[-1] > 0 and k.shape[1] > 0 and q.shape[1] % k.shape[1] == 0
    )


def _settings(is_causal, scale):
    return _spatial.settings_of(None, None, None, None, None, "sp", 0, scale, "top_left" if is_causal else "none", 0, None, 0.0)


def _mask(mask):
    return widened(in_four_dimensions(mask))


def _like(x):
    B, H, n, d = x.shape
    return beside_tokens(x, B, H, n, d)


def _exchanged():
    """The exchange of the kernels, a library of PyTorch's: it lasts until that is destroyed."""
    own_forward = torch.library.get_kernel(f"aten::{_FORWARD}", "CPU")
    own_backward = torch.library.get_kernel(f"aten::{_BACKWARD}", "CPU")

    def forward(keys, q, k, v, dropout_p=0.0, is_causal=False, *, attn_mask=None, scale=None):
        if not _takes(q, k, v, dropout_p, attn_mask):
            return own_forward.call_boxed(keys, q, k, v, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)
        B, H, n_q, _ = q.shape
        out, lse = torch.empty_like(q), q.new_empty((B, n_q, H), dtype=torch.float32).transpose(1, 2)  # as PyTorch's own lie, which compiled code counts on
        _spatial.compute(q, k, v, _mask(attn_mask), _settings(is_causal, scale), out, lse)
        return out, lse

    def backward(keys, d_out, q, k, v, out, lse, dropout_p, is_causal, *, attn_mask=None, scale=None):
        if not _takes(q, k, v, dropout_p, attn_mask):
            return own_backward.call_boxed(keys, d_out, q, k, v, out, lse, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)
        gradients = {name: _like(x) for name, x in zip("qkv", (q, k, v))}
        _spatial.compute_gradients(q, k, v, _mask(attn_mask), _settings(is_causal, scale), out, lse, d_out, None, gradients)
        return tuple(gradients.values())

    library = torch.library.Library("aten", "IMPL", "CPU")
    library.impl(_FORWARD, forward, with_keyset=True, allow_override=True)
    library.impl(_BACKWARD, backward, with_keyset=True, allow_override=True)
    return library


class _Exchange:
    """As long as one is not removed, the kernels are muattn's. All share one exchange: a second would take the first's kernels for PyTorch's
    own, and call them when they are gone."""

    _lock = threading.Lock()
    _library = None
    _present = set()

    def __init__(self):
        with self._lock:
            if not self._present:
                _Exchange._library = _exchanged()
            self._present.add(self)

    def remove(self):
        with self._lock:
            if self in self._present:
                self._present.remove(self)
                if not self._present:
                    self._library._destroy()


_exchange = None


def enable_sdpa() -> None:
    """From now on torch.nn.functional.scaled_dot_product_attention, and all that calls it (torch.nn.MultiheadAttention, timm, diffusers,
    transformers' "sdpa"), runs on muattn's kernels where tensors are float32, float16 or bfloat16 on the CPU and d is at most 1024, its
    backward pass too. Dropout, float64, v of another width than q and masks that need a gradient stay PyTorch's. Calling it again changes nothing."""
    global _exchange
    if _exchange is None:
        _exchange = _Exchange()


def disable_sdpa() -> None:
    """PyTorch's own kernels again."""
    global _exchange
    if _exchange is not None:
        _exchange.remove()
        _exchange = None


def _register():
    """torch.nn.attention.activate_flash_attention_impl("muattn") does the same, in versions of PyTorch that have it."""
    register = getattr(torch.nn.attention, "register_flash_attention_impl", None)
    if register is not None:
        register("muattn", register_fn=_Exchange)


_register()
