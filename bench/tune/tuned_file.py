"""The tuned file that CMake reads: its numbers, and where they come from."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

from build import ROOT


def commit() -> str:
    """Of the working tree, with a mark if something in it is not committed; "" outside of git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def write(path: Path, final: dict, defaults: dict, key: dict, command: str, candidates: int) -> None:
    """final: the record of the best. Numbers that are the machine's default are left out, and stay the default."""
    times: dict[str, dict] = {}
    for row in final["rows"]:
        both = row["milliseconds"]
        times.setdefault(row["shape"], {})[f"{row['threads']} threads"] = {
            "default": float(f"{both['best']:.4g}"), "tuned": float(f"{both['candidate']:.4g}"),
        }  # fmt: skip
    content = {
        "parameters": final["numbers"], "defaults": defaults, "ratio": round(final["ratio"], 4), "device": key["device"],
        "halide": key["halide"], "commit": commit(), "date": datetime.date.today().isoformat(), "candidates": candidates,
        "shapes": list(times), "time_ms": times, "command": command,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
