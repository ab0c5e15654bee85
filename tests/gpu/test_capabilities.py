"""One PTX serves all capabilities: what Halide generates for 70, which is in the library, differs from that for 75, 80 and 86 in its
header alone, and ptxas takes it for each."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from muattn_tools import tables
from muattn_tools.gpu_report.machine_code import assemble
from muattn_tools.paths import ROOT

IN_THE_LIBRARY, OTHERS = 70, (75, 80, 86)
HEADER = re.compile(r"^\.(?:version|target) .*$", re.M)
MAX_REGISTERS = int((ROOT / "runtime/src/gpu/cuda_max_registers.txt").read_text())
# One kernel of each generator that tables/kernels.json has GPU kernels of.
KERNELS = {
    "spatial_attention_block": "with_lse=true with_max_d=64",
    "channel_attention_tiles": "with_normalize=true",
    "merge_general": "",
}  # fmt: skip


@cache
def ptx(generator: str, capability: int, folder: Path) -> str:
    """By the program that the build generates its kernels with."""
    name = f"{generator}_{capability}"
    target = f"{os.environ['MUATTN_HOST_TARGET']}-cuda-cuda_capability_{capability}-user_context-no_runtime"
    subprocess.run([os.environ["MUATTN_GENERATORS"], "-g", generator, "-f", name, "-n", name, "-o", folder, "-e", "device_code",
                    f"target={target}", "machine=cuda", *KERNELS[generator].split()], check=True)  # fmt: skip
    return (folder / f"{name}.device_code").read_text().replace(name, generator)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ptx")


def test_every_generator_for_gpus_is_here():
    assert {tables.generator_of(entry) for entry in tables.entries("gpu")} == set(KERNELS)


def test_the_library_has_the_oldest():
    assert tables.machine("cuda")["features"] == f"cuda-cuda_capability_{IN_THE_LIBRARY}"


@pytest.mark.parametrize("generator", KERNELS)
@pytest.mark.parametrize("capability", OTHERS)
def test_only_the_header_differs(folder, generator, capability):
    oldest, other = ptx(generator, IN_THE_LIBRARY, folder), ptx(generator, capability, folder)
    assert f".target sm_{IN_THE_LIBRARY}" in oldest and f".target sm_{capability}" in other
    assert HEADER.sub("", other) == HEADER.sub("", oldest)


@pytest.mark.parametrize("generator", KERNELS)
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_86", "sm_90"])
def test_it_is_assembled_without_spills(folder, tmp_path, generator, architecture):
    functions = assemble(ptx(generator, IN_THE_LIBRARY, folder), architecture, MAX_REGISTERS, tmp_path)
    assert functions and all(function.spill_bytes == 0 for function in functions)
