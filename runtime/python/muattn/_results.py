"""Arrays of other libraries, without importing these: what must not come in, and results of the caller's kind."""

import sys


def refuse_gradients(**arrays):
    """Raises ValueError where PyTorch would expect a gradient: the result would be cut off from the graph in silence."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.is_grad_enabled():
        return
    for name, array in arrays.items():
        if getattr(array, "requires_grad", False):
            raise ValueError(
                f"{name} requires a gradient, and muattn has no backward pass: call it under torch.no_grad(), or pass {name}.detach()"
            )


def namespace_of(array):
    """The functions of an array's library: its own namespace (array API standard), or the package of its type (PyTorch)."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    return sys.modules.get(type(array).__module__.partition(".")[0])


def like(array, result):
    """result (NumPy) as the kind of array that `array` is, sharing memory where that library can, by its from_dlpack; where it
    has none, NumPy it is."""
    if isinstance(array, sys.modules["numpy"].ndarray):
        return result
    from_dlpack = getattr(namespace_of(array), "from_dlpack", None)
    return result if from_dlpack is None else from_dlpack(result)
