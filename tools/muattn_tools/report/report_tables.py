"""The report as tables: rows of text, for the terminal and for Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from muattn_tools.report.built_kernels import Kernel, judges_of
from muattn_tools.report.kernel_facts import Facts
from muattn_tools.report.kernel_loops import Loop

CAPTION = (
    "loops: the innermost loops of matrix products; FMA to gathers: what one iteration holds, worst to best. all: in the whole\n"
    "kernel. Per core: the percentage of its FMA peak that llvm-mca predicts for the loops. More: docs/report.md"
)
INDENT = "  "
LOOP_HEADERS = ["FMA", "share %", "spills", "reloads", "gathers"]


@dataclass(frozen=True)
class Table:
    title: str
    headers: list[str]
    rows: list[list[str]]
    alarms: set[tuple[int, int]]  # cells that should catch the eye


def span(values: list[float], form: str, worst=min) -> str:
    """`worst` of them, and the best if it is another."""
    if not values:
        return "-"
    best = max if worst is min else min
    ends = [format(worst(values), form), format(best(values), form)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"


def group_of(kernel: Kernel, facts: list[Facts]) -> str:
    """What a kernel does; direction and type only if there are several."""
    several = [part for part in ("direction", "dtype") if len({getattr(f.kernel, part) for f in facts}) > 1]
    return ", ".join(getattr(kernel, part) for part in ["operation", *several])


def percent(loop: Loop, core: str) -> float:
    return 100 * loop.of_peak(core)


def overview(facts: list[Facts]) -> list[Table]:
    """A table per backend, a line per kernel."""
    tables = []
    for backend in dict.fromkeys(f.kernel.backend for f in facts):
        chosen = [f for f in facts if f.kernel.backend == backend]
        cores = judges_of(chosen[0].kernel).cores
        table = Table(backend, ["kernel", "code kB", "loops", *LOOP_HEADERS, "all spills", "all gathers", *cores], [], set())
        group = ""
        for f in chosen:
            if group != group_of(f.kernel, facts):
                group = group_of(f.kernel, facts)
                table.rows.append([group] + [""] * (len(table.headers) - 1))
            loops = f.product_loops
            counts = [[getattr(loop, name) for loop in loops] for name in ("spills", "reloads", "gathers")]
            table.alarms.update((len(table.rows), 5 + n) for n, values in enumerate(counts) if any(values))
            table.rows.append([
                INDENT + f.kernel.name, f"{f.code_bytes / 1000:.1f}", str(len(loops)),
                span([loop.multiply_adds for loop in loops], "d"), span([100 * loop.share for loop in loops], ".0f"),
                *(span(values, "d", worst=max) for values in counts), str(f.all_spills), str(f.all_gathers),
                *(span([percent(loop, core) for loop in loops], ".0f") for core in cores),
            ])  # fmt: skip
        tables.append(table)
    return tables


def every_loop(facts: list[Facts]) -> list[Table]:
    """A table per kernel and backend, a line per loop."""
    tables = []
    for f in facts:
        cores = judges_of(f.kernel).cores
        table = Table(f.kernel.symbol, ["function", "address", "length", *LOOP_HEADERS, *cores], [], set())
        for loop in f.loops:
            counts = [loop.spills, loop.reloads, loop.gathers]
            table.alarms.update((len(table.rows), 5 + n) for n, value in enumerate(counts) if value)
            table.rows.append([
                loop.function.removeprefix(f.kernel.symbol).removeprefix("_par_for_") or "(entry)", f"{loop.address:#x}",
                str(len(loop.body)), str(loop.multiply_adds), f"{100 * loop.share:.0f}", *map(str, counts),
                *(f"{loop.cycles[core]:.1f}, {percent(loop, core):.0f} %" for core in cores),
            ])  # fmt: skip
        tables.append(table)
    return tables


def show(tables: list[Table], console: Console) -> None:
    for table in tables:
        shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for n, header in enumerate(table.headers):
            lines = header.replace(" ", "\n").replace("-", "-\n")
            shown.add_column(lines, justify="right" if n else "left", no_wrap=True)
        for r, row in enumerate(table.rows):
            if row[0] and not any(row[1:]):
                shown.add_section()
            shown.add_row(*(f"[bold red]{cell}[/]" if (r, c) in table.alarms else cell for c, cell in enumerate(row)))
        console.print(shown)


def markdown(tables: list[Table]) -> str:
    lines = []
    for table in tables:
        lines += [f"### {table.title}", "", "| " + " | ".join(table.headers) + " |", "|---" * len(table.headers) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
    return "\n".join(lines)
