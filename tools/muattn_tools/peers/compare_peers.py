"""Times muattn and its peers on bench/shapes.json; ./dev bench --peers runs this in .venv-peers."""

from __future__ import annotations

import json
import shlex
import sys
import time

import numpy as np
import torch

import muattn
from muattn_tools.arguments import processors
from muattn_tools.command_lines import peers as command_line
from muattn_tools.machine_load import warn
from muattn_tools.peers.contestants import contestants
from muattn_tools.peers.peers_report import write_report
from muattn_tools.problems import all_shapes, load
from muattn_tools.progress import Steps
from muattn_tools.provenance import file_stem, provenance

# Worker threads of some peers spin for some time after a call, on the processor that the next contestant needs: with more threads than
# one, a turn begins with a pause. Then come calls that are not timed, for processors, caches and sleeping threads, then those that are.
SPIN_SECONDS = 0.02
WARM_SECONDS = 0.005
BURST_SECONDS = 0.01


def turn(call, threads: int) -> list[float]:
    """Times of one or more calls, in seconds."""
    if threads > 1:
        time.sleep(SPIN_SECONDS)
    start = time.perf_counter()
    while True:
        call()
        if time.perf_counter() > start + WARM_SECONDS:
            break
    times, spent = [], 0.0
    while spent < BURST_SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        spent += times[-1]
    return times


def best_times(calls: dict, seconds: float, threads: int = 1) -> dict[str, float]:
    """Best time of each, in seconds, over turns: at least 20 calls and the given time, but 3 calls where that takes four times as long."""
    times = {name: [] for name in calls}

    def wanting(name: str) -> bool:
        count, spent = len(times[name]), sum(times[name])
        return count < 3 or (count < 20 or spent < seconds) and spent < 4 * seconds

    while any(wanting(name) for name in calls):
        for name in filter(wanting, calls):
            times[name] += turn(calls[name], threads)
    return {name: min(of_call) for name, of_call in times.items()}


def agrees(output, expected: np.ndarray) -> bool:
    return bool(np.abs(np.asarray(output) - expected).max() <= 2e-4 * max(1.0, np.abs(expected).max()))


def sgemm(seconds: float) -> float:
    """GFLOP/s of PyTorch's (MKL's) sgemm at 1024 x 1024 x 1024: the limit of two matrix products."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / best_times({"sgemm": lambda: a @ b}, seconds)["sgemm"] * 1e-9


def measure(shapes: list, thread_counts: list[int], seconds: float) -> list[dict]:
    rng = np.random.default_rng(1)
    rows = []
    with Steps("bench --peers", len(shapes) * len(thread_counts)) as steps:
        for operation, shape in shapes:
            for threads in thread_counts:
                steps.at(len(rows), f"{operation}/{shape['name']}, {threads} threads")
                problem = load(operation, shape, rng)
                calls = contestants(problem, threads)
                expected = np.array(calls["muattn"]())
                wrong = [name for name, call in calls.items() if not agrees(call(), expected)]
                for name in wrong:
                    steps.console.print(f"{problem.name}: {name} differs from muattn and is left out")
                    del calls[name]
                times = best_times(calls, seconds, threads)
                rows.append({
                    "operation": operation, "name": problem.name, "threads": threads,
                    "gflop": problem.flops() * 1e-9, "sgemm_gflops": sgemm(seconds / 4),
                    "milliseconds": {name: 1e3 * t for name, t in times.items()}, "left_out": wrong,
                })  # fmt: skip
    return rows


def main() -> None:
    parser = command_line()
    arguments = parser.parse_args()
    shapes = [(o, s) for o, s in all_shapes() if arguments.filter in f"{o}/{s['name']}"]
    parser.need_folder("--out", arguments.out)
    busy = warn("bench --peers")

    rows = measure(shapes, arguments.threads or sorted({1, processors()}), arguments.seconds)
    results = {
        **provenance(muattn.current_backend(), "./dev bench --peers " + shlex.join(sys.argv[1:])),
        "processors": processors(), **busy,
        "versions": {name: __import__(name).__version__ for name in ("muattn", "torch", "onnxruntime", "openvino")},
        "rows": rows,
    }  # fmt: skip
    path = arguments.out / f"{file_stem(results)}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    write_report(results, path)


if __name__ == "__main__":
    main()
