"""Threads and backends, for the whole process."""

from __future__ import annotations

from . import _muattn
from ._options import integer
from ._torch import threads_are_chosen


def set_num_threads(n: int) -> None:
    """Threads that a call may use, its own included; at first MUATTN_NUM_THREADS or OMP_NUM_THREADS of the
    environment, else the processors of the affinity mask and the CPU quota.

    ValueError unless 1 <= n <= 256. The result of a call does not depend on it.
    """
    _muattn.set_num_threads(integer("n", n, bits=32))


def use_openmp(library: str | None = None) -> None:
    """Calls run on the threads of the OpenMP runtime that this process has loaded (GNU's, LLVM's, Intel's), instead of on muattn's own: idle
    threads of such a runtime keep processors busy for milliseconds, which muattn's then wait for. get_num_threads() is what
    omp_get_max_threads() says, and at most what set_num_threads() was told. Bits stay the same. With PyTorch in the process the first call on its
    tensors, and `import muattn.torch`, do so by themselves, and torch.set_num_threads() counts.

    library: the file name of a loaded library, to take the runtime that it uses; None: the first that is found.
    NotImplementedError: there is none.
    """
    if library is not None and not isinstance(library, str):
        raise TypeError(f"library must be the file name of a library, or None, not {library!r}")
    _muattn.use_openmp(library)
    threads_are_chosen()


def use_own_threads() -> None:
    """Undoes use_openmp(). Calls on PyTorch's tensors keep to it, if it comes after `import muattn.torch` or before that and all of them."""
    _muattn.use_own_threads()
    threads_are_chosen()


def force_backend(name: str | None) -> None:
    """Use this backend for all calls of the process from now on; None: the best available one again.

    ValueError: an unknown name, or not for this machine.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be the name of a backend, or None, not {name!r}")
    _muattn.force_backend(name)
