"""Living with PyTorch, without importing it."""

import functools
import sys
from collections.abc import Sequence
from typing import Any, Callable, TypeVar

from . import _muattn

Function = TypeVar("Function", bound=Callable[..., Any])

recorder = None  # of muattn.torch.record_logits(), which calls tell of their queries and keys when they are done


def outside_graphs(function: Function) -> Function:
    """torch.compile breaks its graph at a call of this function, and compiles nothing in it. The attributes are those by which
    torch.compiler.disable marks a function; to apply that at once would import the compiler, for seconds."""
    uncompiled = []

    @functools.wraps(function)
    def call(*args, **kwargs):
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not uncompiled:
            uncompiled.append(_never_compiled(function, call))
        return uncompiled[0](*args, **kwargs)

    call._torchdynamo_disable = True
    call._torchdynamo_disable_msg = "muattn's plain functions are no operators of PyTorch: those of muattn.torch are"
    return call


def _never_compiled(function, caller):
    dynamo = sys.modules["torch._dynamo"]
    skip = getattr(dynamo.decorators, "skip", None)
    if skip is not None:  # else the frame of caller would be compiled anew for every set of options
        skip(caller)
    return dynamo.disable(function)


def written(array):
    """Tells autograd that a tensor was written to, so that a backward pass that needs the values of before ends in PyTorch's error,
    not in a wrong gradient."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor) and not array.is_inference():
        torch.autograd.graph.increment_version(array)


_threads_of_torch = False


def threads_are_chosen():
    """The program has said which threads it wants: a tensor changes nothing then."""
    global _threads_of_torch
    _threads_of_torch = True


def use_threads_of_torch():
    """Where PyTorch is loaded, calls run on its OpenMP threads from now on: these spin for milliseconds after each of its operators, on the
    processors that a pool of our own wants. Without OpenMP in it nothing changes."""
    global _threads_of_torch
    if not _threads_of_torch and "torch" in sys.modules:
        _threads_of_torch = True
        try:
            _muattn.use_openmp("libtorch_cpu.so")
        except NotImplementedError:
            pass


def entries_of(value):
    """Those of a sequence, and of an array of Python's objects: both may hold tensors. None: value is neither."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return value
    array = getattr(sys.modules.get("numpy"), "ndarray", ())
    return value.reshape(-1).tolist() if isinstance(value, array) and value.dtype == object else None


def _tensors_in(torch, values):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif value is not None:
            yield from (x for x in entries_of(value) or () if isinstance(x, torch.Tensor))


def needs_operator(*values):
    """Whether PyTorch has to know of a call with these arguments: a gradient is wanted, or it maps, traces, records or casts
    what runs."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    tensors = list(_tensors_in(torch, values))
    if not tensors:
        return False
    use_threads_of_torch()
    torch.get_num_threads()  # tells OpenMP that number, which it has not in a new thread of Python's
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        return True
    if torch._C._are_functorch_transforms_active() or torch._C._is_tracing() or any(x.is_meta for x in tensors):
        return True
    if torch.is_autocast_enabled("cpu") and all(x.is_cpu for x in tensors):  # which has a type for them
        return True
    # Modes of the user's, as one that counts operations, see no call of the extension; on a GPU there is no operator.
    return is_recorded(torch) or (torch._C._len_torch_dispatch_stack() > 0 and all(x.is_cpu for x in tensors))


def is_recorded(torch):
    """Whether torch.export, make_fx or FakeTensorMode see what runs."""
    if not torch._C._len_torch_dispatch_stack():
        return False
    keys = torch._C._TorchDispatchModeKey
    return any(torch._C._get_dispatch_mode(key) is not None for key in (keys.PROXY, keys.FAKE))
