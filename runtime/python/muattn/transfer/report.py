"""The three files of finished runs: a table, a picture, and results with all numbers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from ..proving.origin import file_stem, today
from .picture import picture
from .plan import BASE_WIDTH, HEADS, QUICK, Setting, runs_of
from .runs import LAST, Finished
from .table import Panel, facts, markdown, mean

Chosen = list[tuple[str, str, Setting]]  # operation, rule, setting of each panel


def read_panel(operation: str, rule: str, setting: Setting, finished: Finished) -> Panel:
    losses: dict[tuple[int, float], list[float | None]] = {}
    for run in runs_of(operation, rule, setting):
        losses.setdefault((run.width, run.lr), []).append(finished[run].loss)
    return Panel(operation, rule, setting.widths, setting.lrs, {point: mean(values) for point, values in losses.items()})


def report(chosen: Chosen, finished: Finished, command: str, folder: Path) -> str:
    """Writes them; returns what a reader wants to see at once."""
    source = {"date": today(), "command": command, **finished.origin}
    panels = [read_panel(*each, finished) for each in chosen]
    note = _note(chosen, source)
    table = f"{markdown(panels)}\n{note}; `{command}`\n"
    results = {
        **source, "base_width": BASE_WIDTH, "heads": HEADS, "loss_over_last": LAST,
        "settings": {operation: dataclasses.asdict(setting) for operation, _, setting in chosen},
        "panels": [facts(panel) for panel in panels],
        "runs": [{**dataclasses.asdict(run), **dataclasses.asdict(finished[run])} for each in chosen for run in runs_of(*each)],
    }  # fmt: skip
    stem = folder / f"{file_stem(source['date'], source['device'], source['backend'])}-transfer"
    paths = [stem.with_name(stem.name + ending) for ending in (".md", ".json", ".png")]
    paths[0].write_text(table)
    paths[1].write_text(json.dumps(results, indent=1) + "\n")
    picture(panels, note, paths[2])
    return "\n".join([table, *map(str, paths)])


def _note(chosen, source):
    settings = {operation: setting for operation, _, setting in chosen}
    data = {"spatial": "texts", "channel": "digits"}
    told = "; ".join(
        f"{operation} attention: {each.steps} steps of {each.batch} {data[operation]}, {each.seeds} {'seed' if each.seeds == 1 else 'seeds'}"
        for operation, each in settings.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in source["versions"].items())
    is_try = all(setting == QUICK[operation] for operation, setting in settings.items())
    return (
        f"{'A try of the program, which says nothing of muP. ' if is_try else ''}{told}. Loss: mean training loss of the last {100 * LAST:.0f} % of the steps. {source['device']}, {source['backend']}, "
        f"threads: {source['threads']}; {source['date']}, commit {source['commit'] or 'unknown'}; {versions}"
    )
