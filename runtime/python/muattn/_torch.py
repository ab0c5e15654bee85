"""Living with PyTorch, without importing it."""

import functools
import sys
from typing import Any, Callable, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


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
    call._torchdynamo_disable_msg = "muattn's kernels are no operators of PyTorch"
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
