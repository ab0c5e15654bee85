"""The structs of muattn.h that the tuner fills in. check_layout() compares them with what the compiler says of the header's."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p

import numpy as np

from muattn_tools.tune.space import TuneError


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p), ("dtype", c_int), ("device", c_int), ("shape", c_int64 * 4), ("strides", c_int64 * 4), ("offset", c_int64),
    ]  # fmt: skip

    @staticmethod
    def of(array: np.ndarray) -> Tensor:
        strides = (stride // array.itemsize for stride in array.strides)
        return Tensor(array.ctypes.data, int(array.dtype == bool), 0, array.shape, tuple(strides))


class Window(ctypes.Structure):
    _fields_ = [("enabled", c_int), ("left", c_int64), ("right", c_int64)]


class SpatialOptions(ctypes.Structure):
    _fields_ = [
        ("scaling", c_int), ("d_base", c_int64), ("scale", POINTER(c_float)), ("scale_count", c_int64),
        ("causal", c_int), ("causal_offset", c_int64), ("causal_offsets", POINTER(c_int64)), ("window", Window), ("key_lengths", POINTER(c_int64)),
        ("mask", POINTER(Tensor)), ("softcap", c_float),
    ]  # fmt: skip


class ChannelOptions(ctypes.Structure):
    _fields_ = [
        ("scaling", c_int), ("d_base", c_int64), ("scale", POINTER(c_float)), ("scale_count", c_int64),
        ("output_multiplier", POINTER(c_float)), ("normalize", c_int), ("layout", c_int),
    ]  # fmt: skip


STRUCTS = {
    "muattn_tensor": Tensor,
    "muattn_window": Window,
    "muattn_spatial_options": SpatialOptions,
    "muattn_channel_options": ChannelOptions,
}


def layout_of(struct: type[ctypes.Structure]) -> dict[str, int]:
    """Offsets by field, and the size."""
    return {name: getattr(struct, name).offset for name, _ in struct._fields_} | {"sizeof": ctypes.sizeof(struct)}


def check_layout(compiled: dict[str, dict[str, int]]) -> None:
    """compiled: the same of each struct, by bench/tune/facts.cpp."""
    for name, struct in STRUCTS.items():
        ours, theirs = layout_of(struct), compiled[name]
        if differ := [field for field in ours | theirs if ours.get(field) != theirs.get(field)]:
            raise TuneError(
                f"tools/muattn_tools/tune/c_structs.py: {struct.__name__} is not {name} of muattn.h: "
                + ", ".join(f"{field} {ours.get(field)} instead of {theirs.get(field)}" for field in differ)
            )
