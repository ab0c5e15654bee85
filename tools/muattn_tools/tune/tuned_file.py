"""The tuned file that CMake reads: its numbers, and where they come from. The one that is there is kept unless a better one
is found."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from muattn_tools.provenance import provenance
from muattn_tools.tune.space import Numbers, Search, TuneError, text


@dataclass
class Kept:
    path: Path
    numbers: Numbers  # those that are not the default
    origin: str

    def __str__(self) -> str:
        return f"{self.path}: {text(self.numbers)}{self.origin}"


def read(path: Path, space: Search) -> Kept | None:
    """As CMake reads it: numbers that the schedule does not have do not count, and 0 is the default."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        parameters = content["parameters"]
        numbers = space.defaults | {name: int(parameters[name]) for name in space.defaults if int(parameters.get(name, 0)) > 0}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise TuneError(f'{path}: not JSON with an object "parameters" of whole numbers; mend it or move it away') from None
    known = [f"{content['ratio']:.3f} x the default"] if isinstance(content.get("ratio"), float) else []
    known += [str(content[key]) for key in ("device", "date") if key in content]
    unknown = sorted(set(parameters) - set(space.defaults))
    origin = (f" ({', '.join(known)})" if known else "") + (f"; the schedule has no {', '.join(unknown)}" if unknown else "")
    return Kept(path, space.differing(numbers), origin)


def write(path: Path, final: dict, defaults: dict, halide: str, command: str, candidates: int, load: float) -> None:
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
        "load": round(load, 2), "processors": os.cpu_count(),
        "shapes": list(times), "time_ms": times,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
