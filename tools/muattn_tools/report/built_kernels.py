"""The kernels of a build, from the list that cmake/MuattnKernels.cmake writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from instructions import X86, Arm64


@dataclass(frozen=True)
class Kernel:
    symbol: str
    operation: str
    direction: str
    dtype: str
    kind: str
    backend: str
    generator: str
    target: str
    library: str

    @property
    def features(self) -> set[str]:
        return set(self.target.split("-"))


def load_kernels(path: Path) -> list[Kernel]:
    names = [field.name for field in fields(Kernel)]  # the list has more than is of interest here
    return [Kernel(**{name: entry[name] for name in names}) for entry in json.loads(path.read_text())]


@dataclass(frozen=True)
class Family:
    """Targets that have all of these features, what their instructions are, and on which cores they are judged."""

    features: set[str]
    instructions: type
    triple: str
    cores: tuple[str, ...]


# The first that fits. Cores are named as llvm-mca's -mcpu.
FAMILIES = (
    Family({"x86", "64", "avx512_skylake"}, X86, "x86_64", ("znver4", "skylake-avx512", "sapphirerapids")),
    Family({"x86", "64", "avx2"}, X86, "x86_64", ("znver3", "znver4", "skylake-avx512", "sapphirerapids")),
    Family({"x86", "64"}, X86, "x86_64", ("znver3", "skylake-avx512")),
    Family({"arm", "64", "sve2"}, Arm64, "aarch64", ("neoverse-n2",)),
    Family({"arm", "64"}, Arm64, "aarch64", ("neoverse-n1", "neoverse-v1")),
)


class UnknownTarget(Exception):
    pass


def family_of(kernel: Kernel) -> Family:
    for family in FAMILIES:
        if family.features <= kernel.features:
            return family
    raise UnknownTarget(f"no cores for target {kernel.target}; add them to FAMILIES in bench/report/built_kernels.py")
