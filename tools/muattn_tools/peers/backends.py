"""Which processors' code a comparison runs."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile

import torch

import muattn
from muattn_tools.arguments import Parser


def force(parser: Parser, backend: str) -> None:
    """Of muattn's Python module; "": the best that this machine runs. What PyTorch compiles goes to a folder for its instruction set: its own
    cache does not tell them apart, and code for one fails, or ends the process, under another."""
    found = {name.removeprefix("cpu:"): runs for name, runs in muattn.backends() if name.startswith("cpu:")}
    if backend and not found.get(backend):
        parser.error(f"argument --backend: '{backend}' is none that this machine runs: {', '.join(name for name, runs in found.items() if runs)}")
    muattn.force_backend(f"cpu:{backend}" if backend else None)
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{os.getuid()}")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{cache}_{torch.backends.cpu.get_cpu_capability().lower()}"


def command(verb: str) -> str:
    """As it was given, with what the environment holds PyTorch to."""
    held = os.environ.get("ATEN_CPU_CAPABILITY")
    return (f"ATEN_CPU_CAPABILITY={held} " if held else "") + shlex.join([*verb.split(), *sys.argv[1:]])


def torch_version() -> str:
    """With the instruction set of its own kernels, which the environment may hold back."""
    return f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"
