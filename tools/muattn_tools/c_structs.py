"""The structs of muattn.h, read from the header."""

from __future__ import annotations

import ctypes
import re

import numpy as np

from muattn_tools.paths import ROOT

HEADER = ROOT / "runtime/include/muattn/muattn.h"
_TYPES: dict[str, type] = {"int": ctypes.c_int, "int64_t": ctypes.c_int64, "float": ctypes.c_float, "double": ctypes.c_double}


def _fields(name: str) -> list[tuple[str, type]]:
    header = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    fields = []
    for declaration in re.search(rf"typedef struct {name} {{(.*?)}} {name};", header, re.DOTALL)[1].split(";")[:-1]:
        kind, names = re.fullmatch(r"\s*(?:const )?(\w+) (.*)", declaration).groups()
        for pointer, field, count in re.findall(r"(\*?)(\w+)(?:\[(\d+)\])?", names):
            base = _TYPES.get(kind, ctypes.c_int)  # an enumeration is an int
            if pointer:
                base = ctypes.c_void_p if kind == "void" else ctypes.POINTER(base)
            fields.append((field, base * int(count) if count else base))
    return fields


def _struct(name: str) -> type[ctypes.Structure]:
    _TYPES[name] = type(name, (ctypes.Structure,), {"_fields_": _fields(name)})
    return _TYPES[name]


Tensor, Window = _struct("muattn_tensor"), _struct("muattn_window")
SpatialOptions, ChannelOptions = _struct("muattn_spatial_options"), _struct("muattn_channel_options")
SpatialGradients, ChannelGradients = _struct("muattn_spatial_gradients"), _struct("muattn_channel_gradients")


def tensor_of(array: np.ndarray) -> Tensor:
    strides = (stride // array.itemsize for stride in array.strides)
    return Tensor(data=array.ctypes.data, dtype=int(array.dtype == bool), shape=array.shape, strides=tuple(strides))
