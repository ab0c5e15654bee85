"""transformers' masks without matrices: what a causal offset, a window and lengths say is kept as such."""

from __future__ import annotations

import torch
from torch.utils._pytree import tree_map_only
from transformers import masking_utils as theirs

# The functions that transformers puts together, by their code: another one, or one of another version, is no pattern.
_BOTH = theirs.and_masks(theirs.causal_mask_function).__code__
_SLIDING = theirs.sliding_window_overlay(1).__code__
_NEAR = theirs.sliding_window_bidirectional_overlay(1).__code__


def visible(n_q, n_k, causal=None, window=None, key_lengths=None, mask=None):
    """[B, 1, n_q, n_k], where spatial_attention() of these arguments lets a query see a key. causal is an offset."""
    distance = torch.arange(n_k) - torch.arange(n_q)[:, None] - (causal or 0)
    seen = distance <= 0 if causal is not None else torch.ones(n_q, n_k, dtype=torch.bool)
    if window is not None:
        left, right = window
        seen = seen & (distance >= -left) & (distance <= right)
    seen = seen[None, None]
    if key_lengths is not None:
        seen = seen & (torch.arange(n_k) < key_lengths[:, None, None, None])
    return seen if mask is None else seen & mask


class Mask(torch.Tensor):
    """A boolean mask [B, 1, n_q, n_k] that keeps the arguments of spatial_attention() which say the same: causal, window, key_lengths and, for keys
    that no query sees, a mask [B, 1, 1, n_k]. To all else it is that matrix, which the first operation computes."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, shape, **arguments):
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.bool)

    def __init__(self, shape, **arguments):
        self._arguments, self._matrix, self._is_matrix = arguments, None, False

    def __repr__(self, *_, **__):
        return f"muattn's mask {tuple(self.shape)}, {self._arguments}"

    def __deepcopy__(self, _):
        return self._as_matrix().clone()

    def __reduce_ex__(self, protocol):
        return self._as_matrix().__reduce_ex__(protocol)

    def arguments(self):
        """Of spatial_attention(), for this mask. After an operation, which may have written to it, the matrix."""
        return {"mask": self._matrix} if self._is_matrix else self._arguments

    def matrix(self):
        if self._matrix is None:
            self._matrix = visible(*self.shape[2:], **self._arguments).expand(self.shape).contiguous()
        return self._matrix

    def _as_matrix(self):
        self._is_matrix = True
        return self.matrix()

    @classmethod
    def __torch_dispatch__(cls, operator, types, arguments=(), options=None):
        arguments, options = tree_map_only(cls, cls._as_matrix, (arguments, options or {}))
        return operator(*arguments, **options)


def make_mask(*arguments, **options):
    """What transformers asks for a mask: None where a module's is_causal says everything, a Mask where arguments of muattn's do, and else (packed
    sequences, chunks, functions of the user's, traced graphs) transformers' matrix of booleans."""
    if getattr(options.get("config"), "model_type", None) == "deepseek_v4":
        raise NotImplementedError('deepseek_v4 adds keys to its masks, and can do so with those of "eager" alone: use attn_implementation="eager"')
    found = _made(**options) if "q_length" in options and not arguments else NotImplemented
    if found is NotImplemented:
        # Their None for more keys than queries counts from the first key, ours from the last.
        options["allow_is_causal_skip"] = options.get("allow_is_causal_skip", True) and options.get("q_length", 0) == options.get("kv_length")
        found = theirs.sdpa_mask(*arguments, **options)
    return found


def _made(
    *, batch_size, q_length, kv_length, q_offset=0, kv_offset=0, mask_function=theirs.causal_mask_function, attention_mask=None,
    allow_is_causal_skip=True, allow_is_bidirectional_skip=False, device="cpu", config=None, **_,
):
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing() or type(attention_mask) not in (torch.Tensor, type(None))
    pattern = _pattern(mask_function)
    if traced or pattern is None or torch.device(device).type != "cpu":
        return NotImplemented
    if attention_mask is not None and (attention_mask.dim() != 2 or attention_mask.shape[0] != batch_size):
        return NotImplemented
    is_causal, left = pattern
    # With a static cache transformers forbids it for single queries, as it may have compiled what comes then.
    if not (allow_is_causal_skip if is_causal else allow_is_bidirectional_skip):
        return NotImplemented
    offset = int(q_offset) - int(kv_offset)
    if not is_causal and left is not None and offset != 0:
        return NotImplemented
    last = min(kv_length, offset + q_length) if is_causal else kv_length  # no query sees the keys from there on
    arguments = {} if attention_mask is None else _padding(attention_mask[:, int(kv_offset) :][:, :kv_length].bool(), kv_length, last)
    if left is not None and left < (offset + q_length if is_causal else max(q_length, kv_length)) - 1:
        arguments["window"] = (left, 0 if is_causal else left)
    if is_causal:
        says_all = (offset == 0 and q_length == kv_length) or (q_length == 1 and last == kv_length)
    else:  # modules of models made for causal attention say is_causal nevertheless
        says_all = getattr(config, "is_causal", True)
    if not arguments and says_all:
        return None
    if is_causal:
        arguments["causal"] = offset
    return Mask((batch_size, 1, q_length, kv_length), **arguments)


def _pattern(function):
    """(whether causal, how many keys it looks back) if that is all that function says. The second is None without a window."""
    if function is theirs.causal_mask_function:
        return True, None
    if function is theirs.bidirectional_mask_function:
        return False, None
    if getattr(function, "__code__", None) is not _BOTH:
        return None
    window, *rest = function.__closure__[0].cell_contents
    code = getattr(window, "__code__", None)
    if code is _SLIDING and rest == [theirs.causal_mask_function]:
        return True, window.__closure__[0].cell_contents - 1
    if code is _NEAR and rest == [theirs.bidirectional_mask_function]:
        return False, window.__closure__[0].cell_contents
    return None


def _padding(tokens, n_k, last):
    """Arguments for tokens [B, up to n_k], False for padding, as is what lies beyond, if keys from last on do not count."""
    if tokens.shape[1] >= last and tokens[:, :last].all():
        return {}
    tokens = torch.nn.functional.pad(tokens, (0, n_k - tokens.shape[1]))
    lengths = tokens.sum(-1)
    if torch.equal(tokens, torch.arange(n_k) < lengths[:, None]):
        return {"key_lengths": lengths}
    return {"mask": tokens[:, None, None]}
