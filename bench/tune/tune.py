"""Searches the numbers of the schedules for this machine, on the shapes of bench/shapes.json. A candidate is built,
compared with a reference in double precision, then timed against the best so far. What is known is kept: an interrupted
search goes on where it was. Writes schedules/tuned/<generator>.<target>.json where the best is better than the default.
docs/tuning.md says more."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

from arguments import Parser
from problems import SHAPES
from provenance import device

from adams import ESTIMATED, Adams
from build import ROOT, Build, Clock, OutOfTime, run, stop_all
from library import Library
from search import MEASURE, GeneratorSearch, Options, Problems
from show import Show
from space import Search, TuneError, text
from state import State
from tuned_file import write

ADAMS_SHARE = 0.5  # of a generator's time, the first time


def arguments_of(argv: list[str]) -> argparse.Namespace:
    parser = Parser("./dev tune", description=__doc__)
    parser.add_argument("op", nargs="?", help="an operator or one of its generators (default: all)")
    parser.add_argument("--target", help="backend of cmake/targets.cmake (default: the best that this machine runs)")
    parser.add_argument("--budget", type=float, default=30, metavar="MIN", help="minutes for all of it (default: 30)")
    parser.add_argument("--threads", type=int, nargs="+", metavar="N", help="thread counts (default: 1 and all)")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each contestant and shape (default: 0.3)")
    parser.add_argument("--gain", type=float, default=1, metavar="PERCENT", help="what a candidate has to gain (default: 1)")
    parser.add_argument("--values", action="append", default=[], metavar="NAME=N,N", help="search only these values of this number")
    parser.add_argument("--no-adams", action="store_true", help="without Halide's Adams2019 autoscheduler")
    parser.add_argument("--shapes", type=Path, default=SHAPES, help="table of shapes (default: bench/shapes.json)")
    parser.add_argument("--out", type=Path, default=ROOT / "schedules/tuned", help="folder of the tuned files")
    parser.add_argument("--state", type=Path, default=ROOT / "build/tune", help="folder of what is known (build/tune)")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", help="the build (default: build/release)")
    return parser.parse_args(argv)


def chosen_generators(build: Build, op: str | None, values: set[str]) -> list[str]:
    """All of the operator, or the one, as far as they have the numbers that --values names."""
    names = list(build.generators)
    found = [n for n in names if op in (None, n) or any(k.generator == n and k.operation == op for k in build.kernels)]
    if not found:
        operations = sorted({k.operation for k in build.kernels if k.generator in names})
        raise TuneError(f"op: '{op}' is no operator ({', '.join(operations)}) and no generator ({', '.join(names)})")
    chosen = [name for name in found if values <= set(build.generators[name])]
    if not chosen:
        have = "; ".join(f"{name} has {', '.join(build.generators[name])}" for name in found)
        raise TuneError(f"--values: no generator has {', '.join(sorted(values))}: {have}")
    return chosen


def chosen_target(build: Build, present: Library, target: str | None) -> str:
    runs = [name for name, available in present.backends().items() if available]
    if target is not None and target not in runs:
        why = "this machine cannot run it" if target in build.targets else "unknown"
        raise TuneError(f"--target: '{target}': {why}; this machine runs {', '.join(runs)}")
    return target or runs[0]


def only_values(words: list[str]) -> dict[str, list[int]]:
    found = {}
    for word in words:
        name, _, numbers = word.partition("=")
        try:
            found[name] = [int(number) for number in numbers.split(",")]
        except ValueError:
            raise TuneError(f"--values: '{word}' is not NAME=N,N with whole numbers") from None
        if min(found[name]) < 1:
            raise TuneError(f"--values: '{word}': a number is at least 1")
    return found


def checked(arguments: argparse.Namespace) -> list[list]:
    """The shapes [operation, shape]; TuneError for what is out of range."""
    processors = len(os.sched_getaffinity(0))
    arguments.threads = arguments.threads or sorted({1, processors})
    if arguments.budget <= 0 or arguments.seconds <= 0:
        raise TuneError("--budget and --seconds must be above 0")
    if any(not 1 <= count <= processors for count in arguments.threads):
        raise TuneError(f"--threads: from 1 to {processors}")
    try:
        table = json.loads(arguments.shapes.read_text())
        shapes = [[operation, shape] for operation in ("spatial", "channel") for shape in table.get(operation, [])]
    except (OSError, ValueError, AttributeError) as error:
        raise TuneError(f"--shapes: {arguments.shapes}: {error}") from None
    if not shapes:
        raise TuneError(f"--shapes: {arguments.shapes} has no shape under \"spatial\" or \"channel\"")
    return shapes


def problems_of(build: Build, present: Path, backend: str, shapes: list, clock: Clock) -> dict[str, Problems]:
    """By generator. Which kernel a call runs, the library says."""
    job = {"step": "kernels", "backend": backend, "libraries": {"candidate": str(present)}, "shapes": shapes}
    done = run([sys.executable, MEASURE], clock, stdin=json.dumps(job))
    if done.code != 0:
        raise TuneError(f"the library of this build does not run: {done.reason()}")
    by_name = {f"{operation}/{shape['name']}": [operation, shape] for operation, shape in shapes}
    problems = {name: Problems() for name in build.generators}
    for line in map(json.loads, done.output.splitlines()):
        kernel = build.kernel_of(line["kernel"], backend)
        if kernel.generator not in problems:
            continue
        found = problems[kernel.generator]
        if "shape" in line:
            found.shapes.append(by_name[line["shape"]])
            found.kernels.add(kernel)
        else:
            found.small.setdefault(kernel, []).append(line["problem"])
    return problems


def opened(folder: Path, key: dict, show: Show) -> State:
    state = State(folder / "state.jsonl", key)
    if state.put_aside:
        show.line(f"{folder.name}: other {', '.join(state.put_aside)} than before; starts anew")
    elif state.records:
        count = len(state.candidates())
        show.line(f"{folder.name}: goes on; {count} candidates are known, best {state.ratio():.3f} x: {text(state.best())}")
    if not state.records:
        for old in folder.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
    return state


class Tuning:
    """One run of the tuner."""

    def __init__(self, arguments: argparse.Namespace, command: str):
        self.arguments, self.command = arguments, command
        self.clock = Clock(60 * arguments.budget)
        self.shapes = checked(arguments)
        self.build = Build(arguments.build.resolve())
        only = only_values(arguments.values)
        self.generators = chosen_generators(self.build, arguments.op, set(only))
        self.present = self.build.present_library(arguments.state.resolve(), self.clock)
        self.backend = chosen_target(self.build, Library(self.present, ""), arguments.target)
        self.options = Options(self.backend, arguments.threads, arguments.seconds, arguments.gain / 100)
        self.spaces = {
            name: Search(name, self.build.numbers(name, self.backend), self.build.machines[self.backend], only)
            for name in self.generators
        }
        self.show = Show(self.clock)

    def run(self) -> None:
        with self.show:
            self.show.doing("which kernel runs which shape")
            problems = problems_of(self.build, self.present, self.backend, self.shapes, self.clock)
            summary = []
            busy = [name for name in self.generators if problems[name].shapes]
            for name in (name for name in self.generators if name not in busy):
                self.show.line(f"{name}: no shape of {self.arguments.shapes.name} runs it; nothing to tune")
            for position, name in enumerate(busy):
                share = self.clock.sooner(self.clock.left() / (len(busy) - position))
                summary.append(self._generator(name, problems[name], share))
        for line in summary:
            self.show.line(line)

    def _key(self, **more) -> dict:
        return {
            "sources": self.build.digest(), "device": device(), "halide": self.build.facts["halide"],
            "threads": self.options.threads, **more,
        }  # fmt: skip

    def _generator(self, name: str, problems: Problems, clock: Clock) -> str:
        key = self._key(shapes=problems.shapes)
        folder = self.arguments.state.resolve() / f"{name}.{self.backend}"
        state = opened(folder, key, self.show)
        self.show.generator(name, state)
        search = GeneratorSearch(self.build, name, self.spaces[name], problems, state, self.options, self.show)
        final = None
        try:
            if name in ESTIMATED and not self.arguments.no_adams:
                self._adams(name, state, clock.sooner(ADAMS_SHARE * clock.left()))
            final = search.run(clock)
        except OutOfTime:
            pass
        return self._result(name, state, final)

    def _adams(self, name: str, state: State, clock: Clock) -> None:
        folder = self.arguments.state.resolve() / f"{name}.{self.backend}.adams2019"
        adams = Adams(self.build, name, State(folder / "state.jsonl", self._key()), self.options, self.show)
        self.show.line(adams.run(state.best(), clock))

    def _result(self, name: str, state: State, final: dict | None) -> str:
        count = len(state.candidates())
        path = self.arguments.out / f"{name}.{self.backend}.json"
        if state.find({}, "verified") is None:
            return f"{name}: time was up before the default was checked"
        if final is None and state.best():
            return f"{name}: {text(state.best())} not confirmed before time was up; the next run goes on"
        if final is None:
            kept = f"; {path} is there from before" if path.exists() else ""
            return f"{name}: none of {count} candidates is better than the default{kept}"
        self.show.table(f"{name}, {self.backend}: {text(final['numbers'])}", final["rows"])
        if final["ratio"] <= 1 + self.options.gain:
            return f"{name}: {text(final['numbers'])} is {final['ratio']:.3f} x the default; no file is written"
        write(path, final, self.spaces[name].defaults, self.build.facts["halide"], self.command, count)
        return f"{name}: {final['ratio']:.3f} x the default after {count} candidates, {path} written"


def main(argv: list[str]) -> int:
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        Tuning(arguments_of(argv), "./dev tune " + shlex.join(argv)).run()
    except TuneError as error:
        print(f"tune: {error}", file=sys.stderr)
        return 2
    except OutOfTime:
        print("tune: the budget is too short to begin", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        stop_all()
        print("tune: interrupted; what is known is kept, the next run goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
