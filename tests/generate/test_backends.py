"""Which backends a library has: those that were chosen of a family's, the one that a list of features names, and one for features that
nothing is known of, of which the manifest says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from muattn_tools.generate import target_libraries
from muattn_tools.generate.manifest import of_no_rung
from packages import needs

ROOT = Path(__file__).resolve().parents[2]


def manifest_of(out: Path, target: str, *words: str) -> dict:
    assert target_libraries.main(["--target", target, "--ops", "merge", "--dtypes", "float32", "--out", str(out), *words]) == 0
    return json.loads((out / "manifest.json").read_text())


@pytest.mark.parametrize("target, words, backends", [
    ("x86-64-linux", ["--backends", "sse41,avx512"], ["avx512", "sse41"]),  # the best first, as ever
    ("arm-64-linux", ["--backends", "neon", "--kernels-only"], ["neon"]),
    pytest.param("riscv-64-linux", ["--backends", "scalar"], ["scalar"], marks=needs("riscv64")),
])  # fmt: skip
def test_some_backends_of_a_family(tmp_path, target, words, backends):
    manifest = manifest_of(tmp_path / "out", target, *words)
    assert manifest["backends"] == backends and manifest["rung"] is True
    assert [kernel["backend"] for kernel in manifest["kernels"]] == backends


def test_a_library_of_one_backend_is_smaller(tmp_path):
    whole, part = (manifest_of(tmp_path / "out", "x86-64-linux", *words) for words in ([], ["--backends", "avx2"]))
    size = {len(manifest["backends"]): manifest["files"]["lib/libmuattn.a"]["bytes"] for manifest in (whole, part)}
    assert size[1] < size[3]


def test_the_order_of_features_is_of_no_matter(tmp_path):
    """Nor whether they name what others imply."""
    targets = ["x86-64-linux-sse41-avx-f16c-fma-avx2", "x86-64-linux-fma-avx2-f16c"]
    manifests = [manifest_of(tmp_path / "out", target) for target in targets]
    assert manifests[1]["backends"] == ["avx2"] and manifests[0]["kernels"] == manifests[1]["kernels"]


def test_features_of_no_rung_are_named(tmp_path, capsys):
    manifest = manifest_of(tmp_path / "out", "x86-64-linux-f16c-fma-avx512_cannonlake")
    assert manifest["backends"] == ["simd512"] and manifest["rung"] is False
    assert manifest["features_not_checked"] == ["avx512_cannonlake"]
    assert manifest["kernels"][0]["tuned"] is None
    assert "not tuned; not checked when it runs: avx512_cannonlake; rung avx512 is" in capsys.readouterr().out


@pytest.mark.parametrize("target, hint", [
    ("x86-64-linux-avx2", "; rung avx2 is x86-64-linux-f16c-fma-avx2, or --target x86-64-linux --backends avx2"),
    ("arm-64-linux-sve", "; rung neon is --target arm-64-linux --backends neon"),
    ("powerpc-64-linux-vsx", ""),
])  # fmt: skip
def test_the_nearest_rung_is_named(target, hint):
    text = of_no_rung({"target": target, "features_not_checked": []})
    assert text == "no backend of tables/machines.json has these features: not tuned" + hint


def configure(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Without a compiled kernel; the tables are there, or an error."""
    off = [f"-DMUATTN_{name}=OFF" for name in ("TESTS", "BENCH", "CLI")]
    return subprocess.run(["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", f"-Dmuattn-halide_generators_ROOT={ROOT / 'build/release'}", *off,
                           "-DMUATTN_OPERATIONS=merge", "-DMUATTN_DTYPES=float32", *options], capture_output=True, text=True)  # fmt: skip


def test_the_best_backend_is_that_which_the_library_takes(tmp_path):
    assert configure(tmp_path / "a", "-DMUATTN_BACKENDS=best").returncode == 0
    [kernel] = json.loads((tmp_path / "a/generated/kernels.json").read_text())
    program = [sys.executable, "-c", "import muattn; print(muattn.current_backend())"]
    taken = subprocess.run(program, env=os.environ | {"PYTHONPATH": str(ROOT / "build/release/python")}, check=True, capture_output=True, text=True)
    assert f"cpu:{kernel['backend']}" == taken.stdout.strip()
    other = configure(tmp_path / "b", "-DMUATTN_BACKENDS=best", "-DMUATTN_TARGET=arm-64-linux", "-DMUATTN_KERNELS_ONLY=ON")
    assert other.returncode == 1 and "MUATTN_BACKENDS: the best backend is found out on the machine that builds" in " ".join(other.stderr.split())


def test_gpu_apis_are_heard(tmp_path):
    """A library with few operations has no GPU kernels, unless it names APIs; and no kernels for them where GPUs are off."""
    assert configure(tmp_path / "a", "-DMUATTN_GPU_APIS=cuda", "-DMUATTN_BACKENDS=avx2").returncode == 0
    kernels = json.loads((tmp_path / "a/generated/gpu_kernels.json").read_text())
    assert [(kernel["backend"], kernel["target"]) for kernel in kernels] == [("cuda", "x86-64-linux-sse41-cuda-cuda_capability_70")]
    off = configure(tmp_path / "b", "-DMUATTN_GPU_APIS=cuda", "-DMUATTN_GPU=OFF")
    assert off.returncode == 1 and "MUATTN_GPU_APIS: there are no GPU kernels" in off.stderr
