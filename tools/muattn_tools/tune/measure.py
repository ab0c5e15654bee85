"""One measurement, in a process of its own, so that a kernel that crashes ends nothing but the measurement. Reads a job as
JSON from standard input and writes a line of JSON for each step that is done.

  "step": "kernels"   which kernel each shape and each small problem runs, and the forward call before it
  "step": "measure"   compares the candidate with the reference, under NaN in the scratch memory; then times it against the
                      best so far, in turn on the same arrays: the steps of "times", as long as the candidate is faster

Both take "backend", "libraries" {"best", "candidate"} and "shapes" [[operation, direction, shape], ...]; "measure" also "problems"
[[operation, direction, name], ...], "times", "threads", "seconds" for each contestant and shape, "gain" and "quick_loss"."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Iterable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from muattn_tools.c_library import Library
from muattn_tools.tune.cases import TOLERANCE, Case, timed
from muattn_tools.tune.small_cases import small

MOST_SCRATCH_BYTES = 32 << 20  # of a thread
QUICK_SECONDS = 0.05
LEAST_CALLS = {"quick": 2, "full": 4, "confirm": 4, "final": 8}
FINAL_TIMES_AS_LONG = 3


class Rejected(Exception):
    pass


def report(**line) -> None:
    print(json.dumps(line), flush=True)


def report_kernels(library: Library, cases: Iterable[Case], what: str) -> None:
    """Which kernel a call runs, the library that is there now tells. what: the case is."""
    for case in cases:
        before = library.last_kernel() if case.prepare(library) else None
        case.call(library)()
        problem = [case.operation, case.direction, case.name]
        report(**{what: problem}, kernel=library.last_kernel(), before=before, layout=case.options.get("layout"))


def check(library: Library, cases: list[Case]) -> None:
    library.poison(True)
    for case in cases:
        call = case.call(library)
        try:
            case.prepare(library)
            for array in case.outputs.values():
                array.fill(np.nan)
            call()
        except RuntimeError as error:
            raise Rejected(f"{case.name}: {error}") from None
        for name, error in case.errors().items():
            if not error <= TOLERANCE:
                raise Rejected(f"{case.name}: {name} is wrong, error {error:.2g}")
        if case.wide and (size := bytes_per_thread(library, call)) > MOST_SCRATCH_BYTES:
            raise Rejected(f"{case.name}: a thread needs {size >> 20} MiB of scratch memory")
    library.poison(False)


def bytes_per_thread(library: Library, call) -> int:
    """What a second thread adds: the memory that all tasks of a call share does not count."""
    sizes = []
    for threads in (1, 2):
        library.release_memory()
        library.set_threads(threads)
        call()
        sizes.append(library.scratch_bytes())
    return sizes[1] - sizes[0]


def best_times(calls: dict, seconds: float, least: int) -> dict[str, float]:
    """Best time of each in milliseconds, one call of each in turn: until the time is spent, and a least number of calls."""
    best, spent, count = dict.fromkeys(calls, math.inf), 0.0, 0
    while count < least or spent < seconds * len(calls):
        order = list(calls) if count % 2 == 0 else list(reversed(calls))
        for name in order:
            start = time.perf_counter()
            calls[name]()
            elapsed = time.perf_counter() - start
            best[name] = min(best[name], elapsed)
            spent += elapsed
        count += 1
    return {name: 1e3 * t for name, t in best.items()}


def compare(libraries: dict[str, Library], cases: list[Case], thread_counts: list[int], seconds: float, step: str) -> float:
    """Reports the times of every shape; the geometric mean of best over candidate, above 1 if the candidate is faster."""
    logs, rows = [], []
    for case in cases:
        for threads in thread_counts:
            calls = {}
            for name, library in libraries.items():
                library.set_threads(threads)
                calls[name] = case.call(library)
                calls[name]()
            times = best_times(calls, seconds, LEAST_CALLS[step])
            logs.append(math.log(times["best"] / times["candidate"]))
            rows.append({"shape": case.name, "threads": threads, "milliseconds": times})
    ratio = math.exp(sum(logs) / len(logs))
    report(step=step, ratio=ratio, rows=rows)
    return ratio


def same_outputs(libraries: dict[str, Library], cases: list[Case]) -> None:
    """The whole outputs of the timed shapes; another schedule may round differently, no more."""
    for case in cases:
        of_best = {}
        for which in ("best", "candidate"):
            for output in case.outputs.values():
                output.fill(np.nan)
            case.call(libraries[which])()
            of_best = of_best or {name: output.copy() for name, output in case.outputs.items()}
        for name, output in case.outputs.items():
            if not (error := case.error(output, of_best[name])) <= 2 * TOLERANCE:
                raise Rejected(f"{case.name}: {name} differs from the best so far by {error:.2g}")


def main() -> None:
    job = json.load(sys.stdin)
    libraries = {name: Library(path, job["backend"]) for name, path in job["libraries"].items()}
    rng = np.random.default_rng(1)
    cases = (timed(operation, direction, shape, rng) for operation, direction, shape in job["shapes"])
    candidate = libraries["candidate"]
    if job["step"] == "kernels":
        report_kernels(candidate, cases, "shape")
        for operation, direction in sorted({(operation, direction) for operation, direction, _ in job["shapes"]}):
            report_kernels(candidate, small(operation, direction), "problem")
        return
    cases = list(cases)
    try:
        problems = [case for call in sorted({(o, d) for o, d, _ in job["problems"]}) for case in small(*call)]
        named = {(case.operation, case.direction, case.name): case for case in problems}
        check(candidate, [named[tuple(problem)] for problem in job["problems"]])
        check(candidate, cases)
        if "best" in libraries:
            same_outputs(libraries, cases)
        report(step="check")
        for step in job["times"]:
            threads, seconds = job["threads"], job["seconds"]
            if step == "quick":
                threads, seconds = threads[:1], min(seconds, QUICK_SECONDS)
            elif step == "final":
                seconds *= FINAL_TIMES_AS_LONG
            ratio = compare(libraries, cases, threads, seconds, step)
            least = 1 + job["gain"] - (job["quick_loss"] if step == "quick" else 0)
            if ratio <= least:
                break
        else:
            report(step="done")
    except Rejected as reason:
        report(rejected=str(reason))


if __name__ == "__main__":
    main()
