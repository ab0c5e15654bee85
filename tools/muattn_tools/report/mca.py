"""Cycles that llvm-mca predicts for straight-line code in a loop, on one core, with all data in the first-level cache."""

from __future__ import annotations

import json

from muattn_tools.report.instructions import Instruction
from muattn_tools.report.llvm_tools import MCA, run_tool

ITERATIONS = 200


def cycles_per_iteration(bodies: list[tuple[str, ...]], triple: str, core: str) -> list[float]:
    """Of each body: lines of assembly, run over and over."""
    distinct = list(dict.fromkeys(bodies))
    regions = "".join(f"# LLVM-MCA-BEGIN {n}\n" + "\n".join(lines) + "\n# LLVM-MCA-END\n" for n, lines in enumerate(distinct))
    output = run_tool(MCA, "--json", f"--iterations={ITERATIONS}", "--instruction-info=false", "--resource-pressure=false",
                      f"--mtriple={triple}", f"--mcpu={core}", stdin=regions)  # fmt: skip
    total = {distinct[int(region["Name"])]: region["SummaryView"]["TotalCycles"] for region in json.loads(output)["CodeRegions"]}
    return [total[lines] / ITERATIONS for lines in bodies]


def assembly(body: list[Instruction], architecture) -> tuple[str, ...]:
    """Without the targets of branches, which have no part in this, so that equal loops are equal."""
    return tuple(i.text if architecture.target(i) is None else f"{i.mnemonic} {', '.join((*i.operands[:-1], '0x0'))}" for i in body)
