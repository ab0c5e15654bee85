"""Searches the numbers of the schedules for this machine, see docs/tuning.md; ./dev tune runs this."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

from muattn_tools.arguments import cannot_write, processors
from muattn_tools.c_library import Library
from muattn_tools.command_lines import tune as command_line
from muattn_tools.machine_load import busy_line, load
from muattn_tools.problems import all_shapes, backward_shapes
from muattn_tools.provenance import device
from muattn_tools.tune.adams import ESTIMATED, Adams
from muattn_tools.tune.build import Build, Clock, OutOfTime, run, stop_all
from muattn_tools.tune.calls import kernels_of_call
from muattn_tools.tune.search import MEASURE, GeneratorSearch, Options, Problems
from muattn_tools.tune.show import Show
from muattn_tools.tune.space import Search, TuneError, text
from muattn_tools.tune.state import State
from muattn_tools.tune.tuned_file import Kept, read, write

ADAMS_SHARE = 0.5  # of a generator's time, the first time


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
    runs = [name for name, available in present.backends().items() if available and name in build.targets]
    target = target and target.removeprefix("cpu:")
    if target is not None and target not in runs:
        why = "this machine cannot run it" if target in build.targets else "no backend of this build"
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
    """The shapes [operation, direction, shape]; TuneError for what is out of range."""
    arguments.threads = arguments.threads or sorted({1, processors()})
    try:
        directions = {"forward": all_shapes(arguments.shapes), "backward": backward_shapes(arguments.shapes)}
        shapes = [[operation, direction, shape] for direction, found in directions.items() for operation, shape in found]
    except OSError as error:
        raise TuneError(f"--shapes: {arguments.shapes}: {error.strerror}") from None
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise TuneError(f"--shapes: {arguments.shapes} is no table of shapes: {error}") from None
    if not shapes:
        raise TuneError(f"--shapes: {arguments.shapes} has no shape under \"spatial\" or \"channel\"")
    return shapes


def problems_of(build: Build, present: Path, backend: str, shapes: list, clock: Clock) -> dict[str, Problems]:
    """By generator."""
    job = {"step": "kernels", "backend": backend, "libraries": {"candidate": str(present)}, "shapes": shapes}
    done = run(MEASURE, clock, stdin=json.dumps(job))
    if done.code != 0:
        raise TuneError(f"the library of this build does not run: {done.reason()}")
    problems = {name: Problems() for name in build.generators}
    shapes = iter(shapes)  # each has a line, in this order
    for line in map(json.loads, done.output.splitlines()):
        kernels = kernels_of_call(build, line["kernel"], line["layout"])
        before = {build.kernel_of(line["before"])} if line["before"] else set()
        shape = next(shapes) if "shape" in line else None
        for generator in {kernel.generator for kernel in kernels} & problems.keys():
            found, own = problems[generator], {kernel for kernel in kernels if kernel.generator == generator}
            found.others |= (kernels | before) - own
            if shape is not None:
                found.shapes.append(shape)
                found.kernels |= own
            else:
                for kernel in own:
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


def if_bad(kept: Kept, state: State) -> str:
    """What to say of a tuned file that the search found wanting."""
    if record := state.find(kept.numbers, "slower"):
        return f", at {record['ratio']:.3f} x {text(record['than'])}: better move it away"
    if record := state.find(kept.numbers, "rejected"):
        return f", though it was rejected ({record['reason']}): better move it away"
    return ""


def locked(folder: Path):
    """The folder's lock, as long as the file that is returned is open."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise TuneError(f"--state: another ./dev tune works in {folder}; wait for it, or name another folder") from None
    return file


class Tuning:
    """One run of the tuner."""

    def __init__(self, arguments: argparse.Namespace, command: str):
        self.arguments, self.command = arguments, command
        self.clock = Clock(60 * arguments.budget)
        shapes = checked(arguments)
        self.build = Build(arguments.build.resolve())
        self.shapes = [[*call, shape] for *call, shape in shapes if self.build.can_call(*call)]
        only = only_values(arguments.values)
        self.generators = chosen_generators(self.build, arguments.op, set(only))
        for option in ("out", "state"):
            if problem := cannot_write(getattr(arguments, option)):
                raise TuneError(f"--{option}: {problem}")
        self.lock = locked(arguments.state.resolve())
        self.present = self.build.present_library(arguments.state.resolve(), self.clock)
        self.backend = chosen_target(self.build, Library(self.present, ""), arguments.target)
        self.options = Options(self.backend, arguments.threads, arguments.seconds, arguments.gain / 100)
        self.spaces = {
            name: Search(name, self.build.numbers(name, self.backend), self.build.machines[self.backend], only)
            for name in self.generators
        }
        self.kept = {name: read(arguments.out / f"{name}.{self.backend}.json", self.spaces[name]) for name in self.generators}
        self.load = load()
        self.show = Show(self.clock)

    def run(self) -> None:
        self.show.doing("which kernel runs which shape")
        with self.show:
            if line := busy_line(self.load, os.cpu_count() or 1):
                self.show.line(line)
            problems = problems_of(self.build, self.present, self.backend, self.shapes, self.clock)
            summary = []
            idle = {name: self._why_idle(name, problems[name]) for name in self.generators}
            busy = [name for name in self.generators if not idle[name]]
            for name in (name for name in self.generators if idle[name]):
                self.show.line(f"{name}: {idle[name]}; nothing to tune")
            for position, name in enumerate(busy):
                share = self.clock.sooner(self.clock.left() / (len(busy) - position))
                summary.append(self._generator(name, problems[name], share))
        for line in summary:
            self.show.line(line)

    def _why_idle(self, name: str, problems: Problems) -> str:
        if not problems.shapes:
            return f"no shape of {self.arguments.shapes.name} runs it"
        return "" if self.spaces[name].can_be_tuned else "no number of it changes how its calls run"

    def _key(self, **more) -> dict:
        return {
            "sources": self.build.digest(), "device": device(), "halide": self.build.facts["halide"],
            "threads": self.options.threads, **more,
        }  # fmt: skip

    def _generator(self, name: str, problems: Problems, clock: Clock) -> str:
        key = self._key(shapes=problems.shapes, gain=self.options.gain)
        folder = self.arguments.state.resolve() / f"{name}.{self.backend}"
        state = opened(folder, key, self.show)
        self.show.generator(name, state)
        kept = self.kept[name]
        if kept:
            self.show.line(f"{name}: there is {kept}; it stays unless a candidate is better")
        numbers = kept.numbers if kept else {}
        search = GeneratorSearch(self.build, name, self.spaces[name], problems, state, self.options, self.show, numbers)
        final = None
        try:
            if name in ESTIMATED and not self.arguments.no_adams:
                self._adams(name, state, clock.sooner(ADAMS_SHARE * clock.left()))
            final = search.run(clock)
        except OutOfTime:
            pass
        return self._result(name, state, final, kept, "" if search.finished else " so far; time was up, the next run goes on")

    def _adams(self, name: str, state: State, clock: Clock) -> None:
        folder = self.arguments.state.resolve() / f"{name}.{self.backend}.adams2019"
        adams = Adams(self.build, name, State(folder / "state.jsonl", self._key()), self.options, self.show)
        self.show.line(adams.run(state.best(), clock))

    def _result(self, name: str, state: State, final: dict | None, kept: Kept | None, unfinished: str) -> str:
        count, best = len(state.candidates()), state.best()
        stays = f"; {kept.path} stays{if_bad(kept, state)}" if kept else ""
        if state.find({}, "verified") is None:
            return f"{name}: time was up before the default was checked{stays}"
        if kept and not state.tried(kept.numbers):
            return f"{name}: time was up before {kept.path} was compared; it stays"
        if final is None and kept and best and best == kept.numbers:
            return (
                f"{name}: none of {count} candidates is better than {kept.path}, {state.ratio():.3f} x the default; it stays{unfinished}"
            )
        if final is None and best:
            return f"{name}: {text(best)} not confirmed before time was up{stays}; the next run goes on"
        if final is None:
            return f"{name}: none of {count} candidates is better than the default{stays}{unfinished}"
        self.show.table(f"{name}, {self.backend}: {text(final['numbers'])}", final["rows"])
        if final["ratio"] <= 1 + self.options.gain:
            return f"{name}: {text(final['numbers'])} is {final['ratio']:.3f} x the default; no file is written{stays}"
        than_kept = final.get("than_kept")
        if than_kept is not None and than_kept <= 1 + max(0, self.options.gain):
            return f"{name}: {text(final['numbers'])} is {than_kept:.3f} x {kept.path}, which stays"
        path = self.arguments.out / f"{name}.{self.backend}.json"
        write(path, final, self.spaces[name].defaults, self.build.facts["halide"], self.command, count, self.load)
        instead = f" and {than_kept:.3f} x the file before" if than_kept is not None else ""
        return f"{name}: {final['ratio']:.3f} x the default{instead} after {count} candidates, {path} written"


def main(argv: list[str]) -> int:
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        Tuning(command_line().parse_args(argv), "./dev tune " + shlex.join(argv)).run()
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
