"""What ./dev bench, tune, report and generate accept. As a program it prints the help of a verb, without a build, or, after
"check", looks whether arguments are accepted:

    PYTHONPATH=tools python3 -m muattn_tools.command_lines bench --scaling
    PYTHONPATH=tools python3 -m muattn_tools.command_lines check bench --peers --seconds 2"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from muattn_tools.arguments import Parser, head_dimension, names, number, positive, thread_count, whole
from muattn_tools.paths import BASELINES, RELEASE, RESULTS, ROOT, SHAPES

BASELINE = BASELINES / "x86_64.json"
MIN_N, MAX_N = 256, 65536  # of --scaling


def kernels() -> Parser:
    parser = Parser(
        "./dev bench",
        usage="""./dev bench [--backward] [--out FILE] [GOOGLE-BENCHMARK-ARGUMENT...]
       ./dev bench --scaling [ARGUMENT...]
       ./dev bench --peers [ARGUMENT...]
       ./dev bench --torch [ARGUMENT...]
       ./dev bench --stats [ARGUMENT...]
       ./dev bench --types [ARGUMENT...]
       ./dev bench --gpu [ARGUMENT...]""",
        description="""Times the kernels on bench/shapes.json with Google Benchmark: a table here, and in files the table and every counter.
docs/benchmarks.md says what the columns mean.

Other arguments go to Google Benchmark, for example
  --benchmark_filter=REGEX         only these; e.g. channel/mup, or /1_threads
  --benchmark_min_time=SECONDS     per entry (default: 0.5)
  --benchmark_repetitions=N        the table has the best repetition""",
    )
    parser.add_argument("--out", "--benchmark_out", type=Path, metavar="FILE",
                        help="JSON; the table goes beside it as .md (default: results/bench.json, or bench-backward.json)")  # fmt: skip
    parser.add_argument("--backward", action="store_true", help="time the gradients of q, k and v, and count the memory of a call")
    parser.add_argument("--program", type=Path, default=RELEASE / "bench/muattn_bench",
                        help="the compiled benchmarks (default: those of build/release)")  # fmt: skip
    return parser


def power_of_two(text: str) -> int:
    n = int(text) if text.isdecimal() else 0
    if not 4 * MIN_N <= n <= MAX_N or n & (n - 1):
        raise argparse.ArgumentTypeError(f"must be a power of 2 in {4 * MIN_N}..{MAX_N}, not {text}")
    return n


def scaling() -> Parser:
    parser = Parser(
        "./dev bench --scaling",
        description=f"""Times one head, d = 64, as the number of tokens n doubles from {MIN_N}: full attention, a causal window of 512 keys, and
channel attention in both layouts. Writes a table, a picture with the slopes 1 and 2, and JSON.""",
    )
    parser.add_argument("--backward", action="store_true", help="time the gradients of q, k and v as well")
    _add_library(parser)
    parser.add_argument("--max-n", type=power_of_two, default=MAX_N, metavar="N",
                        help=f"the largest n, a power of 2 from {4 * MIN_N} to {MAX_N} (default: {MAX_N})")  # fmt: skip
    parser.add_argument("--seconds", type=positive, default=0.5, help="for each point; one call at least (default: 0.5)")
    parser.add_argument("--threads", type=thread_count, default=1, metavar="N", help="default: 1")
    _add_out(parser)
    return parser


def peers() -> Parser:
    parser = Parser(
        "./dev bench --peers",
        description="""Times muattn, PyTorch, ONNX Runtime and OpenVINO on bench/shapes.json: in one process, the same arrays, in
turn. What counts is the ratio of best times; absolute times of a shared machine mean little. Every output is compared
with muattn's first. The first time, packages of 7 GB go into .venv-peers.""",
    )
    parser.add_argument("--backward", action="store_true",
                        help="time forward and backward passes, against PyTorch: its own SDPA, composed attention and torch.compile, with autograd")  # fmt: skip
    _add_library(parser)
    parser.add_argument("--backend", type=lambda name: name.removeprefix("cpu:"), default="", metavar="NAME",
                        help="of muattn's, e.g. avx2 (default: the best that this machine runs); peers keep theirs, PyTorch's is the environment's ATEN_CPU_CAPABILITY")  # fmt: skip
    parser.add_argument("--filter", type=part_of_a_shape, default="", metavar="TEXT", help="only shapes whose operation/name contains this")
    parser.add_argument("--seconds", type=positive, default=1.0, help="time for each contestant and shape (default: 1)")
    parser.add_argument("--threads", type=thread_count, nargs="+", metavar="N", help="thread counts (default: 1 and all)")
    _add_out(parser)
    return parser


def part_of_a_shape(text: str) -> str:
    if not any(text in name for name in named_shapes() + backward_shapes()):
        raise argparse.ArgumentTypeError(f"no shape of bench/shapes.json contains '{text}'")
    return text


def named_shapes() -> list[str]:
    """operation/name of every shape of bench/shapes.json but the smallest, and those for gradients only."""
    shapes = json.loads(SHAPES.read_text())
    return [f"{operation}/{shape['name']}" for operation in ("spatial", "channel") for shape in shapes[operation]]


def backward_shapes() -> list[str]:
    """Those for gradients only."""
    return [f"{shape['operation']}/{shape['name']}" for shape in json.loads(SHAPES.read_text())["backward"]]


def torch_steps() -> Parser:
    parser = Parser(
        "./dev bench --torch",
        description="""Times whole training steps of models of timm and transformers, as their packages make them, with muattn's attention and with
none, in turn; the first loss of the first two must agree. Says what attention's share of a step is, and how many times as fast
it is. The first time, packages of 7 GB go into .venv-peers.""",
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="only models whose name contains this")
    parser.add_argument("--seconds", type=positive, default=30.0, help="time for each model (default: 30)")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="default: all")
    _add_out(parser)
    return parser


def stats() -> Parser:
    parser = Parser(
        "./dev bench --stats",
        description="""Times the forward pass of every shape of bench/shapes.json, with statistics of the logits and without, in turn: what
return_stats=True costs.""",
    )
    parser.add_argument("--filter", type=part_of_a_shape, default="", metavar="TEXT", help="only shapes whose operation/name contains this")
    parser.add_argument("--seconds", type=positive, default=0.5, help="time for each way and shape (default: 0.5)")
    parser.add_argument("--threads", type=thread_count, default=1, metavar="N", help="default: 1")
    _add_out(parser)
    return parser


def types() -> Parser:
    parser = Parser(
        "./dev bench --types",
        description="""Times the forward pass in 16 bits, and with int8 keys and values, on the shapes of bench/shapes.json that have "types":
muattn in that type and in float32, PyTorch's SDPA in both and ONNX Runtime in that type, in one process, in turn. Every
output is compared with muattn's first. The first time, packages of 7 GB go into .venv-peers.""",
    )
    parser.add_argument("--filter", type=part_of_a_shape, default="", metavar="TEXT", help="only shapes whose operation/name contains this")
    parser.add_argument("--seconds", type=positive, default=0.5, help="time for each way and shape (default: 0.5)")
    parser.add_argument("--threads", type=thread_count, default=1, metavar="N", help="default: 1")
    _add_out(parser)
    return parser


def gpu() -> Parser:
    parser = Parser(
        "./dev bench --gpu",
        description="""Times the CUDA backend on bench/shapes.json, on tensors of PyTorch in device memory, against every backend of PyTorch's
scaled_dot_product_attention that takes float32, and a composed channel attention: CUDA events, in turn, TF32 off. Every
output is compared with one in double precision first. Needs an NVIDIA GPU; without one: a line, and exit code 2. The first
time, packages of 7 GB go into .venv-peers.""",
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="only shapes whose operation/name contains this")
    parser.add_argument("--seconds", type=positive, default=0.5, help="time for each way and shape (default: 0.5)")
    _add_out(parser)
    return parser


def _add_out(parser: Parser) -> None:
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER",
                        help="folder for the results (default: results; bench/results holds those that are kept)")  # fmt: skip


def _add_library(parser: Parser) -> None:
    parser.add_argument("--library", type=Path, default=RELEASE / "bench/libmuattn.so", metavar="FILE",
                        help="with --backward: the shared library that is timed (default: that of build/release)")  # fmt: skip


def tune() -> Parser:
    parser = Parser(
        "./dev tune",
        description="""Searches the numbers of the schedules for this machine, on the shapes of bench/shapes.json. A candidate is built,
compared with a reference in double precision, then timed against the best so far. What is known is kept: an interrupted
search goes on where it was. Writes schedules/tuned/<generator>.<target>.json where the best is better than the default.
docs/tuning.md says more.""",
    )
    parser.add_argument("op", nargs="?", help="an operator or one of its generators (default: all)")
    parser.add_argument("--target", help="backend of tables/machines.json (default: the best that this machine runs)")
    parser.add_argument("--budget", type=positive, default=30.0, metavar="MIN", help="minutes for all of it (default: 30)")
    parser.add_argument("--threads", type=thread_count, nargs="+", metavar="N", help="thread counts (default: 1 and all)")
    parser.add_argument("--seconds", type=positive, default=0.3, help="for each contestant and shape (default: 0.3)")
    parser.add_argument("--gain", type=number, default=1.0, metavar="PERCENT", help="what a candidate has to gain (default: 1)")
    parser.add_argument("--values", action="append", default=[], metavar="NAME=N,N", help="search only these values of this number")
    parser.add_argument("--no-adams", action="store_true", help="without Halide's Adams2019 autoscheduler")
    parser.add_argument("--shapes", type=Path, default=SHAPES, help="table of shapes (default: bench/shapes.json)")
    parser.add_argument("--out", type=Path, default=ROOT / "schedules/tuned", help="folder of the tuned files (default: schedules/tuned)")
    parser.add_argument("--state", type=Path, default=ROOT / "build/tune", help="folder of what is known (default: build/tune)")
    parser.add_argument("--build", type=Path, default=RELEASE, help="the build (default: build/release)")
    return parser


def report() -> Parser:
    parser = Parser(
        "./dev report",
        description="""The static report: what the compiled kernels tell without a stopwatch. Code size, spills and gathers, the share of FMA
in the innermost product loops, and the share of each core's FMA peak that llvm-mca predicts for them. See docs/report.md.""",
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="only kernels whose symbol contains this")
    parser.add_argument("--all", action="store_true", help="a line for every loop with multiply-adds, not only for every kernel")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all facts there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare with the baseline; a regression: exit code 1")
    what.add_argument("--update", action="store_true", help="make this build the baseline")
    parser.add_argument("--kernels", type=Path, default=RELEASE / "generated/kernels.json", metavar="FILE",
                        help="the build's list of kernels (default: build/release's)")  # fmt: skip
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE", help="default: bench/baselines/x86_64.json")
    return parser


def report_gpu() -> Parser:
    parser = Parser(
        "./dev report --gpu",
        description="""The static report of the CUDA kernels, without a device: registers and spills under the cap that the library gives
drivers, shared memory, occupancy, and what the loops of the products consist of. The last line says whether a bar is missed;
then the exit code is 1. See docs/gpu.md.""",
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="only kernels whose symbol contains this")
    parser.add_argument("--all", action="store_true", help="a line for every device function, not only for those with products")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all facts there too")
    parser.add_argument("--kernels", type=Path, default=RELEASE / "generated/gpu_kernels.json", metavar="FILE", help="the build's list of GPU kernels")
    return parser


def generate() -> Parser:
    parser = Parser(
        "./dev generate",
        description="""Libraries for a target: headers, static library or, where no compiler for the target is here, kernels with the runtime's
sources, CMake package and manifest.json. For Metal and WebGPU: kernels and the source of their device code. Only what changed
is made anew. docs/targets.md says more.""",
    )
    parser.add_argument("--target", required=True, help="Halide target: architecture-bits-system, alone for all backends of "
                        "the family, e.g. arm-64-linux, or with features for one, e.g. x86-64-linux-sse41-avx-f16c-fma-avx2; with metal or "
                        "webgpu, e.g. arm-64-osx-metal, for kernels of that GPU alone")  # fmt: skip
    parser.add_argument("--backends", type=names, default=[], metavar="B,B", help="only these backends of the target's, e.g. scalar for riscv-64-linux")
    parser.add_argument("--ops", type=names, default=[], metavar="OP,OP", help="only these operations of tables/kernels.json")
    parser.add_argument("--directions", type=names, default=[], metavar="DIR,DIR", help="only these directions, e.g. forward")
    parser.add_argument("--dtypes", type=names, default=[], metavar="T,T", help="only these element types")
    parser.add_argument("--kernels", type=names, default=[], metavar="KERNEL,KERNEL", help="only these kernels, e.g. general,general+lse")
    parser.add_argument("--head-dim", type=head_dimension, default=0, metavar="D", help="spatial attention for d = d_v = D alone")
    parser.add_argument("--shared", action="store_true", help="libmuattn.so as well")
    parser.add_argument("--toolchain", type=Path, metavar="FILE", help="CMake toolchain file (default: cmake/toolchains' for the target)")
    parser.add_argument("--kernels-only", action="store_true", help="kernels and the runtime's sources, even where a compiler is here")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: out/TARGET")
    parser.add_argument("--jobs", type=whole, default=os.cpu_count(), metavar="N", help="default: all processors")
    return parser


VERBS = {"bench": kernels, "tune": tune, "report": report, "generate": generate}
MODES = {("bench", "--scaling"): scaling, ("bench", "--peers"): peers, ("bench", "--torch"): torch_steps, ("bench", "--stats"): stats, ("bench", "--types"): types, ("bench", "--gpu"): gpu, ("report", "--gpu"): report_gpu}


def main(words: list[str]) -> None:
    check = words[0] == "check"
    words = words[check:]
    mode = MODES.get(tuple(words[:2]))
    parser = (mode or VERBS[words[0]])()
    if check:
        parser.parse_args(words[2 if mode else 1 :])
    else:
        parser.print_help()


if __name__ == "__main__":
    main(sys.argv[1:])
