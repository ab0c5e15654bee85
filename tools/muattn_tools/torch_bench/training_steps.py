"""Times training steps of real models: as their packages make them, and with muattn. ./dev bench --torch"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import sys
import time

import torch

import muattn
from muattn_tools.command_lines import torch_steps as command_line
from muattn_tools.machine_load import warn
from muattn_tools.progress import Steps
from muattn_tools.provenance import file_stem, provenance
from muattn_tools.torch_bench.models import MUATTN, NONE, OWN, all_models


def step_of(model, form, inputs):
    """A whole step: gradients of before away, loss, gradients, parameters."""
    optimizer = torch.optim.SGD(form.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad()
        loss = model.loss(form, inputs)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def measure(model, seconds):
    """Milliseconds of each form, the best of steps that run in turn, and the middle one of their quotients."""
    inputs = model.inputs()
    steps = {name: step_of(model, form, inputs) for name, form in model.forms().items()}
    losses = {name: step() for name, step in steps.items()}
    if abs(losses[OWN] - losses[MUATTN]) > 1e-3 * abs(losses[OWN]):
        raise SystemExit(f"{model.name}: losses differ: {losses}")
    times = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[OWN]) < 3:
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - begin)
    best = {name: 1e3 * min(of_form) for name, of_form in times.items()}
    return {
        "name": model.name, "milliseconds": best, "steps": len(times[OWN]),
        "middle_ratio": statistics.median(a / b for a, b in zip(times[OWN], times[MUATTN])),
    }  # fmt: skip


def table(results):
    lines = [
        "| model | step, ms | with muattn, ms | times as fast | attention's share | attention alone, times as fast |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        own, ours, none = (row["milliseconds"][form] for form in (OWN, MUATTN, NONE))
        alone = f"{(own - none) / (ours - none):.2f}" if ours > none else "-"
        lines.append(
            f"| {row['name']} | {own:.1f} | {ours:.1f} | {own / ours:.2f} | {100 * (own - none) / own:.0f} % | {alone} |"
        )
    source = f"{results['device']}, {results['backend']}, {results['threads']} threads; {results['date']}, commit {results['commit']}; "
    source += f"torch {torch.__version__}; `{results['command']}`"
    return "\n".join([*lines, "", source, *results.get("warnings", [])]) + "\n"


def main() -> None:
    parser = command_line()
    arguments = parser.parse_args()
    models = [model for model in all_models() if arguments.filter.lower() in model.name.lower()]
    if not models:
        parser.error(f"--filter: no model's name contains '{arguments.filter}'")
    parser.need_folder("--out", arguments.out)
    busy = warn("bench --torch")
    torch.set_num_threads(arguments.threads or len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    rows = []
    with Steps("bench --torch", len(models)) as steps:
        for model in models:
            steps.at(len(rows), model.name)
            rows.append(measure(model, arguments.seconds))
    results = {
        **provenance(muattn.current_backend(), "./dev bench --torch " + shlex.join(sys.argv[1:])), "threads": torch.get_num_threads(), **busy, "rows": rows,
    }  # fmt: skip
    path = arguments.out / f"{file_stem(results)}-torch.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(results))
    print(table(results), end="")


if __name__ == "__main__":
    main()
