"""./dev generate on one kernel: the library that comes out, and what it says about bad input. The generators are those of
the build that runs the tests."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from muattn_tools import reference, tables
from muattn_tools.c_library import Library
from muattn_tools.generate import halide_target, target_libraries
from packages import needs

ROOT = Path(__file__).resolve().parents[2]
MAIN_C = ROOT / "tests/consumer/minimal/main.c"
SMALL = ["--target", "x86-64-linux-sse41", "--ops", "spatial_attention", "--kernels", "general", "--head-dim", "64", "--dtypes", "float32"]
PLAIN = ["--ops", "spatial_attention", "--kernels", "general"]
READOBJ = "llvm-readobj-19"
MINGW = "x86_64-w64-mingw32"


def make(*words: str | Path) -> None:
    assert target_libraries.main([str(word) for word in words]) == 0


def sums(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip


def test_a_minimal_library_is_small_and_works(tmp_path):
    make(*SMALL, "--out", tmp_path / "out", "--shared")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["target"] == "x86-64-linux-sse41" and manifest["backends"] == ["sse41"] and manifest["head_dim"] == 64
    assert [kernel["kernel"] for kernel in manifest["kernels"]] == ["general"]
    library = tmp_path / "out/lib/libmuattn.a"
    assert library.stat().st_size < 300_000
    assert manifest["files"]["lib/libmuattn.a"]["sha256"] == hashlib.sha256(library.read_bytes()).hexdigest()
    command = [os.environ.get("CC", "cc"), "-I", tmp_path / "out/include", MAIN_C, library, "-lm", "-lpthread", "-ldl"]
    subprocess.run([*command, "-o", tmp_path / "program"], check=True)
    assert "cpu:sse41" in subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True).stdout
    shared = tmp_path / "out/lib/libmuattn.so"
    symbols = subprocess.run(["nm", "-D", "--defined-only", shared], check=True, capture_output=True, text=True).stdout
    assert {line.split()[2].split("@")[0][:7] for line in symbols.splitlines() if " A " not in line} == {"muattn_"}
    # Gradients are there, and say that there are no kernels for them.
    c = ctypes.CDLL(str(shared))
    c.muattn_status_name.restype = c.muattn_last_error.restype = ctypes.c_char_p
    for name, count in [("spatial_attention_backward", 9), ("channel_attention_backward", 7), ("channel_map", 6)]:
        assert c.muattn_status_name(getattr(c, f"muattn_{name}")(*[None] * count)) == b"MUATTN_UNSUPPORTED"
        assert c.muattn_last_error().startswith(b"this build has no kernels for gradients")
    example = [sys.executable, ROOT / "tests/consumer/minimal/attention.py", shared]
    assert subprocess.run(example, check=True, capture_output=True, text=True).stdout == "mean 2.0\n"


@pytest.mark.parametrize("kernel", ["general+mask=any+softcap=optional+guard+lse", "few_keys+lse", "split_keys+mask=any+softcap=optional+guard"])
def test_a_kernel_that_does_more_serves_a_call(tmp_path, kernel):
    """One without lse, for example: nobody wants the log-sum-exp."""
    make(*SMALL[:4], "--kernels", kernel, "--out", tmp_path / "out")
    command = [os.environ.get("CC", "cc"), "-I", tmp_path / "out/include", MAIN_C, tmp_path / "out/lib/libmuattn.a", "-lm", "-lpthread", "-ldl"]
    subprocess.run([*command, "-o", tmp_path / "program"], check=True)
    assert "mean 2 on cpu:sse41" in subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif("avx2" not in Path("/proc/cpuinfo").read_text(), reason="for AVX2")
def test_blocks_of_one_vector_serve_wide_maps_where_there_are_no_others(tmp_path):
    make("--target", "x86-64-linux-avx2-fma-f16c", "--ops", "channel_attention", "--kernels", "channels_last+block_vectors=1",
         "--dtypes", "float32", "--shared", "--out", tmp_path / "out")  # fmt: skip
    arrays = dict(zip(("q", "k", "v", "out"), np.random.default_rng(1).standard_normal((4, 1, 2, 30, 41), dtype=np.float32)))
    Library(tmp_path / "out/lib/libmuattn.so", "").call("channel", arrays, {"scale": 0.2, "layout": "channels_last"})()
    expected = reference.channel(arrays["q"], arrays["k"], arrays["v"], 0.2)
    np.testing.assert_allclose(arrays["out"], expected, atol=1e-5)


def test_a_library_for_a_type_takes_it_beside_float32(tmp_path):
    make("--target", "x86-64-linux-sse41", *PLAIN, "--dtypes", "bfloat16", "--shared", "--out", tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert {kernel["dtype"] for kernel in manifest["kernels"]} == {"float32", "float32_bfloat16", "bfloat16_float32"}
    example = [sys.executable, ROOT / "tests/consumer/minimal/element_types.py", tmp_path / "out/lib/libmuattn.so"]
    assert subprocess.run(example, check=True, capture_output=True, text=True).stdout == (
        "float32: MUATTN_OK\nbfloat16: MUATTN_OK\nfloat16: MUATTN_UNSUPPORTED, q.dtype: this build has no kernels for float16\n"
    )


def test_add_subdirectory(tmp_path):
    """muattn inside another project, as small as that project wants it."""
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.28)\nproject(user C CXX)\n"
        "set(MUATTN_OPERATIONS spatial_attention)\nset(MUATTN_KERNELS general)\nset(MUATTN_TARGET x86-64-linux-sse41)\n"
        f"add_subdirectory({ROOT} muattn)\n"
        "if(DEFINED CACHE{Python_EXECUTABLE})\n  message(FATAL_ERROR \"find_package(Python) would find muattn's\")\nendif()\n"
        f"add_executable(program {MAIN_C})\n"
        "target_link_libraries(program PRIVATE muattn::muattn)\n")  # fmt: skip
    subprocess.run(["cmake", "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                    f"-Dmuattn-halide_generators_ROOT={ROOT / 'build/release'}"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    subprocess.run(["cmake", "--build", tmp_path / "build", "--target", "program"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([tmp_path / "build/program"], check=True, stdout=subprocess.DEVNULL)


def test_the_same_inputs_give_the_same_bytes(tmp_path, monkeypatch):
    make(*SMALL, "--out", tmp_path / "a")
    monkeypatch.setattr(target_libraries, "BUILDS", tmp_path / "other builds")
    make(*SMALL, "--out", tmp_path / "b")
    assert sums(tmp_path / "a") == sums(tmp_path / "b")


def test_only_what_changed_is_made_anew(tmp_path):
    make(*SMALL, "--out", tmp_path / "out")
    kernels = list(target_libraries.BUILDS.glob("x86-64-linux-sse41-*/kernel_*.o"))
    before = {path: path.stat().st_mtime_ns for path in kernels}
    make(*SMALL, "--out", tmp_path / "out")
    assert kernels and {path: path.stat().st_mtime_ns for path in kernels} == before


@pytest.mark.parametrize("target, format, machine", [
    ("x86-64-windows", "COFF-x86-64", "IMAGE_FILE_MACHINE_AMD64"),
    ("arm-64-osx", "Mach-O arm64", "Arm64"),
])  # fmt: skip
def test_object_files_for_systems_without_a_compiler_here(tmp_path, target, format, machine):
    make("--target", target, *PLAIN, "--out", tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["runtime"] == "sources" and (tmp_path / "out/CMakeLists.txt").is_file()
    libraries = list((tmp_path / "out/lib").iterdir())
    assert len(libraries) == len(manifest["kernels"]) + 1  # and Halide's runtime
    for library in libraries:
        text = subprocess.run([READOBJ, "--file-headers", "--symbols", library], check=True, capture_output=True, text=True).stdout
        assert f"Format: {format}" in text and machine in text
        if library.name.startswith(("kernel_", "libkernel_")):
            symbol = library.stem.removeprefix("lib")
            assert re.search(rf"Name: _?{symbol}_argv\b", text)


def program_of_a_package(tmp_path: Path, *options: str) -> Path:
    """Builds and installs the package in tmp_path/out, and a program with it."""
    configure = ["cmake", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *options]
    (tmp_path / "user").mkdir()
    shutil.copy(MAIN_C, tmp_path / "user/main.c")
    (tmp_path / "user/CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(user C)\nfind_package(muattn 0.1 REQUIRED)\n"
        "add_executable(program main.c)\ntarget_link_libraries(program PRIVATE muattn::muattn)\n")  # fmt: skip
    for command in ([*configure, "-S", tmp_path / "out", "-B", tmp_path / "build"],
                    ["cmake", "--build", tmp_path / "build"],
                    ["cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "prefix"],
                    [*configure, "-S", tmp_path / "user", "-B", tmp_path / "user/build", f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}"],
                    ["cmake", "--build", tmp_path / "user/build"]):  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return tmp_path / "user/build/program"


def test_a_package_of_kernels_and_sources_makes_a_library(tmp_path):
    make(*SMALL, "--kernels-only", "--out", tmp_path / "out")
    program = subprocess.run([program_of_a_package(tmp_path)], check=True, capture_output=True, text=True)
    assert "cpu:sse41" in program.stdout
    environment = os.environ | {"PKG_CONFIG_PATH": str(next(tmp_path.glob("prefix/**/muattn.pc")).parent)}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "muattn"], check=True, capture_output=True, text=True, env=environment).stdout
    subprocess.run([os.environ.get("CC", "cc"), MAIN_C, *flags.split(), "-o", tmp_path / "program"], check=True)
    subprocess.run([tmp_path / "program"], check=True, stdout=subprocess.DEVNULL)


@needs("wasm32")
def test_a_package_for_webassembly(tmp_path):
    make("--target", "wasm-32-wasmrt", "--kernels-only", *SMALL[2:], "--out", tmp_path / "out")
    toolchains = ROOT / "cmake/toolchains"
    program = program_of_a_package(tmp_path, f"-DCMAKE_TOOLCHAIN_FILE={toolchains / 'wasm-32-wasmrt.cmake'}")
    assert "cpu:simd128" in subprocess.run([toolchains / "wasi-node", program], check=True, capture_output=True, text=True).stdout


def test_a_program_for_windows_links(tmp_path):
    """By Debian's mingw-w64; it is not run."""
    make("--target", "x86-64-windows-sse41", *SMALL[2:], "--out", tmp_path / "out")
    program = program_of_a_package(tmp_path, "-DCMAKE_SYSTEM_NAME=Windows", f"-DCMAKE_C_COMPILER={MINGW}-gcc", f"-DCMAKE_CXX_COMPILER={MINGW}-g++")
    text = subprocess.run([READOBJ, "--coff-imports", program.with_suffix(".exe")], check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"Name: (\S+\.dll)", text)) == {"KERNEL32.dll", "msvcrt.dll"}


@pytest.mark.parametrize("words, message", [
    (["--target", "x86-64-linux-neon"], "no feature 'neon' for x86; there are avx, "),
    (["--target", "mips-64-linux"], "no architecture 'mips'; there are arm, "),
    (["--target", "arm-64-beos"], "no operating system 'beos'; there are android, "),
    (["--target", "arm-64"], "say architecture, bits and operating system"),
    (["--target", "arm-64-linux-sve2"], "sve2 needs vector_bits_N"),
    (["--target", "riscv-64-linux-rvv-vector_bits_512"], "kernels for rvv are for vectors of 128 or 256 bits"),
    (["--target", "arm-64-linux-sve2-vector_bits_256"], "kernels for sve2 are for vectors of 128 bits"),
    (["--target", "arm-64-linux", "--shared", "--kernels-only"], "--shared: not with --kernels-only"),
    (["--target", "wasm-32-wasmrt", "--shared"], "--shared: wasm-32-wasmrt has static libraries alone"),
    (["--target", "x86-64-windows", "--shared"], "--shared: no compiler for x86-64-windows is known here"),
    (["--target", "arm-64-osx-metal", "--shared"], "--shared: kernels for metal come as static libraries alone"),
    (["--target", "x86-64-linux", "--head-dim", "2000"], "--head-dim: must lie in 1..1024"),
    (["--target", "x86-64-linux", "--head-dim", "0"], "--head-dim: must lie in 1..1024"),
    (["--target", "x86-64-linux", "--jobs", "0"], "--jobs: must be a whole number from 1"),
    (["--target", "x86-64-linux", "--toolchain", "/none"], "--toolchain: no file /none"),
    (["--target", "x86-64-linux-avx512"], "rung avx512 is x86-64-linux-f16c-fma-avx512_skylake, or --target x86-64-linux --backends avx512\n"),
    (["--target", "x86_64-linux-gnu"], "did you mean x86-64-linux?"),
    (["--target", "aarch64-apple-darwin"], "did you mean arm-64-osx?"),
    (["--target", "x86-64-linux", "--backends", ""], "--backends: must be names with commas between them"),
    (["--target", "x86-64-linux", "--ops=spatial_attention,merge", "--kernels=general+lse"], "--kernels: leave none for merge, of which there are general\n"),
    (["--target", "x86-64-linux", "--ops=spatial"], "--ops: unknown 'spatial'; there are spatial_attention"),
    (["--target", "x86-64-linux", "--directions=backwards"], "--directions: unknown 'backwards'; there are forward, backward"),
    (["--target", "x86-64-linux", "--kernels=lse"], "--kernels: unknown 'lse'; there are general, general+lse, "),
    (["--target", "x86-64-linux", "--backends=neon"], "--backends: unknown 'neon'; there are avx512, avx2, sse41\n"),
    (["--target", "arm-64-linux", "--backends=cpu:neon"], "there are sve2_128, neon_fp16, neon; backends have no cpu: here"),
    (["--target", "arm-64-osx-metal", "--backends=neon"], "--backends: arm-64-osx-metal is one GPU"),
])  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(capsys, words, message):
    with pytest.raises(SystemExit) as stop:
        target_libraries.main(words)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and message in error


def test_bad_input_is_found_without_halide():
    """By any Python, before ./dev builds something; what it lists is what Halide and CMake list."""
    names = halide_target.halide_names()
    assert names["arch"] == list(halide_target.ARCHITECTURES) and names["os"] == list(halide_target.SYSTEMS)
    assert list(tables.ladder("riscv-64-linux")) == ["rvv_256", "rvv_128", "scalar"] and not tables.ladder("powerpc-64-linux")
    for words in (["--target", "mips-64-linux"], ["--target", "x86-64-linux", "--kernels", "generl"]):
        command = [sys.executable, "-S", "-m", "muattn_tools.generate.request", *words]
        found = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT / "tools")}, capture_output=True, text=True)
        assert found.returncode == 2 and words[-1] in found.stderr and found.stderr.count("\n") == 1


def test_riscv_without_a_compiler_is_one_length_of_vectors(capsys, tmp_path):
    words = ["--kernels-only", "--ops", "merge", "--out", tmp_path / "out"]
    assert target_libraries.main(["--target", "riscv-64-linux", *map(str, words)]) == 1
    error = capsys.readouterr().err
    assert "riscv-64-linux-rvv-vector_bits_256" in error and error.startswith("generate: riscv-64-linux: without")
    make("--target", "riscv-64-linux-rvv-vector_bits_256", *words)
    assert json.loads((tmp_path / "out/manifest.json").read_text())["backends"] == ["rvv_256"]


@pytest.mark.parametrize("lines, message", [
    (["CMake Error at CMakeLists.txt:2 (project):", "  The CMAKE_C_COMPILER:", "", "    powerpc64le-linux-gnu-gcc", "",
      "  is not a full path and was not found in the PATH.", "", "  Tell CMake where to find the compiler."],
     "The CMAKE_C_COMPILER: powerpc64le-linux-gnu-gcc is not a full path and was not found in the PATH."),
    (["CMake Error at a.cmake:1 (message):", "  MUATTN_KERNELS: unknown 'a'; there are", "  general", "Call Stack (most recent call first):"],
     "MUATTN_KERNELS: unknown 'a'; there are general"),
    (["FAILED: [code=134] kernel.o", "muattn_generators: Legalize.cpp:987: Assertion `legal && \"This value type\"' failed.", "ninja: build stopped"],
     "Assertion `legal && \"This value type\"' failed"),
    (["FAILED: [code=139] kernel.o", "ninja: build stopped: subcommand failed."], "FAILED: [code=139] kernel.o"),
])  # fmt: skip
def test_why_a_build_failed(lines, message):
    assert target_libraries.reason(lines) == message


def test_a_folder_of_something_else_stays(capsys, tmp_path):
    (tmp_path / "precious").write_text("")
    with pytest.raises(SystemExit):
        target_libraries.main([*SMALL, "--out", str(tmp_path)])
    assert "--out:" in capsys.readouterr().err and (tmp_path / "precious").exists()
