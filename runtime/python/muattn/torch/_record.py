"""record_logits(): what the logits of any model are like, without a change to it."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch

from .. import _muattn, _torch
from .._stats import LogitStats
from . import _channel, _spatial
from ._tensors import rows

_hooks = torch.nn.modules.module


class LogitRecord(NamedTuple):
    """One call of muattn's.

    module      qualified name, within the outermost module whose forward runs, of the innermost module around the call; "" outside of any
    operation   "spatial_attention" or "channel_attention"
    index       0, 1, ... of the calls of one module in one forward of the outermost module; of those outside of any: of their thread, while
                any record lasts
    d           channels of q's heads
    n_q, n_k    rows and columns of the logits: tokens, or in channel attention d and d
    scale       the logits' scale s, a number or a list of one per head
    stats       LogitStats of tensors
    tokens      over which a channel attention's products are sums; of spatial attention n_k
    output      mean |coordinate| of what the call returned, [B, H]
    """

    module: str
    operation: Literal["spatial_attention", "channel_attention"]
    index: int
    d: int
    n_q: int
    n_k: int
    scale: float | list[float]
    stats: LogitStats
    tokens: int
    output: torch.Tensor


class Recording:
    """calls: a LogitRecord for each call, in the order in which they ended."""

    def __init__(self) -> None:
        self.calls: list[LogitRecord] = []

    def __repr__(self) -> str:
        return f"<Recording of {len(self.calls)} calls>"


class _Place(threading.local):
    """Where a thread is: the modules whose forward runs, outermost first, and how many calls each has made."""

    def __init__(self):
        self.modules, self.names, self.counts, self.outside = [], None, Counter(), 0

    def enter(self, module):
        if not self.modules:
            self.names, self.counts = None, Counter()
        self.modules.append(module)

    def leave(self, module):
        while self.modules and self.modules.pop() is not module:
            pass

    def next_call(self):
        """(module, index)"""
        if not self.modules:
            self.outside += 1
            return "", self.outside - 1
        if self.names is None:
            self.names = {id(module): _own_name(name) for name, module in self.modules[0].named_modules()}
        # A module that is no child of another, as one in a list, goes by the nearest around it that is.
        name = next(self.names[id(module)] for module in reversed(self.modules) if id(module) in self.names)
        self.counts[name] += 1
        return name, self.counts[name] - 1


def _own_name(name):
    """Without what torch.compile puts around a module."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


class _Recorder:
    """What muattn._torch.recorder is while there are recordings: calls of muattn's come here when they are done."""

    def __init__(self):
        self.recordings = []
        self._place = place = _Place()

        def enter(module, inputs):
            if not torch.compiler.is_compiling():
                place.enter(module)

        def leave(module, inputs, output):
            if not torch.compiler.is_compiling():
                place.leave(module)

        self._handles = [_hooks.register_module_forward_pre_hook(enter), _hooks.register_module_forward_hook(leave, always_call=True)]

    def end(self):
        for handle in self._handles:
            handle.remove()

    def spatial(self, q, k, mask, settings, out, k_scale=None):
        if not _is_recordable(q, k):
            return
        if k_scale is not None:
            q, k = q.float(), k.float() * torch.as_tensor(k_scale).reshape(*k.shape[:3], 1)
        q, k, mask = _readable(q), _readable(k), None if mask is None else _readable(torch.as_tensor(mask))
        B, H, n_q, d = q.shape
        n_k, scale = k.shape[2], settings[2]
        scale = _scale_of_rule(d, settings) if scale is None else _for_heads(scale)
        self._note("spatial_attention", d, n_q, n_k, n_k, scale, _spatial.compute_stats(q, k, mask, settings), out)

    def channel(self, q, k, settings, out):
        if not _is_recordable(q, k):
            return
        q, k = _readable(q), _readable(k)
        n, d = q.shape[2:] if settings[5] == _CHANNELS_LAST else reversed(q.shape[2:])
        rule, _, scale, *_, alpha = settings
        scale = (alpha or 1) * _muattn.channel_scale(rule, max(n, 1)) if scale is None else _for_heads(scale)
        self._note("channel_attention", d, d, d, n, scale, _channel.compute_stats(q, k, settings), out)

    def _note(self, operation, d, n_q, n_k, tokens, scale, stats, out):
        module, index = self._place.next_call()
        call = LogitRecord(module, operation, index, d, n_q, n_k, scale, LogitStats.of(stats), tokens, out.detach().float().abs().mean((-2, -1)).cpu())
        for recording in tuple(self.recordings):
            recording.calls.append(call)


_CHANNELS_LAST = dict(_muattn.layouts)["channels_last"]


def _is_recordable(*tensors):
    """What a backward pass calls is what the forward pass of torch.utils.checkpoint called before."""
    return all(isinstance(x, torch.Tensor) for x in tensors) and torch._C._current_graph_task_id() == -1


def _readable(tensor):
    """For the extension, which computes statistics on the CPU alone."""
    return rows(tensor.detach().cpu())


def _scale_of_rule(d, settings):
    """Without what is of batch entries and heads."""
    rule, d_base, _, causal, offset, *_, alpha, power, _ = settings
    return _muattn.spatial_rule(d, 0, (rule, d_base, None, causal, offset, None, None, None, 0.0, None, alpha, power, None))[0]


def _for_heads(scale):
    return list(scale) if len(scale) > 1 else scale[0]


_lock = threading.Lock()


@contextlib.contextmanager
def record_logits() -> Iterator[Recording]:
    """While it lasts, every call of muattn's on tensors, by whatever module, drop-in or replacement, notes what its logits were:

        with muattn.torch.record_logits() as record:
            model(x)
        for call in record.calls:
            print(call.module, call.d, call.scale, call.stats.rms.mean())

    A call costs one more kernel then; tensors in a GPU's memory are copied to the CPU for it. Those of all threads are noted, with gradients or
    without. Not noted: calls in a backward pass, as torch.utils.checkpoint makes them again; the halves channel_map() and channel_apply(), none of
    which has all logits. Under torch.func.vmap a call is one, with the mapped dimension as the slower part of stats' heads, or, where key_lengths
    are mapped, one for each entry.
    In a model that torch.compile made, what happens within a graph has the name of the module around that graph: with
    torch.compiler.set_stance("force_eager") each call has its own.
    """
    recording = Recording()
    with _lock:
        if _torch.recorder is None:
            _torch.recorder = _Recorder()
        _torch.recorder.recordings.append(recording)
    try:
        yield recording
    finally:
        with _lock:
            _torch.recorder.recordings.remove(recording)
            if not _torch.recorder.recordings:
                _torch.recorder.end()
                _torch.recorder = None
