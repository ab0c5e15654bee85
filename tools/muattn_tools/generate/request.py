"""What ./dev generate is asked for, and why that cannot be. As a program it only says so: before ./dev builds anything, so without
Halide and with the standard library alone."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from muattn_tools.arguments import Parser
from muattn_tools.command_lines import generate as command_line
from muattn_tools.generate.halide_target import TargetError, parse
from muattn_tools.paths import ROOT
from muattn_tools.tables import kernel_columns, kernels_of, ladder

MACHINES = {"x86_64": "x86-64-linux", "aarch64": "arm-64-linux", "riscv64": "riscv-64-linux"}
MANIFEST = "manifest.json"


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line()
    arguments = parser.parse_args(argv)
    try:
        arguments.target = parse(arguments.target)
    except TargetError as error:
        parser.error(f"--target: {error}")
    check_names(parser, arguments)
    if arguments.toolchain and not arguments.toolchain.is_file():
        parser.error(f"--toolchain: no file {arguments.toolchain}")
    if arguments.shared and (reason := why_not_shared(arguments)):
        parser.error(f"--shared: {reason}")
    if arguments.out and arguments.out.exists() and not (arguments.out.is_dir() and is_ours(arguments.out)):
        parser.error(f"--out: {arguments.out} is there, and not empty, and not what this made before")
    return arguments


def check_names(parser: Parser, arguments: argparse.Namespace) -> None:
    """The backend of a list of features has a name that CMake finds, and looks for."""
    target = arguments.target
    if target.device and arguments.backends:
        parser.error(f"--backends: {target} is one GPU, and has no others")
    device = "gpu" if target.device else "cpu"
    known = kernel_columns(device)
    if not target.features and (rungs := ladder(target.triple)):
        known["backends"] = list(rungs)
    for option, names in known.items():
        if unknown := [name for name in getattr(arguments, option) if name not in names]:
            hint = "; backends have no cpu: here" if unknown[0].startswith("cpu:") else ""
            parser.error(f"--{option}: unknown '{unknown[0]}'; there are {', '.join(names)}{hint}")
    if arguments.kernels and (empty := [op for op in arguments.ops if not set(kernels_of(op, device)) & set(arguments.kernels)]):
        parser.error(f"--kernels: leave none for {empty[0]}, of which there are {', '.join(kernels_of(empty[0], device))}")


def toolchain_of(arguments: argparse.Namespace) -> Path | None:
    """None: the compiler of this machine, or none at all."""
    file = arguments.toolchain or ROOT / f"cmake/toolchains/{arguments.target.triple}.cmake"
    return file if file.is_file() and not arguments.kernels_only else None


def kernels_alone(arguments: argparse.Namespace) -> bool:
    """No compiler for the target, or none wanted: the runtime goes along as sources."""
    here = arguments.target.triple == MACHINES.get(os.uname().machine)
    return arguments.kernels_only or not (toolchain_of(arguments) or here)


def why_not_shared(arguments: argparse.Namespace) -> str | None:
    if arguments.target.os == "wasmrt":
        return f"{arguments.target.triple} has static libraries alone: WASI has no shared ones"
    if arguments.target.device:
        return f"kernels for {arguments.target.device} come as static libraries alone"
    if arguments.kernels_only:
        return "not with --kernels-only, which compiles no library"
    if kernels_alone(arguments):
        return f"no compiler for {arguments.target.triple} is known here, so no library is linked; --toolchain names one"
    return None


def is_ours(folder: Path) -> bool:
    if not any(folder.iterdir()):
        return True
    try:
        return {"muattn", "target", "kernels"} <= json.loads((folder / MANIFEST).read_text()).keys()
    except (OSError, ValueError, AttributeError):
        return False


if __name__ == "__main__":
    arguments_of(None)
