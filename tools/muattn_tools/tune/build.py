"""Candidates as shared libraries: the runtime and kernels of this build, with the kernels of one generator made anew from
other numbers. What CMake knows about the build is in its facts.json."""

from __future__ import annotations

import concurrent.futures
import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from muattn_tools import tables
from muattn_tools.c_structs import ChannelGradients, ChannelOptions, SpatialGradients, SpatialOptions, Tensor, Window
from muattn_tools.paths import ROOT
from muattn_tools.tune.space import Numbers, TuneError, text


class OutOfTime(Exception):
    pass


class Clock:
    """The time that is left."""

    def __init__(self, seconds: float):
        self.deadline = time.monotonic() + seconds

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def sooner(self, seconds: float) -> Clock:
        """A clock that runs out after the given time, or with this one."""
        return Clock(min(seconds, self.left()))


@dataclass
class Finished:
    code: int
    output: str
    errors: str
    late: bool  # stopped at its own limit

    def reason(self) -> str:
        """Why it failed, in a line."""
        if self.late:
            return "takes too long"
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        if self.code < 0:
            return f"crashes: {signal.Signals(-self.code).name}"
        return lines[-1][:300] if lines else f"fails with exit code {self.code}"


_running: set[subprocess.Popen] = set()


def stop_all() -> None:
    """Ends the processes of every thread's run()."""
    for process in list(_running):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def run(command: list, clock: Clock, limit: float = float("inf"), stdin: str = "", memory: int = 0) -> Finished:
    """In a process group of its own, which ends with this call, however it ends. OutOfTime where the clock runs out.
    limit: seconds; memory: bytes of address space that it may have, 0 for any."""
    if memory:  # by the shell, before the command begins: a limit from here might come after its end
        command = ["sh", "-c", 'ulimit -v "$0" && exec "$@"', memory // 1024, *command]
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    _running.add(process)
    try:
        output, errors = process.communicate(stdin, timeout=max(0, min(clock.left(), limit)))
        return Finished(process.returncode, output, errors, late=False)
    except subprocess.TimeoutExpired:
        if clock.left() <= 0:
            raise OutOfTime from None
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        return Finished(process.returncode, output, errors, late=True)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        _running.discard(process)


class Failed(Exception):
    """A candidate cannot be made."""


@dataclass(frozen=True)
class Kernel:
    """Of the build's kernels.json, for one backend."""

    operation: str
    direction: str
    dtype: str
    name: str  # its algorithm and features
    backend: str
    symbol: str
    generator: str
    arguments: str  # of the generator, the schedule's numbers apart
    library: str  # as this build made it

    @staticmethod
    def of(entry: dict) -> Kernel:
        names = ("operation", "direction", "dtype", "kernel", "backend", "symbol", "generator", "arguments", "library")
        return Kernel(*(entry[name] for name in names))

    @property
    def algorithm(self) -> str:
        return self.name.partition("+")[0]

    @property
    def full_name(self) -> str:
        return f"{self.operation}/{self.direction}/{self.dtype}/{self.name}/cpu:{self.backend}"


def _facts(folder: Path) -> dict:
    if not folder.is_dir():
        raise TuneError(f"--build: no folder {folder}")
    if not (folder / "CMakeCache.txt").exists():
        raise TuneError(f"--build: {folder} is no build: CMake has not configured it")
    path = folder / "bench/tune/facts.json"
    if not path.exists():
        raise TuneError(f"--build: {folder} is configured without the tuner; MUATTN_BENCH=ON adds it")
    facts = json.loads(path.read_text())
    names = ("kernels", "kernel_table", "facts_program", "generator_program", "library", "halide_runtime")
    for file in [*(facts[name] for name in names), *facts["runtime_objects"]]:
        if not Path(file).exists():
            raise TuneError(f"--build: {folder} is configured, but not built: no {file}; cmake --build {folder} builds it")
    return facts


def check_sizes(compiled: dict[str, int]) -> None:
    """compiled: the bytes of each struct, by bench/tune/facts.cpp."""
    for struct in Tensor, Window, SpatialOptions, ChannelOptions, SpatialGradients, ChannelGradients:
        if (ours := ctypes.sizeof(struct)) != (theirs := compiled[struct.__name__]):
            raise TuneError(f"tools/muattn_tools/c_structs.py takes {struct.__name__} for {ours} bytes; it has {theirs}")


class Build:
    def __init__(self, folder: Path):
        self.facts = _facts(folder)
        program = self.facts["facts_program"]
        known = json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
        self.struct_bytes = known["structs"]
        check_sizes(self.struct_bytes)
        self.defaults: dict[str, dict[str, Numbers]] = known["defaults"]  # by generator and backend
        self.targets: dict[str, str] = self.facts["targets"]
        self.machines = {backend: tables.machine(backend) for backend in self.targets}
        self.generators = {generator: list(next(iter(found.values()))) for generator, found in self.defaults.items()}
        self.kernels = [Kernel.of(entry) for entry in json.loads(Path(self.facts["kernels"]).read_text())]
        self.processors = len(os.sched_getaffinity(0))

    def numbers(self, generator: str, backend: str) -> Numbers:
        """The defaults, in the order of numbers() of the schedule."""
        return dict(self.defaults[generator][backend])

    def kernels_for(self, backend: str) -> list[Kernel]:
        return [kernel for kernel in self.kernels if kernel.backend == backend]

    def can_call(self, operation: str, direction: str) -> bool:
        """Gradients take what a forward call gave."""
        have = {kernel.direction for kernel in self.kernels if kernel.operation == f"{operation}_attention"}
        return {"forward", direction} <= have

    def digest(self) -> str:
        """Of all that decides what a candidate is, numbers apart."""
        digest = hashlib.sha256()
        names = ["generators/**/*", "schedules/**/*.h", "runtime/src/**/*", "runtime/include/muattn/*", "cmake/*.cmake", "tables/*"]
        for path in sorted(path for name in names for path in ROOT.glob(name) if path.is_file()):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def kernel_of(self, full_name: str) -> Kernel:
        return next(kernel for kernel in self.kernels if kernel.full_name == full_name)

    def present_library(self, folder: Path, clock: Clock) -> Path:
        """The library as it is built, as a shared one."""
        path = folder / "present.so"
        folder.mkdir(parents=True, exist_ok=True)
        self._link(path, ["-Wl,--whole-archive", self.facts["library"], "-Wl,--no-whole-archive"], clock)
        return path

    def generate(
        self, kernel: Kernel, numbers: Numbers, folder: Path, clock: Clock, extra: tuple = (), memory: int = 0
    ) -> Finished:
        """As CMake does it, so that the object is the one that a build from the tuned file has."""
        return run(
            [
                self.facts["generator_program"], "-n", kernel.symbol, "-d", "0", "-g", kernel.generator, "-f", kernel.symbol,
                "-e", "object", "-o", folder, *extra, f"target={self.targets[kernel.backend]}", f"machine={kernel.backend}",
                *(f"{name}={value}" for name, value in numbers.items()), *kernel.arguments.split(),
            ],
            clock, memory=memory,
        )  # fmt: skip

    def candidate(self, kernels: list[Kernel], numbers: Numbers, folder: Path, clock: Clock, others: Sequence[Kernel] = ()) -> Path:
        """A library with these kernels, which are all of one generator and backend, and others as this build has them, alone. Kernels
        that are there already are kept."""
        folder.mkdir(parents=True, exist_ok=True)
        missing = [kernel for kernel in kernels if not (folder / f"{kernel.symbol}.o").exists()]
        pool = concurrent.futures.ThreadPoolExecutor(self.processors)
        try:
            list(pool.map(lambda kernel: self._make(kernel, numbers, folder, clock), missing))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            pool.shutdown()
        return self.link(kernels, numbers, folder, clock, others)

    def _make(self, kernel: Kernel, numbers: Numbers, folder: Path, clock: Clock) -> None:
        part = folder / f"part_{kernel.symbol}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        done = self.generate(kernel, numbers, part, clock)
        if done.code != 0:
            raise Failed(f"{kernel.name}: {done.reason()}")
        (part / f"{kernel.symbol}.o").rename(folder / f"{kernel.symbol}.o")
        part.rmdir()

    def _row(self, kernel: Kernel) -> str:
        """Of the build's kernel table."""
        rows = Path(self.facts["kernel_table"]).read_text().splitlines(keepends=True)
        return next(row for row in rows if f", {kernel.symbol}, " in row)

    def _row_with(self, kernel: Kernel, numbers: Numbers) -> str:
        """A row ends with the generator and its numbers: with these in their place."""
        before, generator, _ = self._row(kernel).rpartition(f", {kernel.generator}, ")
        values = ['{"", 0}', *(f'{{"{name}", {value}}}' for name, value in numbers.items())]
        return f"{before}{generator}{', '.join(values)})\n"

    def link(self, kernels: list[Kernel], numbers: Numbers, folder: Path, clock: Clock, others: Sequence[Kernel] = ()) -> Path:
        """The registry is compiled with a kernel table of its own: it tells the runtime the numbers."""
        rows = [*(self._row_with(kernel, numbers) for kernel in kernels), *map(self._row, others)]
        table, path = folder / "kernel_table.inc", folder / "candidate.so"
        if path.exists() and table.read_text() == "".join(rows):
            return path
        path.unlink(missing_ok=True)
        table.write_text("".join(rows))
        (folder / "gpu_kernel_table.inc").write_text("")
        registry = folder / "registry.o"
        compiler, *flags = self.facts["compile"]
        source = ROOT / "runtime/src/kernels/registry.cpp"
        self._tool([compiler, f"-I{folder}", *flags, "-c", source, "-o", registry], clock)  # our table comes first
        objects = [file for file in self.facts["runtime_objects"] if not file.endswith("/registry.cpp.o")]
        objects += [*(folder / f"{kernel.symbol}.o" for kernel in kernels), *(kernel.library for kernel in others)]
        runtime = ["-Wl,--whole-archive", self.facts["halide_runtime"], "-Wl,--no-whole-archive"]
        self._link(path, [registry, *objects, *runtime], clock)
        return path

    def _link(self, path: Path, files: list, clock: Clock) -> None:
        """Every symbol but muattn_* is local: a library's Halide runtime is its own."""
        exports = path.with_suffix(".map")
        exports.write_text("{ global: muattn_*; local: *; };\n")
        part = path.with_suffix(".part")  # renamed when whole: the linker may be stopped
        link = [*self.facts["link"], f"-Wl,--version-script={exports}", "-o", part, *files, "-lm", "-lpthread", "-ldl"]
        self._tool(link, clock)
        part.rename(path)

    @staticmethod
    def _tool(command: list, clock: Clock) -> None:
        done = run(command, clock)
        if done.code != 0:
            raise TuneError(f"{command[0]} failed: {done.errors.strip()}")


def folder_name(candidate: Numbers) -> str:
    return text(candidate).replace(" ", ".").replace("=", "-")
