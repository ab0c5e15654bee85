"""The static report, see docs/report.md; ./dev report runs this on build/release."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from muattn_tools.command_lines import report as command_line
from muattn_tools.progress import Steps
from muattn_tools.report.baseline import compare, loop_entry, write_baseline
from muattn_tools.report.built_kernels import Kernel, judges_of, load_kernels
from muattn_tools.report.kernel_facts import Facts, cores_of, gather
from muattn_tools.report.llvm_tools import ToolError, mca_version
from muattn_tools.report.report_tables import CAPTION, every_loop, markdown, overview, show
from muattn_tools.tables import UnknownMachine

WIDTH = 140


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line()
    arguments = parser.parse_args(argv)
    if arguments.update and arguments.filter:
        parser.error("--update takes all kernels: no --filter with it")
    if not arguments.kernels.is_file():
        parser.error(f"--kernels: no file {arguments.kernels}; ./dev setup builds it")
    if not any(arguments.filter in kernel.symbol for kernel in load_kernels(arguments.kernels)):
        parser.error(f"--filter: no kernel's symbol contains '{arguments.filter}'")
    if arguments.check and not arguments.baseline.is_file():
        parser.error(f"--baseline: no file {arguments.baseline}; --update writes it")
    for option in ("json", "markdown"):
        if path := getattr(arguments, option):
            parser.need_file(f"--{option}", path)
    if arguments.update:
        parser.need_file("--baseline", arguments.baseline)
    return arguments


def read(kernels: list[Kernel]) -> list[Facts]:
    with Steps("report", len(kernels) + len(cores_of(kernels))) as steps:
        steps.at(0, "disassembly, llvm-mca")
        return gather(kernels, steps.advance)


def check(facts: list[Facts], path: Path, complete: bool) -> int:
    """Regressions last, and of the last line enough to know what to look for."""
    baseline = json.loads(path.read_text())
    if baseline["llvm"] != mca_version():
        print(f"cycles are not compared: here is LLVM {mca_version()}, the baseline's is {baseline['llvm']}")
    changes = compare(facts, baseline, complete)
    worse = [change for change in changes if change.worse]
    for change in changes:
        if not change.worse:
            print(f"better: {change}")
    for change in worse:
        print(f"worse: {change}")
    if worse:
        more = f", and {len(worse) - 1} more" if len(worse) > 1 else ""
        print(f"report: {worse[0]}{more}; if that is meant: ./dev report --update")
        return 1
    keep = "; to keep what is better: ./dev report --update" if changes else ""
    print(f"report: {len(facts)} kernels, none worse than {path.name}{keep}")
    return 0


def as_json(facts: list[Facts]) -> dict:
    kernels = {}
    for f in facts:
        cores = judges_of(f.kernel).cores
        kernels[f.kernel.symbol] = {
            "target": f.kernel.target,
            "code_bytes": f.code_bytes,
            "all_spills": f.all_spills,
            "all_gathers": f.all_gathers,
            "loops": [
                {"function": loop.function, "address": loop.address, "product_loop": loop in f.product_loops}
                | loop_entry(loop, cores)
                | {"of_peak": {core: round(loop.of_peak(core), 4) for core in cores}}
                for loop in f.loops
            ],
        }
    return {"llvm": mca_version(), "kernels": kernels}


def main(argv: list[str] | None = None) -> int:
    arguments = arguments_of(argv)
    try:
        facts = read([kernel for kernel in load_kernels(arguments.kernels) if arguments.filter in kernel.symbol])
        if arguments.json:
            arguments.json.write_text(json.dumps(as_json(facts), indent=1) + "\n")
        tables = overview(facts) + (every_loop(facts) if arguments.all else [])
        if arguments.markdown:
            arguments.markdown.write_text(markdown(tables))
        if arguments.check:
            return check(facts, arguments.baseline, complete=not arguments.filter)
        if arguments.update:
            write_baseline(facts, arguments.baseline)
            print(f"report: {arguments.baseline}: {len(facts)} kernels")
            return 0
        console = Console()
        console.width = max(console.width, WIDTH)  # a line too long for the terminal is easier to read than cells cut in two
        show(tables, console)
        console.print(CAPTION)
    except (ToolError, UnknownMachine) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"report: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
