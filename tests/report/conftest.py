"""Objects for the report to read: assembled by llvm-mc, or compiled by the compiler of the build ($CXX)."""

import os
import subprocess

import pytest
from muattn_tools.report.disassembly import disassemble, innermost_loops
from muattn_tools.report.instructions import X86, Arm64
from muattn_tools.report.kernel_loops import describe
from muattn_tools.report.llvm_tools import VERSION

ARCHITECTURES = {"x86_64": X86, "aarch64": Arm64}


def loops_of(library, architecture):
    """Every innermost loop of every function."""
    return [
        describe(function, body, architecture, architecture.frame_registers(function.instructions))
        for function in disassemble(library, architecture)[1]
        for body in innermost_loops(function, architecture)
    ]


@pytest.fixture
def assemble(tmp_path):
    def run(text, triple="x86_64"):
        source, library = tmp_path / "kernel.s", tmp_path / "kernel.o"
        source.write_text("kernel:\n" + text + "\nret\n")
        features = {"x86_64": "+avx512f,+avx512bw,+avx512dq,+avx512vl,+fma", "aarch64": "+neon"}[triple]
        options = [f"--triple={triple}-linux-gnu", f"--mattr={features}", "--filetype=obj"]
        subprocess.run([f"llvm-mc-{VERSION}", *options, source, "-o", library], check=True)
        return library

    return run


@pytest.fixture
def loops_in(assemble):
    return lambda text, triple="x86_64": loops_of(assemble(text, triple), ARCHITECTURES[triple]())


@pytest.fixture
def compile_cpp(tmp_path):
    def run(text, *options):
        source, library = tmp_path / "kernel.cpp", tmp_path / "kernel.o"
        source.write_text(text)
        subprocess.run([os.environ["CXX"], "-O2", *options, "-c", source, "-o", library], check=True)
        return loops_of(library, X86())

    return run
