"""The innermost loops of a device function that multiply matrices."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from muattn_tools.gpu_report.machine_code import Function

LEAST_FFMA = 32


@dataclass(frozen=True)
class Loop:
    instructions: int
    mix: Counter  # of names without modifiers; loads from shared memory with their width

    @property
    def ffma(self) -> int:
        return self.mix["FFMA"]

    @property
    def share(self) -> float:
        return self.ffma / self.instructions

    @property
    def is_guarded(self) -> bool:
        """P V again, where V is not finite: values of hidden keys are taken out, one by one."""
        return self.mix["SEL"] + self.mix["FSEL"] + self.mix["LOP3"] > self.ffma // 2

    @property
    def vector_loads(self) -> float:
        """The share of shared-memory loads that take two or four numbers."""
        loads = sum(n for name, n in self.mix.items() if name.startswith("LDS"))
        return (self.mix["LDS.128"] + self.mix["LDS.64"]) / loads if loads else 1.0


def product_loops(function: Function) -> list[Loop]:
    spans = []
    for at, instruction in enumerate(function.instructions):
        target = re.search(r"\.L_x_\d+", instruction.operands) if instruction.name.startswith("BRA") else None
        if target and function.labels.get(target[0], at + 1) <= at:
            spans.append((function.labels[target[0]], at))
    loops = []
    for first, last in spans:
        if any((f, e) != (first, last) and first <= f and e <= last for f, e in spans):
            continue
        body = function.instructions[first : last + 1]
        loop = Loop(len(body), Counter(short(i.name) for i in body))
        # Without shared memory it is a sum over parts, not a product.
        if loop.ffma >= LEAST_FFMA and any(name.startswith("LDS") for name in loop.mix):
            loops.append(loop)
    return loops


def short(name: str) -> str:
    base = name.split(".")[0]
    if base == "LDS":
        return base + next((width for width in (".128", ".64") if width in name), "")
    return base
