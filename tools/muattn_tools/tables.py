"""What tables/kernels.json and tables/machines.json say. The standard library alone: ./dev generate looks for typos before it builds."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator

from muattn_tools.paths import TABLES

class UnknownMachine(Exception):
    pass


@functools.cache
def _table(name: str) -> dict:
    return json.loads((TABLES / f"{name}.json").read_text())


def machine(name: str) -> dict:
    """What the schedules, and ./dev report, know of a machine; a backend has the name of its machine."""
    for found in _table("machines")["machines"]:
        if found["name"] == name:
            return found
    raise UnknownMachine(f"tables/machines.json has no machine '{name}'")


def family(triple: str) -> dict | None:
    return next((family for family in _table("machines")["families"] if re.search(family["triples"], triple)), None)


def gpus() -> list[str]:
    return _table("machines")["gpus"]


def ladder(triple: str) -> dict[str, list[str]]:
    """Rungs and their features, best first, without the experimental ones; empty for a family without a ladder."""
    rungs = [machine(name) for name in (family(triple) or {"rungs": []})["rungs"]]
    return {rung["name"]: rung["features"].split("-") if rung["features"] else [] for rung in rungs if not rung.get("experimental")}


def with_implied(features: list[str]) -> set[str]:
    implies = _table("machines")["implies"]
    found = set(features)
    while more := {implies[feature] for feature in found if feature in implies} - found:
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


def entries(device: str) -> list[dict]:
    """Of tables/kernels.json, for "cpu" or "gpu"."""
    return [entry for entry in _table("kernels")["kernels"] if entry["device"] in (device, "any")]


def generator_of(entry: dict) -> str:
    return entry.get("generator") or f"{entry['operation']}_{entry['algorithm']}"


def dtype_of(types: list[str]) -> str:
    """The part of a kernel's name that says its types, as muattn_dtype() in cmake/MuattnRows.cmake."""
    q, kv, out = types
    return "_".join([q, *([kv] if {kv, out} != {q} else []), *([out] if out not in (q, kv) else [])])


def names_of(entry: dict) -> Iterator[str]:
    """Its kernels, without head dimensions: the algorithm with the axes' values that do not go without saying."""
    axes = [[(axis, value) for value in values] for one in entry.get("axes", []) for axis, values in one.items() if axis != "max_d"]
    for chosen in itertools.product(*axes):
        said = [axis if value is True else f"{axis}={value}" for axis, value in chosen if value not in _table("kernels")["unsaid"]]
        yield "+".join([entry["algorithm"], *said])


def kernels_of(operation: str, device: str) -> list[str]:
    return list(dict.fromkeys(name for entry in entries(device) if entry["operation"] == operation for name in names_of(entry)))


def kernel_columns(device: str) -> dict[str, list[str]]:
    """The names that --ops, --directions, --dtypes and --kernels take."""
    columns = {
        "ops": [entry["operation"] for entry in entries(device) if entry["operation"] != "convert"],
        "directions": [entry["direction"] for entry in entries(device)],
        "dtypes": [dtype for entry in entries(device) for types in entry["types"] for dtype in types],
        "kernels": [name for entry in entries(device) if entry["operation"] != "convert" for name in names_of(entry)],
    }
    return {option: list(dict.fromkeys(names)) for option, names in columns.items()}
