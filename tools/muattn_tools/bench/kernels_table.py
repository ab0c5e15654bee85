"""The JSON of ./dev bench as a table: a row per shape and number of threads."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from math import isnan, nan

from rich import box
from rich.console import Console
from rich.table import Table

from muattn_tools.machine_load import kept_warning

GOAL = 1.85  # how many times faster two threads should be
GOAL_TASKS = 8  # where there are so many tasks, at least, to share out
GOAL_MEMORY = 32.0  # MB a thread that gradients may need beside their tensors
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass
class Row:
    shape: str  # operation/name, or operation/backward/name
    threads: int
    error: str = ""
    kernel: str = ""
    seconds: float = nan
    gflops: float = nan
    gbytes: float = nan
    copy_gbytes: float = nan
    roofline: float = nan
    memory_bound: bool = False
    tasks: int = 0
    memory: float = nan  # MB beside the tensors
    speed_up: float = nan  # over one thread, where both were measured

    @property
    def below_goal(self) -> bool:
        return self.threads == 2 and self.tasks >= GOAL_TASKS and self.speed_up < GOAL


def read_rows(results: dict) -> list[Row]:
    """The best repetition of every benchmark."""
    best: dict[tuple[str, int], Row] = {}
    for entry in results["benchmarks"]:
        if entry["run_type"] != "iteration":
            continue
        row = _row(entry)
        key = row.shape, row.threads
        if key not in best or row.error or row.seconds < best[key].seconds:
            best[key] = row
    for (shape, _), row in best.items():
        if row.threads > 1 and (shape, 1) in best:
            row.speed_up = best[shape, 1].seconds / row.seconds
    return list(best.values())


def _row(entry: dict) -> Row:
    shape, threads = re.fullmatch(r"(.*)/(\d+)_threads/.*", entry["name"]).groups()
    row = Row(shape, int(threads))
    if entry.get("error_occurred"):
        row.error = entry["error_message"]
        return row
    row.kernel = entry["label"].split("/")[3]
    row.seconds = entry["real_time"] * SECONDS[entry["time_unit"]]
    row.gflops, row.gbytes, row.copy_gbytes = entry["GFLOP/s"], entry["GB/s"], entry["copy GB/s"]
    row.roofline, row.memory_bound, row.tasks = entry["roofline"], entry["memory_bound"] == 1, int(entry["tasks"])
    row.memory = entry["memory MB"]
    return row


def table(results: dict, rows: list[Row], style: box.Box = box.SIMPLE_HEAD) -> Table:
    context = results["context"]
    title = "muattn {}, {}, {}; {}, commit {}; {}".format(
        context["muattn"], results["device"], results["backend"], results["date"], results["commit"], results["command"])
    made = Table(title=title, title_justify="left", box=style, pad_edge=style is box.MARKDOWN)
    for name in ("shape", "kernel"):
        made.add_column(name, no_wrap=True)
    for name in ("threads", "time", "GFLOP/s", "GB/s", "of copy", "of roofline", "speed-up"):
        made.add_column(name, justify="right", no_wrap=True)
    if backward := context.get("direction") == "backward":
        made.add_column("memory MB", justify="right", no_wrap=True)
    previous = ""
    for row in rows:
        shape, previous = ("" if row.shape == previous else row.shape), row.shape
        if row.error:
            made.add_row(shape, "[red]failed[/]", str(row.threads))
            continue
        speed_up = "" if isnan(row.speed_up) else f"{row.speed_up:.2f}"
        made.add_row(
            shape, row.kernel, str(row.threads), duration(row.seconds), f"{row.gflops:.1f}", f"{row.gbytes:.1f}",
            f"{row.gbytes / row.copy_gbytes:.0%}", f"{row.roofline:.0%} {'memory' if row.memory_bound else 'compute'}",
            f"[bold red]{speed_up}[/]" if row.below_goal else speed_up, *([f"{row.memory:.3g}"] if backward else []),
        )  # fmt: skip
    return made


def duration(seconds: float) -> str:
    unit, scale = ("ms", 1e3) if seconds >= 1e-4 else ("us", 1e6)
    return f"{scale * seconds:#.3g}".rstrip(".") + f" {unit}"


def verdict(results: dict, rows: list[Row]) -> list[str]:
    """What the table's rows are compared with, what failed, and where two threads fall short."""
    context = results["context"]
    limits = []
    for threads in sorted({row.threads for row in rows}):
        suffix = f", {threads} threads"
        peak, copy = float(context["peak GFLOP/s" + suffix]), float(context["copy GB/s" + suffix])
        limits.append(f"{threads} thread{'s' * (threads > 1)} {peak:.0f} GFLOP/s, copy {copy:.1f} GB/s")
    lines = [*kept_warning(results), "Limits at the start: " + "; ".join(limits) + "."]
    lines += [f"FAILED: {row.shape}, {row.threads} threads: {row.error}" for row in rows if row.error]
    judged = [row for row in rows if row.threads == 2 and row.tasks >= GOAL_TASKS and not isnan(row.speed_up)]
    if judged:
        below = [f"{row.shape} {row.speed_up:.2f}" for row in judged if row.below_goal]
        lines.append(
            f"Two threads are below {GOAL} times one in {len(below)} of {len(judged)} shapes with {GOAL_TASKS} tasks or more"
            + ": " * bool(below) + ", ".join(below) + "."
        )  # fmt: skip
    if context.get("direction") == "backward" and (measured := [row for row in rows if not row.error]):
        most = max(measured, key=lambda row: row.memory / row.threads)
        lines.append(
            f"Beside its tensors a call needs at most {most.memory / most.threads:.3g} MB a thread (goal: {GOAL_MEMORY:.0f}): "
            f"{most.shape}, {most.threads} threads."
        )  # fmt: skip
    return lines


def markdown(results: dict, rows: list[Row]) -> str:
    file = io.StringIO()
    console = Console(file=file, width=200)
    console.print(table(results, rows, box.MARKDOWN))
    console.print("\n\n".join(verdict(results, rows)), soft_wrap=True, markup=False)
    return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())
