"""The functions of a compiled kernel, as llvm-objdump shows them, and the innermost loops in them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from muattn_tools.report.instructions import Instruction, split_operands
from muattn_tools.report.llvm_tools import OBJDUMP, run_tool


@dataclass(frozen=True)
class Function:
    name: str
    instructions: list[Instruction]


def disassemble(library: Path | str, architecture) -> tuple[int, list[Function]]:
    """Bytes of code, and the functions."""
    listing = run_tool(OBJDUMP, "--section-headers", "--disassemble", "--no-show-raw-insn", str(library))
    operands_of = functools.cache(lambda text: split_operands(re.sub(r" <[^>]*>$", "", architecture.comment.sub("", text))))
    code_bytes = 0
    functions: list[Function] = []
    for line in listing.splitlines():
        address, tab, rest = line.partition("\t")
        if tab and line.startswith(" "):
            mnemonic, _, text = rest.partition("\t")
            functions[-1].instructions.append(Instruction(int(address.strip(" :"), 16), mnemonic, operands_of(text)))
        elif head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            functions.append(Function(head[1], []))
        elif section := re.match(r"\s*\d+ \S+\s+([0-9a-f]+) [0-9a-f]+ TEXT$", line):
            code_bytes += int(section[1], 16)
    return code_bytes, functions


def innermost_loops(function: Function, architecture) -> list[list[Instruction]]:
    """A loop is a branch back to an instruction from which the branch can be reached again without leaving what lies
    between them. Its body is all that lies on such a way: blocks that only leave the loop are not part of it."""
    backward: dict[int, int] = {}
    for i in function.instructions:
        target = architecture.target(i)
        if target is not None and target <= i.address:
            backward[target] = i.address  # the last one, if several branch back to the same place
    index = {i.address: n for n, i in enumerate(function.instructions)}
    loops: list[list[Instruction]] = []
    for head, end in sorted(backward.items(), key=lambda branch: branch[1] - branch[0]):
        holds_another = any(head <= loop[0].address and loop[-1].address <= end for loop in loops)
        if head in index and not holds_another:
            if body := loop_body(function.instructions[index[head] : index[end] + 1], architecture):
                loops.append(body)
    return sorted(loops, key=lambda body: body[0].address)


def loop_body(region: list[Instruction], architecture) -> list[Instruction]:
    """The instructions between the first and the last on some way from the first to the last; none if there is no way."""
    index = {i.address: n for n, i in enumerate(region)}
    last = len(region) - 1
    successors: list[list[int]] = []
    for n, i in enumerate(region):
        following = [n + 1] if n < last and i.mnemonic not in architecture.unconditional else []
        if n < last and architecture.target(i) in index:
            following.append(index[architecture.target(i)])
        successors.append(following)
    predecessors: list[list[int]] = [[] for _ in region]
    for n, following in enumerate(successors):
        for m in following:
            predecessors[m].append(n)
    kept = reachable(0, successors) & reachable(last, predecessors)
    return [i for n, i in enumerate(region) if n in kept]


def reachable(start: int, edges: list[list[int]]) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        for n in edges[waiting.pop()]:
            if n not in seen:
                seen.add(n)
                waiting.append(n)
    return seen
