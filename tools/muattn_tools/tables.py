"""What cmake/kernels.cmake and cmake/targets.cmake list, read as text: to find typos, and the rung next to a target, before CMake runs."""

from __future__ import annotations

import re
from pathlib import Path

CMAKE = Path(__file__).resolve().parents[1] / "cmake"


def kernel_columns(device: bool) -> dict[str, list[str]]:
    """The names that --ops, --dtypes and --kinds take."""
    rows = re.findall(rf"muattn_{'gpu_' if device else ''}kernel\((\w+) +\w+ +(\w+) +(\w+)", (CMAKE / "kernels.cmake").read_text())
    return {option: list(dict.fromkeys(column)) for option, column in zip(("ops", "dtypes", "kinds"), zip(*rows))}


def ladder(triple: str) -> dict[str, list[str]]:
    """Rungs and their features, best first; empty for a family without a ladder. Those of MUATTN_EXPERIMENTAL are indented more."""
    text = (CMAKE / "targets.cmake").read_text()
    for kind, value, branch in re.findall(r"^  (?:else)?if\(t (\w+) \"(.*)\"\)\n((?:    .*\n)+)", text, re.M):
        if re.match(value, triple) if kind == "MATCHES" else value == triple:
            rungs = re.findall(r"^    muattn_rung\((\w+) \"?([\w-]*)", branch, re.M)
            return {name: [feature for feature in features.split("-") if feature] for name, features in rungs}
    return {}


def with_implied(features: list[str]) -> set[str]:
    """As muattn_features() in cmake/MuattnBackends.cmake."""
    pairs = re.findall(r"\b(avx\w*)=(\w+)", (CMAKE / "MuattnBackends.cmake").read_text())
    found = set(features)
    while more := {implied for feature, implied in pairs if feature in found} - found:
        found |= more
    return found


def nearest_rung(triple: str, features: list[str]) -> str | None:
    """How to get the rung whose features differ least, the better of two."""
    rungs = ladder(triple)
    if not rungs:
        return None
    asked = with_implied(features)
    name = min(rungs, key=lambda rung: len(with_implied(rungs[rung]) ^ asked))
    implied = {other for feature in rungs[name] for other in with_implied([feature]) - {feature}}
    written = [feature for feature in rungs[name] if feature not in implied]
    by_features = f"{'-'.join((triple, *written))}, or " if written else ""
    return f"rung {name} is {by_features}--target {triple} --backends {name}"
