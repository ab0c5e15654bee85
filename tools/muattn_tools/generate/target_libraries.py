"""Libraries for a target: headers, static library or, where no compiler for the target is here, kernels with the runtime's
sources, CMake package and manifest.json. For Metal and WebGPU: kernels and the source of their device code. Only what changed is
made anew. docs/targets.md says more."""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from muattn_tools.generate.halide_target import Target
from muattn_tools.generate.manifest import show, write_manifest
from muattn_tools.generate.request import arguments_of, kernels_alone, toolchain_of
from muattn_tools.paths import RELEASE, ROOT

BUILDS = ROOT / "build/generate"


class BuildError(Exception):
    pass


def options_of(arguments: argparse.Namespace) -> dict[str, str]:
    """What CMake is told; the name of the build's folder depends on it."""
    target: Target = arguments.target
    options = {"CMAKE_BUILD_TYPE": "Release", "MUATTN_TARGET": str(target), "MUATTN_HEAD_DIM": str(arguments.head_dim)}
    lists = {"BACKENDS": arguments.backends, "OPERATIONS": arguments.ops, "DIRECTIONS": arguments.directions, "DTYPES": arguments.dtypes,
             "KERNELS": arguments.kernels}  # fmt: skip
    for name, values in lists.items():
        options[f"MUATTN_{name}"] = ";".join(values)
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
    """CMake puts the message on the lines after "CMake Error at"; a generator starts it with "Unhandled exception"; LLVM dies of an
    assertion; of others Ninja knows what they were to make."""
    for n, line in enumerate(lines):
        if found := re.match(r"CMake Error(?:: (.*))?", line):
            return found[1] or paragraph(lines[n + 1 :])
        if found := re.search(r"Unhandled exception: (?:Error: )?(.*)", line):
            return f"Halide: {found[1]}"
    for pattern in r"Assertion .* failed|LLVM ERROR: .*", r"(?:\S+ )?(?:fatal )?error: .*", r"^FAILED: .*":
        if found := next(filter(None, (re.search(pattern, line) for line in lines)), None):
            return found[0]
    return next((line for line in reversed(lines) if line), "no reason given")


def paragraph(lines: list[str]) -> str:
    """CMake's message is indented, and may have blank lines within a sentence."""
    parts: list[str] = []
    for line in lines:
        if line and not line.startswith(" ") or not line and parts and parts[-1].endswith("."):
            break
        parts += line.split()
    return " ".join(parts)


def build(arguments: argparse.Namespace, out: Path, progress: Progress) -> Path:
    options = options_of(arguments)
    name = hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()[:12]
    folder = BUILDS / f"{arguments.target}-{name}"
    generators = {"muattn-halide_generators_ROOT": str(RELEASE)}
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
        print(f"generate: {arguments.target}: {str(error).removeprefix(f'{arguments.target}: ')}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"generate: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    show(manifest, out, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
