"""Libraries for a target: headers, static library or, where no compiler for the target is here, kernels with the runtime's
sources, CMake package and manifest.json. For Metal and WebGPU: kernels and the source of their device code. Only what changed is
made anew. docs/targets.md says more."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

from command_lines import generate as command_line
from rich.console import Console
from rich.progress import Progress

from halide_target import Target, TargetError, parse
from manifest import NAME, show, write_manifest

ROOT = Path(__file__).resolve().parents[1]
BUILDS = ROOT / "build/generate"
MACHINES = {"x86_64": "x86-64-linux", "aarch64": "arm-64-linux", "riscv64": "riscv-64-linux"}


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line()
    arguments = parser.parse_args(argv)
    try:
        arguments.target = parse(arguments.target)
    except TargetError as error:
        parser.error(f"--target: {error}")
    if not 0 <= arguments.head_dim <= 1024:
        parser.error(f"--head-dim: must lie in 1..1024, not be {arguments.head_dim}")
    if arguments.toolchain and not arguments.toolchain.is_file():
        parser.error(f"--toolchain: no file {arguments.toolchain}")
    if arguments.shared and (reason := why_not_shared(arguments)):
        parser.error(f"--shared: {reason}")
    if arguments.out and arguments.out.exists() and not (arguments.out.is_dir() and is_ours(arguments.out)):
        parser.error(f"--out: {arguments.out} is there, and not empty, and not what this made before")
    return arguments


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
        return {"muattn", "target", "kernels"} <= json.loads((folder / NAME).read_text()).keys()
    except (OSError, ValueError, AttributeError):
        return False


class BuildError(Exception):
    pass


def options_of(arguments: argparse.Namespace) -> dict[str, str]:
    """What CMake is told; the name of the build's folder depends on it."""
    target: Target = arguments.target
    options = {"CMAKE_BUILD_TYPE": "Release", "MUATTN_TARGET": str(target), "MUATTN_HEAD_DIM": str(arguments.head_dim)}
    lists = {"BACKENDS": arguments.backends, "OPERATIONS": arguments.ops, "DTYPES": arguments.dtypes, "KINDS": arguments.kinds}
    for name, values in lists.items():
        options[f"MUATTN_{name}"] = ";".join(value for value in values.split(",") if value)
    options["MUATTN_SHARED"] = "ON" if arguments.shared else "OFF"
    for name in "TESTS", "BENCH", "PYTHON", "CLI":
        options[f"MUATTN_{name}"] = "OFF"
    if target.device:  # nothing is compiled here
        return options
    if toolchain := toolchain_of(arguments):
        options["CMAKE_TOOLCHAIN_FILE"] = str(toolchain.resolve())
    elif kernels_alone(arguments):
        options["MUATTN_KERNELS_ONLY"] = "ON"
    return options


def run(command: list[str | Path], progress: Progress) -> None:
    """Ninja's "[3/40]" moves the progress bar; what went wrong is the last lines of the output."""
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    task = progress.add_task(Path(command[0]).name, total=None)
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if found := re.match(r"\[(\d+)/(\d+)\] (.*)", line):
            progress.update(task, completed=int(found[1]), total=int(found[2]), description=found[3][:60])
    progress.remove_task(task)
    if process.wait():
        raise BuildError(reason(lines))


def reason(lines: list[str]) -> str:
    """CMake puts the message on the lines after "CMake Error at"; a generator starts it with "Unhandled exception"."""
    for n, line in enumerate(lines):
        if line.startswith("CMake Error"):
            message = takewhile(lambda part: part and not part.startswith("Call Stack"), map(str.strip, lines[n + 1 :]))
            return " ".join(message)
        if found := re.search(r"Unhandled exception: (?:Error: )?(.*)", line):
            return f"Halide: {found[1]}"
    return next((line for line in reversed(lines) if line), "no reason given")


def build(arguments: argparse.Namespace, out: Path, progress: Progress) -> Path:
    options = options_of(arguments)
    name = hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()[:12]
    folder = BUILDS / f"{arguments.target}-{name}"
    generators = {"muattn-halide_generators_ROOT": str(ROOT / "build/release")}
    defines = [f"-D{key}={value}" for key, value in (options | generators).items()]
    run(["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", *defines], progress)
    run(["cmake", "--build", folder, "--parallel", str(arguments.jobs)], progress)
    shutil.rmtree(out, ignore_errors=True)
    run(["cmake", "--install", folder, "--prefix", out], progress)
    return folder


def main(argv: list[str] | None = None) -> int:
    arguments = arguments_of(argv)
    out = (arguments.out or ROOT / "out" / str(arguments.target)).resolve()
    console = Console(stderr=True)
    try:
        with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
            folder = build(arguments, out, progress)
        manifest = write_manifest(folder, out, arguments.target)
    except BuildError as error:
        print(f"generate: {arguments.target}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"generate: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    show(manifest, out, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
