"""What statistics of logits cost: the forward pass with and without them, in turn, on bench/shapes.json; ./dev bench --stats runs this."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from statistics import geometric_mean

import numpy as np

import muattn
from muattn_tools.command_lines import stats as command_line
from muattn_tools.machine_load import warn
from muattn_tools.peers.turns import best_times
from muattn_tools.problems import Problem, all_shapes, load
from muattn_tools.progress import Steps
from muattn_tools.provenance import file_stem, provenance
from muattn_tools.show_markdown import show_markdown


def measure(problem: Problem, seconds: float, threads: int) -> dict:
    """Milliseconds of the forward pass alone, and with statistics."""
    function = getattr(muattn, f"{problem.operation}_attention")
    out = np.empty((*problem.q.shape[:3], problem.v.shape[3]), np.float32)
    alone = functools.partial(function, problem.q, problem.k, problem.v, **problem.options(), out=out)
    best = best_times({"alone": alone, "with": functools.partial(alone, return_stats=True)}, seconds, threads)
    return {
        "operation": problem.operation, "shape": problem.name, "forward_ms": 1e3 * best["alone"], "with_stats_ms": 1e3 * best["with"],
        "ratio": best["with"] / best["alone"],
    }  # fmt: skip


def table(rows: list[dict]) -> str:
    lines = ["| shape | forward, ms | with statistics, ms | ratio |", "|---|---|---|---|"]
    lines += [f"| {row['operation']}/{row['shape']} | {row['forward_ms']:.3f} | {row['with_stats_ms']:.3f} | {row['ratio']:.2f} |" for row in rows]
    for operation in dict.fromkeys(row["operation"] for row in rows):
        ratios = [row["ratio"] for row in rows if row["operation"] == operation]
        lines.append(f"| **{operation}, geometric mean** | | | **{geometric_mean(ratios):.2f}** |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = command_line()
    arguments = parser.parse_args()
    parser.need_folder("--out", arguments.out)
    shapes = [(operation, shape) for operation, shape in all_shapes() if arguments.filter in f"{operation}/{shape['name']}"]
    busy = warn("bench --stats")

    muattn.set_num_threads(arguments.threads)
    rng, rows = np.random.default_rng(1), []
    with Steps("bench --stats", len(shapes)) as steps:
        for index, (operation, shape) in enumerate(shapes):
            steps.at(index, f"{operation}/{shape['name']}")
            rows.append(measure(load(operation, shape, rng), arguments.seconds, arguments.threads))
    results = {
        **provenance(muattn.current_backend(), "./dev bench --stats " + shlex.join(sys.argv[1:])), "version": muattn.__version__,
        "threads": arguments.threads, **busy, "rows": rows,
    }  # fmt: skip
    path = arguments.out / f"{file_stem(results)}-stats.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    text = table(rows)
    path.with_suffix(".md").write_text(text)
    show_markdown(text)
    print(f"{path}, .md")


if __name__ == "__main__":
    main()
