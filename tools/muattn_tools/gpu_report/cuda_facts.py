"""What is reported of a device function, and the bars it is held to."""

from __future__ import annotations

import json
import math
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from muattn_tools.gpu_report.cuda_loops import Loop, product_loops
from muattn_tools.gpu_report.machine_code import assemble, ptx_of

ARCHITECTURES = ("sm_80", "sm_90")
# Of the CUDA C++ Programming Guide, technical specifications per compute capability.
SHARED_BYTES = {"sm_80": 164 << 10, "sm_90": 228 << 10}  # of a multiprocessor
REGISTERS, MAX_WARPS, MAX_BLOCKS, RESERVED_BYTES, WARP = 65536, 64, 32, 1024, 32
MOST_SHARED_BYTES = 48 << 10  # of a thread block, on every device without asking for more
LEAST_SHARE = 0.8  # of FFMA in the loops of both products ...
BARRED_HEAD_DIMS = (64, 128)  # ... at these d


@dataclass(frozen=True)
class Launch:
    """How the host starts a device function."""

    threads: int
    shared_bytes: int


@dataclass(frozen=True)
class Facts:
    kernel: str
    head_dim: int
    architecture: str
    function: str
    registers: int
    spill_bytes: int
    launch: Launch
    loops: list[Loop]

    @property
    def warps(self) -> int:
        """That a multiprocessor holds at once."""
        per_block = -(-self.launch.threads // WARP)
        registers = -(-self.registers * WARP // 256) * 256 * per_block
        shared = self.launch.shared_bytes + RESERVED_BYTES
        blocks = min(MAX_BLOCKS, MAX_WARPS // per_block, REGISTERS // registers, SHARED_BYTES[self.architecture] // shared)
        return blocks * per_block

    @property
    def products(self) -> list[Loop]:
        return [loop for loop in self.loops if not loop.is_guarded]

    def missed(self) -> list[str]:
        """The bars that it misses, in words."""
        problems = []
        if self.spill_bytes:
            problems.append(f"{self.spill_bytes} bytes of spills")
        if self.launch.shared_bytes > MOST_SHARED_BYTES:
            problems.append(f"{self.launch.shared_bytes} bytes of shared memory")
        if any(loop.vector_loads < 1 for loop in self.products):
            problems.append("loads single numbers from shared memory in a product's loop")
        if self.head_dim in BARRED_HEAD_DIMS and self.loops:
            if len(self.products) < 2:
                problems.append(f"{len(self.products)} of 2 product loops found")
            if len(self.products) == len(self.loops):  # a compiler that takes all numbers for finite may drop it
                problems.append("no loop that takes out hidden values")
            for loop in self.products:
                if loop.share < LEAST_SHARE:
                    problems.append(f"{100 * loop.share:.0f} % FFMA in a product's loop")
        return problems


def launches(stmt: Path) -> dict[str, Launch]:
    """By the order of the device functions in Halide's conceptual statement: threads and shared memory."""
    found = {}
    outermost = None
    for part in re.split(r"(?=gpu_block<CUDA> \()", stmt.read_text())[1:]:
        outermost = outermost or re.match(r"gpu_block<CUDA> \(([\w.$]+)", part)[1]
        extents = dict(re.findall(r"gpu_thread<CUDA> \(\.thread_id_(\w), 0, (\d+)\)", part))
        if not extents:
            continue  # the blocks inside are in the next part
        shared = sum(int(n) * (1 if kind == "uint8" else 4)
                     for kind, n in re.findall(r"allocate \S+\[(\w+) \* (\d+)\] in GPUShared", part))  # fmt: skip
        found[outermost] = Launch(math.prod(int(extent) for extent in extents.values()), shared)
        outermost = None
    return found


def without_number(name: str) -> str:
    """Names of loops and of device functions, made alike; the number at their end may differ."""
    return re.sub(r"__\d+$", "", name.replace(".", "_").replace("$", "__"))


def launch_of(function: str, all_launches: dict[str, Launch]) -> Launch:
    """Halide names a device function after its outermost loop over blocks."""
    return {"_kernel_" + without_number(name): launch for name, launch in all_launches.items()}[without_number(function)]


def gather(kernels: list[dict], max_registers: int, advance) -> list[Facts]:
    facts = []
    for kernel in kernels:
        library = Path(kernel["library"])
        ptx, starts = ptx_of(library), launches(library.with_name(kernel["symbol"] + ".conceptual.stmt"))
        for architecture in ARCHITECTURES:
            with tempfile.TemporaryDirectory() as folder:
                for function in assemble(ptx, architecture, max_registers, Path(folder)):
                    facts.append(Facts(kernel["symbol"], kernel["features"].get("max_d", 0), architecture, function.name,
                                       function.registers, function.spill_bytes, launch_of(function.name, starts),
                                       product_loops(function)))  # fmt: skip
        advance()
    return facts


def cuda_kernels(path: Path) -> list[dict]:
    return [kernel for kernel in json.loads(path.read_text()) if kernel["backend"] == "cuda"]
