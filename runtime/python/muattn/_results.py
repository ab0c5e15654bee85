"""Arrays of other libraries, without importing these: whose they are, and results of the caller's kind."""

import sys

from . import _muattn

_HALVES = ("float16", "bfloat16")


def libraries_of(array):
    """The modules that may make arrays like this one: its namespace (array API standard), then the packages of its type and of
    the types that this one extends (a subclass of torch.Tensor may be defined anywhere)."""
    if hasattr(array, "__array_namespace__"):
        yield array.__array_namespace__()
    kinds = type(array).__mro__
    # The library's own type first: where a subclass is defined, other libraries' functions may have been imported.
    arrays = [kind for kind in kinds if "__dlpack__" in vars(kind)]
    for kind in (*reversed(arrays), *kinds):
        library = sys.modules.get(kind.__module__.partition(".")[0])
        if library is not None:
            yield library


def like(array, result):
    """result (NumPy; of uint16: bfloat16, which NumPy has not) as an array of the library that `array`, which has its type, is of, sharing memory
    where that library can; a subclass of its arrays gets one of the library's own. Where no function of the library takes DLPack, NumPy it is."""
    is_bfloat16 = result.dtype == "uint16"
    if isinstance(array, sys.modules["numpy"].ndarray):
        return result.view(array.dtype) if is_bfloat16 else result
    if is_bfloat16:
        result = _muattn.as_bfloat16(result)
    for library in libraries_of(array):
        if hasattr(library, "from_dlpack"):
            return library.from_dlpack(result)
        for place in ("utils", "experimental"):  # Paddle, TensorFlow: functions that take capsules
            module = getattr(getattr(library, place, None), "dlpack", None)
            if hasattr(module, "from_dlpack"):
                return module.from_dlpack(result.__dlpack__())
    return result


def is_bfloat16(array):
    """Of a NumPy array: whether it is one of ml_dtypes' type, which NumPy hands to nobody."""
    return array.dtype.kind == "V" and array.dtype.name == "bfloat16"


def _is_half(array):
    return str(getattr(array, "dtype", "")).rpartition(".")[2] in _HALVES


def widened(mask):
    """A mask of 16 bits in float32, which kernels read, by its own library; other masks as they are."""
    if not _is_half(mask):
        return mask
    return mask.astype("float32") if hasattr(mask, "astype") else mask.float()


def narrowed(mask, gradient):
    """The gradient by such a mask, in the mask's type."""
    if not _is_half(mask):
        return gradient
    return gradient.astype(mask.dtype) if hasattr(gradient, "astype") else gradient.to(mask.dtype)
