"""Times forward and backward passes of muattn and PyTorch; ./dev bench --peers --backward runs this in .venv-peers."""

from __future__ import annotations

import json

import numpy as np

import muattn
from muattn_tools.arguments import processors
from muattn_tools.c_library import Library
from muattn_tools.command_lines import peers as command_line
from muattn_tools.machine_load import warn
from muattn_tools.peers.backends import command, force, torch_version
from muattn_tools.peers.backward_report import write_report
from muattn_tools.peers.sgemm import GFLOP, product
from muattn_tools.peers.steps import contest
from muattn_tools.peers.turns import all_times, timed
from muattn_tools.problems import backward_shapes, load
from muattn_tools.progress import Steps
from muattn_tools.provenance import file_stem, provenance


def measure(shapes: list, thread_counts: list[int], seconds: float, library: Library) -> list[dict]:
    rng = np.random.default_rng(1)
    rows = []
    with Steps("bench --peers --backward", len(shapes) * len(thread_counts)) as steps:
        for operation, shape in shapes:
            for threads in thread_counts:
                steps.at(len(rows), f"{operation}/{shape['name']}, {threads} threads")
                problem = load(operation, shape, rng)
                found = contest(problem, threads, library)
                calls = {name: step.timed for name, step in found.steps.items()}
                times = all_times({**calls, "sgemm": timed(product())}, seconds, threads)
                sgemm_seconds = min(times.pop("sgemm"))[0]
                rows.append({
                    "operation": operation, "name": problem.name, "threads": threads, "d": shape["d"],
                    "n": problem.shape["n"] if operation == "channel" else min(problem.q.shape[2], problem.k.shape[2]),
                    "gflop": problem.backward_flops() * 1e-9, "sgemm_gflops": GFLOP / sgemm_seconds, "sdpa": found.sdpa,
                    "milliseconds": {name: 1e3 * min(map(sum, parts)) for name, parts in times.items()},
                    "backward_milliseconds": {name: 1e3 * min(part[1] for part in parts) for name, parts in times.items()},
                    "left_out": found.left_out,
                })  # fmt: skip
    return rows


def main() -> None:
    parser = command_line()
    arguments = parser.parse_args()
    shapes = [(o, s) for o, s in backward_shapes() if arguments.filter in f"{o}/{s['name']}"]
    if not arguments.library.is_file():
        parser.error(f"argument --library: no file {arguments.library}")
    parser.need_folder("--out", arguments.out)
    force(parser, arguments.backend)
    busy = warn("bench --peers --backward")

    thread_counts = arguments.threads or sorted({1, processors()})
    rows = measure(shapes, thread_counts, arguments.seconds, Library(arguments.library, arguments.backend))
    results = {
        **provenance(muattn.current_backend(), command("./dev bench --peers")),
        "processors": processors(), **busy, "versions": {"muattn": muattn.__version__, "torch": torch_version()}, "rows": rows,
    }  # fmt: skip
    path = arguments.out / f"{file_stem(results, arguments.filter)}-backward.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    write_report(results, path)


if __name__ == "__main__":
    main()
