"""The facts of every kernel's product loops as JSON, and the comparison with those that are kept in baseline.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from muattn_tools.report.built_kernels import judges_of
from muattn_tools.report.kernel_facts import Facts
from muattn_tools.report.kernel_loops import Loop
from muattn_tools.report.llvm_tools import mca_version

CODE_TOLERANCE = 0.10
CYCLES_TOLERANCE = 0.05
SHARE_TOLERANCE = 1e-4  # of rounding


@dataclass(frozen=True)
class Change:
    kernel: str
    text: str
    worse: bool

    def __str__(self) -> str:
        return f"{self.kernel}: {self.text}"


def loop_entry(loop: Loop, cores: tuple[str, ...]) -> dict:
    return {
        "multiply_adds": loop.multiply_adds,
        "instructions": len(loop.body),
        "share": round(loop.share, 4),
        "spills": loop.spills,
        "reloads": loop.reloads,
        "gathers": loop.gathers,
        "cycles": {core: round(loop.cycles[core], 2) for core in cores},
    }


def entry(facts: Facts) -> dict:
    """Loops that look the same are one, with a count."""
    cores = judges_of(facts.kernel).cores
    loops: list[dict] = []
    for described in (loop_entry(loop, cores) for loop in facts.product_loops):
        same = next((other for other in loops if other | {"count": 0} == described | {"count": 0}), None)
        if same:
            same["count"] += 1
        else:
            loops.append({"count": 1} | described)
    return {"backend": facts.kernel.backend, "code_bytes": facts.code_bytes, "loops": loops}


def write_baseline(facts: list[Facts], path: Path) -> None:
    """What is there of backends that this build lacks stays. A line per loop, so that a change can be read."""
    built = {f.kernel.backend for f in facts}
    before = json.loads(path.read_text())["kernels"] if path.exists() else {}
    kernels = {symbol: old for symbol, old in before.items() if old["backend"] not in built}
    kernels |= {f.kernel.symbol: entry(f) for f in facts}
    blocks = []
    for symbol, new in sorted(kernels.items()):
        head = json.dumps({"backend": new["backend"], "code_bytes": new["code_bytes"]})[:-1]
        loops = ",".join("\n   " + json.dumps(loop) for loop in new["loops"])
        blocks.append(f'  "{symbol}": {head}, "loops": [{loops}]}}')
    path.write_text(f'{{\n "llvm": "{mca_version()}",\n "kernels": {{\n' + ",\n".join(blocks) + "\n }\n}\n")


def compare(facts: list[Facts], baseline: dict, complete: bool) -> list[Change]:
    """Better and worse, kernel by kernel. `complete`: these are all kernels of the build, so that one may be missing;
    those of backends that the build lacks are not missed."""
    before = baseline["kernels"]
    same_models = baseline["llvm"] == mca_version()
    changes = []
    for f in facts:
        symbol = f.kernel.symbol
        if symbol in before:
            changes += [Change(symbol, *change) for change in compare_kernel(before[symbol], entry(f), same_models)]
        else:
            changes.append(Change(symbol, "is not in the baseline", True))
    if complete:
        built = {f.kernel.backend for f in facts}
        gone = {s for s, old in before.items() if old["backend"] in built} - {f.kernel.symbol for f in facts}
        changes += [Change(symbol, "is in the baseline, not in the build", True) for symbol in sorted(gone)]
    return changes


def compare_kernel(old: dict, new: dict, same_models: bool) -> Iterator[tuple[str, bool]]:
    """What changed, and whether for the worse."""
    ratio = new["code_bytes"] / old["code_bytes"]
    if abs(ratio - 1) > CODE_TOLERANCE:
        yield f"code size {old['code_bytes']} -> {new['code_bytes']} bytes", ratio > 1
    before, after = ([loop for loop in kernel["loops"] for _ in range(loop["count"])] for kernel in (old, new))
    if before and not after:
        yield "no product loop left", True
    for fact in ("spills", "reloads", "gathers"):
        yield from compare_loops(f"{fact} in a product loop", [x[fact] for x in before], [x[fact] for x in after], 0, "d")
    yield from compare_loops("FMA share", [-x["share"] for x in before], [-x["share"] for x in after], SHARE_TOLERANCE, ".1%")
    cores = [core for core in before[0]["cycles"] if core in after[0]["cycles"]] if same_models and before and after else []
    for core in cores:
        per_fma = [[x["cycles"][core] / x["multiply_adds"] for x in loops] for loops in (before, after)]
        yield from compare_loops(f"cycles per FMA on {core}", *per_fma, CYCLES_TOLERANCE, ".3f", relative=True)


def compare_loops(fact: str, old: list, new: list, tolerance: float, form: str, relative: bool = False) -> Iterator[tuple[str, bool]]:
    """Larger is worse. The worst loop is compared with what was the worst, the next one with the next: so the order of
    loops does not matter, nor that there are more of them, if the additional ones are good. One change is told."""
    pairs = list(zip(sorted(old, reverse=True), sorted(new, reverse=True)))
    for worse in (True, False):
        for a, b in pairs:
            if (b - a if worse else a - b) > tolerance * (a if relative else 1):
                yield f"{fact} {abs(a):{form}} -> {abs(b):{form}}", worse
                return
