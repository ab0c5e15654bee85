"""Comparisons on several machines as one Markdown table, for the README:

    PYTHONPATH=tools python -m muattn_tools.peers.summary RESULTS.json ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from muattn_tools.peers.peers_report import means_of, ratios


def summary(machines: list[dict]) -> str:
    columns = [(machine, n) for machine in machines for n in sorted({row["threads"] for row in machine["rows"]})]
    heads = [f"{m['device']}, {m['backend']}: {n} thread{'s' * (n > 1)}" for m, n in columns]
    lines = ["| shape | " + " | ".join(heads) + " |", "|---|" + "---|" * len(columns)]
    found = {}
    for index, (machine, threads) in enumerate(columns):
        for row in machine["rows"]:
            if row["threads"] == threads:
                found[row["operation"], row["name"], index] = ratios(row)
    shapes = list(dict.fromkeys((operation, name) for operation, name, _ in found))
    for operation, name in shapes:
        cells = [_cell(*found[operation, name, i]) for i in range(len(columns))]
        lines.append(f"| {operation}/{name} | " + " | ".join(cells) + " |")
    for operation in dict.fromkeys(operation for operation, _ in shapes):
        means = [means_of({name: found[o, name, i][:2] for o, name in shapes if o == operation and (o, name, i) in found}) for i in range(len(columns))]
        for words in means[0]:
            cells = ["**{:.2f}** / **{:.2f}**".format(*of_column[words]) for of_column in means]
            lines.append(f"| **{operation}, {words}** | " + " | ".join(cells) + " |")
    sources = (f"{m['device']}, {m['backend']}: {m['date']}, commit {m['commit']}, `{m['command'].strip()}`" for m in machines)
    return "\n".join(lines) + "\n\n" + "; ".join(sources) + ".\n"


def _cell(torch_ratio: float, best_ratio: float, best: str) -> str:
    peer = "" if best.startswith("torch") else f" ({best})"
    return f"{torch_ratio:.2f} / {best_ratio:.2f}{peer}"


if __name__ == "__main__":
    print(summary([json.loads(Path(path).read_text()) for path in sys.argv[1:]]), end="")
