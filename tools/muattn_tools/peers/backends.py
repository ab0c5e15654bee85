"""Which processors' code a comparison runs."""

from __future__ import annotations

import os
import shlex
import sys

import torch

import muattn
from muattn_tools.arguments import Parser


def force(parser: Parser, backend: str) -> None:
    """Of muattn's Python module; "": the best that this machine runs."""
    try:
        muattn.force_backend(f"cpu:{backend}" if backend else None)
    except ValueError as error:
        parser.error(f"argument --backend: {error}")


def command(verb: str) -> str:
    """As it was given, with what the environment holds PyTorch to."""
    held = os.environ.get("ATEN_CPU_CAPABILITY")
    return (f"ATEN_CPU_CAPABILITY={held} " if held else "") + shlex.join([*verb.split(), *sys.argv[1:]])


def torch_version() -> str:
    """With the instruction set of its own kernels, which the environment may hold back."""
    return f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"
