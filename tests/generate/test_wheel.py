"""What `pip install .` builds, by its configuration: the processor's kernels and the module, GPU kernels only where they are asked for."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names the backends of x86-64")
@pytest.mark.parametrize("options, apis", [({}, set()), ({"MUATTN_GPU": "ON"}, {"cuda", "vulkan", "opencl"})])
def test_gpu_kernels_are_an_option(tmp_path, options, apis):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["scikit-build"]
    defines = settings["cmake"]["define"] | {"SKBUILD": "2", "Python_EXECUTABLE": sys.executable} | options
    generators = f"-Dmuattn-halide_generators_ROOT={ROOT / 'build/release'}"
    subprocess.run(["cmake", "-S", ROOT, "-B", tmp_path, "-G", "Ninja", generators, *(f"-D{key}={value}" for key, value in defines.items())],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    backends = {kernel["backend"] for kernel in json.loads((tmp_path / "generated/kernels.json").read_text())}
    assert {kernel["backend"] for kernel in json.loads((tmp_path / "generated/gpu_kernels.json").read_text())} == apis
    assert backends == {"avx512", "avx2", "sse41"}
    targets = subprocess.run(["ninja", "-C", tmp_path, "-t", "targets", "all"], check=True, capture_output=True, text=True).stdout
    assert all(f"{target}: phony" in targets for target in settings["build"]["targets"]) and "muattn_cli" not in targets
