"""Arrays of other libraries, without importing these: whose they are, and results of the caller's kind."""

import sys


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
    """result (NumPy) as an array of the library that `array` is of, sharing memory where that library can; a subclass of its
    arrays gets one of the library's own. Where no function of the library takes DLPack, NumPy it is."""
    if isinstance(array, sys.modules["numpy"].ndarray):
        return result
    for library in libraries_of(array):
        if hasattr(library, "from_dlpack"):
            return library.from_dlpack(result)
        for place in ("utils", "experimental"):  # Paddle, TensorFlow: functions that take capsules
            module = getattr(getattr(library, place, None), "dlpack", None)
            if hasattr(module, "from_dlpack"):
                return module.from_dlpack(result.__dlpack__())
    return result
