"""The tuned file that CMake reads: its numbers, and where they come from."""

from __future__ import annotations

import json
from pathlib import Path

from provenance import provenance


def write(path: Path, final: dict, defaults: dict, halide: str, command: str, candidates: int) -> None:
    """path is .../<generator>.<backend>.json, final the record of the best. Numbers that are the default are left out, and
    stay the default."""
    times: dict[str, dict] = {}
    for row in final["rows"]:
        both = row["milliseconds"]
        times.setdefault(row["shape"], {})[f"{row['threads']} threads"] = {
            "default": float(f"{both['best']:.4g}"), "tuned": float(f"{both['candidate']:.4g}"),
        }  # fmt: skip
    content = {
        "parameters": final["numbers"], "defaults": defaults, "ratio": round(final["ratio"], 4),
        **provenance(path.stem.rpartition(".")[2], command), "halide": halide, "candidates": candidates,
        "shapes": list(times), "time_ms": times,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
