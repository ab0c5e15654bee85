"""The kernels of a build, from the list that cmake/MuattnKernels.cmake writes, and what they are judged by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from muattn_tools import tables
from muattn_tools.report.instructions import X86, Architecture, Arm64

INSTRUCTIONS = {"x86_64": X86, "aarch64": Arm64}  # by LLVM's name of the architecture


@dataclass(frozen=True)
class Kernel:
    symbol: str
    operation: str
    direction: str
    dtype: str
    name: str  # its algorithm and features
    backend: str
    generator: str
    target: str
    library: str


def load_kernels(path: Path) -> list[Kernel]:
    """The list has more than is of interest here."""
    names = ("symbol", "operation", "direction", "dtype", "kernel", "backend", "generator", "target", "library")
    return [Kernel(*(entry[name] for name in names)) for entry in json.loads(path.read_text())]


@dataclass(frozen=True)
class Judges:
    """The instructions of a backend, and the cores that its kernels are judged on: names of llvm-mca's -mtriple and -mcpu."""

    instructions: type[Architecture]
    triple: str
    cores: tuple[str, ...]


def judges_of(kernel: Kernel) -> Judges:
    cores = tables.machine(kernel.backend).get("cores")
    triple = "-".join(kernel.target.split("-")[:3])
    llvm = (tables.family(triple) or {}).get("llvm")
    if not cores or llvm not in INSTRUCTIONS:
        missing = f"llvm for {triple}" if cores else f"cores for {kernel.backend}"
        raise tables.UnknownMachine(f"tables/machines.json has no {missing}, by which {kernel.symbol} would be judged")
    return Judges(INSTRUCTIONS[llvm], llvm, tuple(cores))
