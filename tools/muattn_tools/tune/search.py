"""The search for one generator's numbers: from the best so far to its neighbours, as long as time is left."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from muattn_tools.tune.build import Build, Clock, Failed, Kernel, OutOfTime, folder_name, run
from muattn_tools.tune.space import Numbers, Search, TuneError, text
from muattn_tools.tune.state import State

MEASURE = [sys.executable, "-m", "muattn_tools.tune.measure"]
CLEARLY_SLOWER = 0.97
QUICK_LOSS = 0.10  # a candidate that is that much slower at first glance is not looked at again


@dataclass
class Options:
    backend: str
    threads: list[int]
    seconds: float  # for each contestant and shape
    gain: float  # what a candidate has to gain


@dataclass
class Problems:
    """What a generator's kernels run: shapes of the table, and small problems [operation, direction, name] by kernel."""

    shapes: list = field(default_factory=list)  # [operation, direction, shape]
    kernels: set[Kernel] = field(default_factory=set)  # of the shapes
    small: dict[Kernel, list] = field(default_factory=dict)
    others: set[Kernel] = field(default_factory=set)  # of other generators, that these calls run too


@dataclass
class Measured:
    rejected: str | None
    accepted: bool
    ratio: float | None
    rows: list


class GeneratorSearch:
    def __init__(
        self, build: Build, generator: str, space: Search, problems: Problems, state: State, options: Options, show,
        kept: Numbers,
    ):
        """kept: the numbers of the tuned file that is there, none if they are the default."""
        self.build, self.generator, self.space, self.problems = build, generator, space, problems
        self.state, self.options, self.show, self.kept = state, options, show, kept
        self.folder = state.path.parent
        self.finished = False  # every neighbour of the best has been tried
        self.all_kernels = [kernel for kernel in build.kernels_for(options.backend) if kernel.generator == generator]
        used = self.problems.kernels
        self.kernels = [k for k in self.all_kernels if space.all_kernels or k in used]
        self.others = [k for k in build.kernels_for(options.backend) if k in problems.others]

    def run(self, clock: Clock) -> dict | None:
        """The final record of the best, or None: none is better than the default and than the kept file, or time ran out."""
        self._verify_default(clock)
        if self.kept and not self.state.tried(self.kept):
            self._try(self.state.best(), self.kept, clock)
        while True:
            best = self.state.best()
            searching = clock.sooner(clock.left() - self._time_to_finish(best))
            try:
                candidate = self._next(best)
                if candidate is None:
                    self.finished = True
                    self.show.line(f"every neighbour of the best has been tried ({len(self.state.candidates())} candidates)")
                    break
                self._try(best, candidate, searching)
            except OutOfTime:
                break
        while (best := self.state.best()) and best != self.kept:
            final = self._finish(best, clock)
            if final["result"] == "final":
                return final
        return None

    def _next(self, best: Numbers) -> Numbers | None:
        """The first neighbour that has not been tried; those last that repeat a step which was clearly wrong elsewhere."""
        wrong = {
            step
            for record in self.state.candidates()
            if record["result"] == "rejected" or record["ratio"] < CLEARLY_SLOWER
            for step in self._steps(record["than"], record["numbers"])
        }
        untried = [c for c in self.space.neighbours(best) if not self.state.tried(c)]
        return min(untried, key=lambda candidate: bool(wrong & self._steps(best, candidate)), default=None)

    def _steps(self, numbers: Numbers, candidate: Numbers) -> set[tuple[str, int]]:
        return set((self.space.defaults | candidate).items()) - set((self.space.defaults | numbers).items())

    def _library(self, numbers: Numbers, clock: Clock, kernels: list[Kernel] | None = None) -> Path:
        folder = self.folder / folder_name(numbers)
        return self.build.candidate(kernels or self.kernels, numbers, folder, clock, self.others)

    def _verify_default(self, clock: Clock) -> None:
        if self.state.find({}, "verified"):
            return
        self.show.doing("building the default")
        start = time.monotonic()
        try:
            library = self._library({}, clock)
        except Failed as failure:
            raise TuneError(f"{self.generator}: the default schedule cannot be built: {failure}") from None
        built = time.monotonic()
        self.show.doing("checking the default")
        measured = self._measure({"candidate": library}, self.kernels, [], clock)
        if measured.rejected:
            raise TuneError(f"{self.generator}: the default schedule itself is rejected: {measured.rejected}")
        self.state.add({}, "verified", build=built - start, check=time.monotonic() - built)

    def _try(self, best: Numbers, candidate: Numbers, clock: Clock) -> None:
        """The kept file's numbers become the best unless they are clearly slower; others have to show a gain."""
        is_kept = candidate == self.kept
        self.show.doing(f"building {text(candidate)}")
        start = time.monotonic()
        libraries = {"best": self._library(best, clock)}
        try:
            libraries["candidate"] = self._library(candidate, clock)
        except Failed as failure:
            measured = Measured(str(failure), False, None, [])
        else:
            self.show.doing(f"measuring {text(candidate)}")
            measured = self._measure(libraries, self.kernels, ["full"] if is_kept else ["quick", "full", "confirm"], clock)
            if is_kept and not measured.rejected:
                measured.accepted = measured.ratio > 1 - abs(self.options.gain)
        result = "rejected" if measured.rejected else "accepted" if measured.accepted else "slower"
        record = self.state.add(
            candidate, result, than=best, ratio=measured.ratio, reason=measured.rejected, rows=measured.rows,
            seconds=time.monotonic() - start,
        )  # fmt: skip
        self.show.candidate(record, self.state)
        self._clean(best if result != "accepted" else candidate)

    def _measure(self, libraries: dict, kernels: list[Kernel], times: list[str], clock: Clock) -> Measured:
        """A measurement in a process of its own. Not more than a few times as long as the default's check."""
        problems = list(dict.fromkeys(tuple(problem) for kernel in kernels for problem in self.problems.small.get(kernel, [])))
        job = {
            "step": "measure", "backend": self.options.backend, "libraries": {k: str(v) for k, v in libraries.items()},
            "shapes": self.problems.shapes, "problems": problems, "times": times, "threads": self.options.threads,
            "seconds": self.options.seconds, "gain": self.options.gain, "quick_loss": QUICK_LOSS,
        }  # fmt: skip
        verified = self.state.find({}, "verified")
        limit = 120 + 30 * verified["check"] if verified else float("inf")
        done = run(MEASURE, clock, limit, json.dumps(job))
        lines = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
        rejected = next((line["rejected"] for line in lines if "rejected" in line), None)
        if rejected is None and done.code != 0:
            if done.code > 0:
                raise TuneError(f"a measurement failed: {done.reason()}")
            rejected = done.reason()
        steps = [line for line in lines if "ratio" in line]
        last = steps[-1] if steps else {"ratio": None, "rows": []}
        # The gain of the two long measurements, the smaller one; where there is one measurement only, that.
        ratio = min((line["ratio"] for line in steps if line["step"] != "quick"), default=last["ratio"])
        accepted = rejected is None and any(line.get("step") == "done" for line in lines)
        return Measured(rejected, accepted, ratio, last["rows"])

    def _time_to_finish(self, best: Numbers) -> float:
        """What _finish() will take: the rest of the kernels, and a measurement against the default and the kept file."""
        if not best or best == self.kept or self._known_final(best):
            return 0
        each = self.state.find({}, "verified")["build"] / len(self.kernels)
        rest = len(self.all_kernels) - len(self.kernels)
        return 1.3 * rest * each + 2 * (1 + bool(self.kept)) * self.state.find(best, "accepted")["seconds"]

    def _known_final(self, best: Numbers) -> dict | None:
        """Of an earlier run, if the same file was there then."""
        known = self.state.find(best, "final")
        return known if known and known.get("kept", {}) == self.kept else None

    def _finish(self, best: Numbers, clock: Clock) -> dict:
        """Builds all kernels of the generator with the best numbers, checks them, and times them against the default and the kept file."""
        if known := self._known_final(best):
            return known
        self.show.doing(f"building every kernel with {text(best)}")
        try:
            libraries = {"best": self._library({}, clock), "candidate": self._library(best, clock, self.all_kernels)}
        except Failed as failure:
            return self.state.add(best, "rejected", than={}, ratio=None, reason=str(failure), rows=[])
        self.show.doing("the best against the default")
        measured = self._measure(libraries, self.all_kernels, ["final"], clock)
        if measured.rejected:
            return self.state.add(best, "rejected", than={}, ratio=None, reason=measured.rejected, rows=[])
        self.show.line(f"every kernel of the generator built and checked with {text(best)}")
        return self.state.add(
            best, "final", ratio=measured.ratio, rows=measured.rows, kept=self.kept, than_kept=self._than_kept(libraries, clock)
        )

    def _than_kept(self, libraries: dict, clock: Clock) -> float | None:
        """The kept file's time over that of the best; None where there is no such file, or what it holds was rejected."""
        if not self.kept or self.state.find(self.kept, "rejected"):
            return None
        self.show.doing("the best against the kept file")
        libraries = {"best": self._library(self.kept, clock), "candidate": libraries["candidate"]}
        measured = self._measure(libraries, [], ["final"], clock)
        return measured.ratio or 0.0

    def _clean(self, best: Numbers) -> None:
        """Keeps the libraries of the default, of the kept file and of the best."""
        keep = {folder_name({}), folder_name(self.kept), folder_name(best)}
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)
