"""All facts of all kernels."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass

from muattn_tools.report.built_kernels import Kernel, judges_of
from muattn_tools.report.disassembly import disassemble, innermost_loops
from muattn_tools.report.kernel_loops import Loop, describe, stack_accesses
from muattn_tools.report.mca import assembly, cycles_per_iteration

WORKERS = 2


@dataclass
class Facts:
    kernel: Kernel
    code_bytes: int
    loops: list[Loop]  # those with multiply-adds into accumulators, in the order of the code
    all_spills: int  # in the whole kernel
    all_gathers: int

    @property
    def product_loops(self) -> list[Loop]:
        """The loops that the work is in. A kernel also has smaller ones, such as the norms of channels."""
        largest = max((loop.multiply_adds for loop in self.loops), default=0)
        return [loop for loop in self.loops if 2 * loop.multiply_adds >= largest]


def read_kernel(kernel: Kernel) -> Facts:
    """All but the cycles."""
    architecture = judges_of(kernel).instructions()
    code_bytes, functions = disassemble(kernel.library, architecture)
    loops: list[Loop] = []
    spills = gathers = 0
    for function in functions:
        frame = architecture.frame_registers(function.instructions)
        spills += stack_accesses(function.instructions, architecture, frame)[0]
        gathers += sum(map(architecture.is_gather, function.instructions))
        loops += [describe(function, body, architecture, frame) for body in innermost_loops(function, architecture)]
    return Facts(
        kernel=kernel,
        code_bytes=code_bytes,
        loops=[loop for loop in loops if loop.multiply_adds],
        all_spills=spills,
        all_gathers=gathers,
    )


def predict(facts: list[Facts], core: str) -> None:
    """The cycles of all loops on this core, and those of their multiply-adds alone."""
    judged = [f for f in facts if core in judges_of(f.kernel).cores]
    judges = judges_of(judged[0].kernel)
    architecture = judges.instructions()
    loops = [loop for f in judged for loop in f.loops]
    if not loops:
        return
    peaks = {key: architecture.peak(*key) for key in {(loop.fused, loop.width) for loop in loops}}
    bodies = [assembly(loop.body, architecture) for loop in loops] + list(peaks.values())
    cycles = cycles_per_iteration(bodies, judges.triple, core)
    peak_cycles = {key: c / (len(lines) if key[0] else len(lines) / 2)
                   for (key, lines), c in zip(peaks.items(), cycles[len(loops):])}  # fmt: skip
    for loop, c in zip(loops, cycles):
        loop.cycles[core] = c
        loop.peak_cycles[core] = loop.multiply_adds * peak_cycles[loop.fused, loop.width]


def gather(kernels: list[Kernel], advance: Callable[[], None]) -> list[Facts]:
    """Calls `advance` once per kernel and once per core."""
    facts = []
    with ProcessPoolExecutor(WORKERS) as pool:
        for fact in pool.map(read_kernel, kernels):
            facts.append(fact)
            advance()
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(lambda core: predict(facts, core), cores_of(kernels)):
            advance()
    return facts


def cores_of(kernels: list[Kernel]) -> list[str]:
    return list(dict.fromkeys(core for kernel in kernels for core in judges_of(kernel).cores))
