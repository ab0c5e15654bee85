"""Which processors' code a comparison runs."""

from __future__ import annotations

import torch

import muattn
from muattn_tools.arguments import Parser


def force(parser: Parser, backend: str) -> None:
    """Of muattn's Python module; "": the best that this machine runs."""
    try:
        muattn.force_backend(f"cpu:{backend}" if backend else None)
    except ValueError as error:
        parser.error(f"argument --backend: {error}")


def torch_version() -> str:
    """With the instruction set of its own kernels, which the environment may hold back."""
    return f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"
