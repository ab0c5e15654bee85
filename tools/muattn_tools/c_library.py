"""A muattn library that is loaded from a file, through its C interface: several can be loaded at once, each with kernels,
runtime and threads of its own."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_float, c_int64, c_size_t
from pathlib import Path
from typing import Callable

import numpy as np

from muattn_tools.c_structs import ChannelGradients, ChannelOptions, SpatialGradients, SpatialOptions, Window, tensor_of

LAYOUTS = {"channels_last": 0, "channels_first": 1}
CAUSAL = {None: 0, "top_left": 1, "bottom_right": 2}


class Library:
    def __init__(self, path: str | Path, backend: str):
        self._c = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)
        for name in ("muattn_last_error", "muattn_last_kernel", "muattn_backend_name", "muattn_current_backend"):
            getattr(self._c, name).restype = c_char_p
        self._c.muattn_scratch_bytes.restype = c_size_t
        if backend:
            self._check(self._c.muattn_force_backend(f"cpu:{backend}".encode()))

    def _check(self, status: int) -> None:
        if status != 0:
            raise RuntimeError(self._c.muattn_last_error().decode())

    def backends(self) -> dict[str, bool]:
        """Name of every backend, best first, and whether this machine runs it."""
        count = self._c.muattn_backend_count()
        names = [self._c.muattn_backend_name(i).decode().removeprefix("cpu:") for i in range(count)]
        return {name: bool(self._c.muattn_backend_available(i)) for i, name in enumerate(names)}

    def last_kernel(self) -> str:
        """operation/direction/dtype/kernel/backend"""
        return self._c.muattn_last_kernel().decode()

    def set_threads(self, count: int) -> None:
        self._check(self._c.muattn_set_num_threads(count))

    def poison(self, enabled: bool) -> None:
        """NaN in the scratch memory before every use."""
        self._c.muattn_set_scratch_poison(int(enabled))

    def scratch_bytes(self) -> int:
        return self._c.muattn_scratch_bytes()

    def release_memory(self) -> None:
        self._c.muattn_release_memory()

    def call(self, operation: str, arrays: dict[str, np.ndarray], options: dict) -> Callable[[], None]:
        """The operation on arrays q, k, v, out and, for spatial attention, lse, as a function without arguments; the
        names of the options are those of the Python module."""
        tensors = {name: tensor_of(array) for name, array in arrays.items()}
        settings = self._channel(options) if operation == "channel" else self._spatial(options)
        function = getattr(self._c, f"muattn_{operation}_attention_forward")
        arguments = [ctypes.byref(x) for x in (tensors["q"], tensors["k"], tensors["v"], settings, tensors["out"])]
        if operation == "spatial":
            arguments.append(ctypes.byref(tensors["lse"]) if "lse" in tensors else None)

        def run(_keep_alive=(arrays, options, settings)) -> None:
            self._check(function(*arguments))

        return run

    def backward(self, operation: str, arrays: dict[str, np.ndarray], options: dict) -> Callable[[], None]:
        """The gradients d_q, d_k and d_v of q, k and v, and of a mask, if d_mask is there; all of these are arrays, with d_out and what the
        forward call gave: out and lse or, if it is kept, attention_map."""
        tensors = {name: tensor_of(array) for name, array in arrays.items()}
        settings, make = self._spatial(options), SpatialGradients
        order = ["q", "k", "v", "out", "lse", "d_out", "d_lse"]
        if operation == "channel":
            settings, make = self._channel(options), ChannelGradients
            order = ["q", "k", "v", "d_out", "attention_map"]
        gradients = make(**{name: ctypes.pointer(tensors[name]) for name in ("d_q", "d_k", "d_v", "d_mask") if name in tensors})
        function = getattr(self._c, f"muattn_{operation}_attention_backward")
        arguments = [ctypes.byref(tensors[name]) if name in tensors else None for name in order]
        arguments += [ctypes.byref(settings), ctypes.byref(gradients)]

        def run(_keep_alive=(arrays, options, settings, gradients)) -> None:
            self._check(function(*arguments))

        return run

    def channel_with_map(self, arrays: dict[str, np.ndarray], options: dict) -> Callable[[], None]:
        """Channel attention on q, k, v and out in its two halves, which give attention_map as well; logits: room for what is between."""
        tensors = {name: ctypes.byref(tensor_of(array)) for name, array in arrays.items()}
        settings = self._channel(options)
        options_of_call = ctypes.byref(settings)
        q, k, v, logits = (tensors[name] for name in ("q", "k", "v", "logits"))

        def run(_keep_alive=(arrays, options, settings)) -> None:
            self._check(self._c.muattn_channel_map(q, k, options_of_call, logits, None, None))
            self._check(self._c.muattn_channel_apply(
                logits, None, None, v, options_of_call, tensors["out"], tensors["attention_map"]))  # fmt: skip

        return run

    @staticmethod
    def _spatial(options: dict) -> SpatialOptions:
        scale = (c_float * 1)(options["scale"])
        settings = SpatialOptions(scale=scale, scale_count=1, causal=CAUSAL[options.get("causal")])
        if options.get("window") is not None:
            left, right = (-1 if side is None else side for side in options["window"])
            settings.window = Window(1, left, right)
        if options.get("key_lengths") is not None:
            settings.key_lengths = (c_int64 * len(options["key_lengths"]))(*options["key_lengths"])
        if options.get("mask") is not None:
            settings.mask = ctypes.pointer(tensor_of(options["mask"]))
        settings.softcap = options.get("softcap") or 0
        return settings

    @staticmethod
    def _channel(options: dict) -> ChannelOptions:
        scale = (c_float * 1)(options["scale"])
        layout = LAYOUTS[options.get("layout", "channels_last")]
        return ChannelOptions(scale=scale, scale_count=1, normalize=int(options.get("normalize", False)), layout=layout)
