"""Threads and backends, for the whole process."""

from __future__ import annotations

from . import _muattn
from ._options import integer


def set_num_threads(n: int) -> None:
    """Threads that a call may use, its own included; at first MUATTN_NUM_THREADS or OMP_NUM_THREADS of the
    environment, else the processors of the affinity mask and the CPU quota.

    ValueError unless 1 <= n <= 256. The result of a call does not depend on it.
    """
    _muattn.set_num_threads(integer("n", n, bits=32))


def force_backend(name: str | None) -> None:
    """Use this backend for all calls of the process from now on; None: the best available one again.

    ValueError: an unknown name, or not for this machine.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be the name of a backend, or None, not {name!r}")
    _muattn.force_backend(name)
