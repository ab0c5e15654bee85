"""Arrays in the memory of a CUDA device, by DLPack and without importing the library that they come from: what a call goes
to, and results in the same memory."""

from __future__ import annotations

import functools
import sys
from typing import Any, NamedTuple

from . import _muattn
from ._results import is_bfloat16, libraries_of

_HOST, _CUDA = (1, 3), (2, 13)  # kDLCPU, kDLCUDAHost; kDLCUDA, kDLCUDAManaged
_CPU = "the CPU's memory"
_DEFAULT_STREAM = 1  # DLPack's number of it


class Queue(NamedTuple):
    context: int
    stream: int  # 0: the context's default stream


def _place(array: Any) -> tuple[str, int] | None:
    """Whose memory an array is in, and the device's index. None where it does not say, or is no array: the extension, which
    reads it, then says what is wrong."""
    try:
        kind, index = map(int, array.__dlpack_device__())
    except Exception:
        return None
    if kind in _HOST:
        return _CPU, -1
    return (f"the memory of CUDA device {index}", index) if kind in _CUDA else None


def _shared_place(arrays: dict[str, Any]) -> tuple[str, tuple[str, int]] | None:
    """The first array that says whose memory it is in, by its name, and that place. ValueError where they are in several places."""
    first = None
    for name, array in arrays.items():
        place = None if array is None else _place(array)
        if place is None:
            continue
        if first is None:
            first = name, place
        elif place != first[1]:
            raise ValueError(f"{name} must be in {first[1][0]}, as {first[0]} is, not in {place[0]}")
    return first


def queue_of(**arrays: Any) -> Queue | None:
    """What a call on arrays in CUDA memory goes to; None: they are in the CPU's."""
    found = _shared_place(arrays)
    if found is None or found[1][0] == _CPU:
        return None
    name, (_, index) = found
    return Queue(_primary_context(index), _current_stream(arrays[name], index))


def require_processor(what: str, **arrays: Any) -> None:
    """NotImplementedError unless all arrays are in the CPU's memory."""
    found = _shared_place(arrays)
    if found is not None and found[1][0] != _CPU:
        raise NotImplementedError(f"{what} runs on processors alone, and {found[0]} is in {found[1][0]}")


def _current_stream(array: Any, device: int) -> int:
    """PyTorch's current stream for its own tensors, so that a call is ordered like one of PyTorch's."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(array, torch.Tensor):
        return 0
    return torch.cuda.current_stream(device).cuda_stream


@functools.cache
def _primary_context(device: int) -> int:
    """The context that libraries for Python share; on a thread that has used no CUDA yet it is not the current one. 0 without
    a driver. It is held until the process ends."""
    import ctypes

    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    handle, context = ctypes.c_int(), ctypes.c_void_p()
    steps = (
        lambda: driver.cuInit(0),
        lambda: driver.cuDeviceGet(ctypes.byref(handle), device),
        lambda: driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle),
    )
    return 0 if any(step() for step in steps) else context.value or 0


def exported(queue: Queue | None, outputs: tuple[str, ...] = ("out", "lse"), **arrays: Any) -> list[Any]:
    """What the extension reads the arrays from: NumPy's as they are, others as DLPack capsules. On a CUDA device their makers let
    the queue wait for their own work. Capsules are made here, as the extension must not run Python code: a thread that meets the
    end of the interpreter in it would unwind the extension's stack."""
    import numpy

    for name, array in arrays.items():
        if type(array) is tuple:  # to the extension, an address that it trusts
            raise TypeError(f"{name} must be {'a writable' if name in outputs else 'an'} array (NumPy or DLPack), not tuple")
    readable = []
    for name, array in arrays.items():
        if isinstance(array, numpy.ndarray) and is_bfloat16(array):
            if name in outputs and not array.flags.writeable:
                raise TypeError(f"{name} must be a writable array (NumPy or DLPack): this one is read-only")
            array = _muattn.as_bfloat16(array.view("uint16"))
        elif array is not None and (queue is not None or not isinstance(array, numpy.ndarray)) and hasattr(array, "__dlpack__"):
            array = _capsule(name, array, queue, name in outputs)
        readable.append(array)
    return readable


def _capsule(name: str, array: Any, queue: Queue | None, is_output: bool) -> Any:
    """Inputs on the host by the older protocol first, which every library has and none takes longer for; it cannot say that memory
    is read-only, so that outputs ask for the newer one first."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor) and array.requires_grad:
        array = array.detach()  # gradients are disabled: else the call was refused
    stream = {} if queue is None else {"stream": queue.stream or _DEFAULT_STREAM}
    protocols = [stream, {**stream, "max_version": (1, 1)}]
    if is_output or queue is not None:
        protocols.reverse()
    try:
        try:
            return array.__dlpack__(**protocols[0])
        except (BufferError, TypeError):  # read-only memory; a library from before DLPack 1.0
            return array.__dlpack__(**protocols[1])
    except Exception as error:
        raise TypeError(f"{name} must be an array (NumPy or DLPack); {type(array).__qualname__}.__dlpack__: {error}") from error


def new_array(array: Any, shape: tuple[int, ...], has_its_type: bool = False) -> Any:
    """A new array of the library and on the device that `array` is of, of float32 or its type."""
    for library in libraries_of(array):
        if hasattr(library, "empty"):
            return library.empty(shape, dtype=array.dtype if has_its_type else library.float32, device=array.device)
    raise TypeError(f"out must be given: for {type(array).__qualname__} in CUDA memory no new array can be made")
