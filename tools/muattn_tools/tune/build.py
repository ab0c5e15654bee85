"""Candidates as shared libraries: the runtime and kernels of this build, with the kernels of one generator made anew from
other numbers. What CMake knows about the build is in its facts.json."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, fields
from pathlib import Path

from space import Numbers, TuneError, text

ROOT = Path(__file__).resolve().parents[2]


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
    """A line of cmake/kernels.cmake."""

    operation: str
    direction: str
    dtype: str
    kind: str
    generator: str
    arguments: str  # of the generator, the schedule's numbers apart

    def name(self, backend: str) -> str:
        return f"{self.operation}/{self.direction}/{self.dtype}/{self.kind}/cpu:{backend}"

    def symbol(self, backend: str) -> str:
        return f"kernel_{self.operation}_{self.direction}_{self.dtype}_{self.kind}_{backend}"


def _facts(folder: Path) -> dict:
    if not folder.is_dir():
        raise TuneError(f"--build: no folder {folder}")
    if not (folder / "CMakeCache.txt").exists():
        raise TuneError(f"--build: {folder} is no build: CMake has not configured it")
    path = folder / "bench/tune/facts.json"
    if not path.exists():
        raise TuneError(f"--build: {folder} is configured without the tuner; MUATTN_BENCH=ON adds it")
    facts = json.loads(path.read_text())
    names = ("kernels", "defaults_program", "generator_program", "library", "halide_runtime")
    for file in [*(facts[name] for name in names), *facts["runtime_objects"]]:
        if not Path(file).exists():
            raise TuneError(f"--build: {folder} is configured, but not built: no {file}; cmake --build {folder} builds it")
    return facts


class Build:
    def __init__(self, folder: Path):
        self.facts = _facts(folder)
        program = self.facts["defaults_program"]
        known = json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
        self.defaults, self.machines = known["defaults"], known["machines"]
        self.generators: dict[str, list[str]] = self.facts["generators"]
        self.targets: dict[str, str] = self.facts["targets"]
        lines = json.loads(Path(self.facts["kernels"]).read_text())  # a kernel for each backend
        self.kernels = list(dict.fromkeys(Kernel(*(line[x.name] for x in fields(Kernel))) for line in lines))
        self.processors = len(os.sched_getaffinity(0))

    def numbers(self, generator: str, backend: str) -> Numbers:
        """The defaults, in the order of cmake/kernels.cmake."""
        return {name: self.defaults[generator][backend][name] for name in self.generators[generator]}

    def digest(self) -> str:
        """Of all that decides what a candidate is, numbers apart."""
        digest = hashlib.sha256()
        names = ["generators/*", "schedules/*.h", "runtime/src/**/*", "runtime/include/muattn/*", "cmake/*.cmake"]
        for path in sorted(path for name in names for path in ROOT.glob(name) if path.is_file()):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def kernel_of(self, name: str, backend: str) -> Kernel:
        return next(kernel for kernel in self.kernels if kernel.name(backend) == name)

    def present_library(self, folder: Path, clock: Clock) -> Path:
        """The library as it is built, as a shared one."""
        path = folder / "present.so"
        folder.mkdir(parents=True, exist_ok=True)
        self._link(path, ["-Wl,--whole-archive", self.facts["library"], "-Wl,--no-whole-archive"], clock)
        return path

    def generate(
        self, kernel: Kernel, backend: str, numbers: Numbers, folder: Path, clock: Clock, extra: tuple = (), memory: int = 0
    ) -> Finished:
        """As CMake does it, so that the object is the one that a build from the tuned file has."""
        symbol = kernel.symbol(backend)
        names = self.generators[kernel.generator]
        return run(
            [
                self.facts["generator_program"], "-n", symbol, "-d", "0", "-g", kernel.generator, "-f", symbol,
                "-e", "object", "-o", folder, *extra, f"target={self.targets[backend]}", f"machine={backend}",
                *(f"{name}={numbers.get(name, 0)}" for name in names), *kernel.arguments.split(),
            ],
            clock, memory=memory,
        )  # fmt: skip

    def candidate(self, backend: str, kernels: list[Kernel], numbers: Numbers, folder: Path, clock: Clock) -> Path:
        """A library with these kernels alone, which are all of one generator; kernels that are there already are kept."""
        folder.mkdir(parents=True, exist_ok=True)
        missing = [kernel for kernel in kernels if not (folder / f"{kernel.symbol(backend)}.o").exists()]
        pool = concurrent.futures.ThreadPoolExecutor(self.processors)
        try:
            list(pool.map(lambda kernel: self._make(kernel, backend, numbers, folder, clock), missing))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            pool.shutdown()
        return self.link(backend, kernels, numbers, folder, clock)

    def _make(self, kernel: Kernel, backend: str, numbers: Numbers, folder: Path, clock: Clock) -> None:
        part = folder / f"part_{kernel.kind}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        done = self.generate(kernel, backend, numbers, part, clock)
        if done.code != 0:
            raise Failed(f"{kernel.kind}: {done.reason()}")
        (part / f"{kernel.symbol(backend)}.o").rename(folder / f"{kernel.symbol(backend)}.o")
        part.rmdir()

    def link(self, backend: str, kernels: list[Kernel], numbers: Numbers, folder: Path, clock: Clock) -> Path:
        """The registry is compiled with a kernel table of its own: it tells the runtime the numbers."""
        rows = []
        for kernel in kernels:
            own = [numbers.get(name, 0) for name in self.generators[kernel.generator]]
            words = [kernel.operation, kernel.direction, kernel.dtype, kernel.kind, backend, kernel.symbol(backend), *own]
            rows.append(f"MUATTN_KERNEL({', '.join(map(str, words))})\n")
        table, path = folder / "kernel_table.inc", folder / "candidate.so"
        if path.exists() and table.read_text() == "".join(rows):
            return path
        path.unlink(missing_ok=True)
        table.write_text("".join(rows))
        (folder / "gpu_kernel_table.inc").write_text("")
        registry = folder / "registry.o"
        compiler, *flags = self.facts["compile"]
        source = ROOT / "runtime/src/registry.cpp"
        self._tool([compiler, f"-I{folder}", *flags, "-c", source, "-o", registry], clock)  # our table comes first
        objects = [file for file in self.facts["runtime_objects"] if not file.endswith("/registry.cpp.o")]
        objects += [folder / f"{kernel.symbol(backend)}.o" for kernel in kernels]
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
