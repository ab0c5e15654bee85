"""The static report of the CUDA kernels, without a device: registers and spills under the cap that the library gives drivers, shared
memory, occupancy, and what the loops of the products consist of. The last line says whether a bar is missed; then the exit
code is 1. See docs/gpu.md.

./dev report --gpu runs this on build/release."""

from __future__ import annotations

import argparse
import json
import sys

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from muattn_tools.command_lines import report_gpu as command_line
from muattn_tools.gpu_report.cuda_facts import BARRED_HEAD_DIMS, LEAST_SHARE, Facts, cuda_kernels, gather
from muattn_tools.gpu_report.machine_code import ToolError
from muattn_tools.paths import ROOT

SETTINGS = ROOT / "runtime/src/gpu/cuda_max_registers.txt"


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line()
    arguments = parser.parse_args(argv)
    if not arguments.kernels.is_file():
        parser.error(f"--kernels: no file {arguments.kernels}; ./dev setup builds it")
    if not any(arguments.filter in kernel["symbol"] for kernel in cuda_kernels(arguments.kernels)):
        parser.error(f"--filter: no CUDA kernel's symbol contains '{arguments.filter}'")
    return arguments


def percent(values: list[float]) -> str:
    return ", ".join(f"{100 * value:.0f}" for value in values) or "-"


def table_of(facts: list[Facts], everything: bool) -> Table:
    table = Table("kernel", "arch", "threads", "registers", "spills", "shared", "warps/SM", "FFMA %", "FFMA % guarded", "vector loads %",
                  box=box.SIMPLE_HEAD)  # fmt: skip
    for f in facts:
        if not everything and not f.loops:
            continue
        name = f.kernel.removeprefix("kernel_").removesuffix("_cuda") + (f" {f.function}" if everything else "")
        table.add_row(name, f.architecture, str(f.launch.threads), str(f.registers), str(f.spill_bytes), str(f.launch.shared_bytes),
                      str(f.warps), percent([loop.share for loop in f.products]),
                      percent([loop.share for loop in f.loops if loop.is_guarded]), percent([loop.vector_loads for loop in f.products]),
                      style="bold red" if f.missed() else None)  # fmt: skip
    return table


def as_json(facts: list[Facts]) -> list[dict]:
    return [
        {
            "kernel": f.kernel,
            "function": f.function,
            "architecture": f.architecture,
            "registers": f.registers,
            "spill_bytes": f.spill_bytes,
            "threads": f.launch.threads,
            "shared_bytes": f.launch.shared_bytes,
            "warps": f.warps,
            "loops": [{"instructions": loop.instructions, "guarded": loop.is_guarded, "mix": dict(loop.mix)} for loop in f.loops],
            "missed": f.missed(),
        }
        for f in facts
    ]


def without_products(facts: list[Facts]) -> list[tuple[str, str]]:
    """Kernels of a barred head dimension of which no function has a loop that was taken for a product: the bars would hold of nothing."""
    barred = [f for f in facts if f.head_dim in BARRED_HEAD_DIMS]
    return sorted({(f.kernel, f.architecture) for f in barred} - {(f.kernel, f.architecture) for f in barred if f.loops})


def main(argv: list[str] | None = None) -> int:
    arguments = arguments_of(argv)
    kernels = [kernel for kernel in cuda_kernels(arguments.kernels) if arguments.filter in kernel["symbol"]]
    max_registers = int(SETTINGS.read_text())
    try:
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("ptxas, nvdisasm", total=len(kernels))
            facts = gather(kernels, max_registers, lambda: progress.advance(task))
    except ToolError as problem:
        print(f"report: {problem}", file=sys.stderr)
        return 2
    Console(width=None if sys.stdout.isatty() else 160).print(table_of(facts, arguments.all))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(facts), indent=1) + "\n")
    missed = [f"{f.kernel} on {f.architecture}: {problem}" for f in facts for problem in f.missed()]
    missed += [f"{kernel} on {architecture}: no loop of its products found" for kernel, architecture in without_products(facts)]
    for line in missed:
        print(f"missed: {line}")
    if missed:
        print(f"report: {len(missed)} bars missed, the first by {missed[0]}")
        return 1
    print(f"report: {len(kernels)} CUDA kernels under a cap of {max_registers} registers: no spills, 48 KiB of shared memory at most, "
          f"vector loads, and at d = 64 and 128 at least {100 * LEAST_SHARE:.0f} % FFMA in both products")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
