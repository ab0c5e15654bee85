"""Times muattn and its peers on bench/shapes.json; ./dev bench --peers runs this in .venv-peers."""

from __future__ import annotations

import json

import numpy as np

import muattn
from muattn_tools.arguments import processors
from muattn_tools.command_lines import peers as command_line
from muattn_tools.machine_load import warn
from muattn_tools.peers.backends import command, force, torch_version
from muattn_tools.peers.contestants import contestants
from muattn_tools.peers.peers_report import write_report
from muattn_tools.peers.sgemm import sgemm
from muattn_tools.peers.turns import best_times
from muattn_tools.problems import all_shapes, load
from muattn_tools.progress import Steps
from muattn_tools.provenance import file_stem, provenance


def agrees(output, expected: np.ndarray) -> bool:
    return bool(np.abs(np.asarray(output) - expected).max() <= 2e-4 * max(1.0, np.abs(expected).max()))


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
    if not shapes:
        parser.error(f"--filter: '{arguments.filter}' is for --backward only")
    if arguments.library != parser.get_default("library"):
        parser.error("argument --library: is for --backward only")
    parser.need_folder("--out", arguments.out)
    force(parser, arguments.backend)
    busy = warn("bench --peers")

    rows = measure(shapes, arguments.threads or sorted({1, processors()}), arguments.seconds)
    results = {
        **provenance(muattn.current_backend(), command("./dev bench --peers")),
        "held_to": arguments.backend, "processors": processors(), **busy,
        "versions": {
            "muattn": muattn.__version__, "torch": torch_version(),
            **{name: __import__(name).__version__ for name in ("onnxruntime", "openvino")},
        },
        "rows": rows,
    }  # fmt: skip
    path = arguments.out / f"{file_stem(results, arguments.filter)}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    write_report(results, path)


if __name__ == "__main__":
    main()
