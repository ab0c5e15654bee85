"""What a test needs that only some verb installs: the groups of packages.txt, of which ./dev installs the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parents[2] / "packages.txt"


def group(name: str) -> list[str]:
    return next(words[1:] for words in map(str.split, PACKAGES.read_text().splitlines()) if words[0] == name)


def missing(name: str) -> list[str]:
    """Of the group; all of them where there is no dpkg."""
    installed = []
    for package in group(name):
        try:
            done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", package], capture_output=True, text=True)
        except FileNotFoundError:
            break
        if done.stdout.startswith("ii"):
            installed.append(package)
    return [package for package in group(name) if package not in installed]


def needs(name: str) -> pytest.MarkDecorator:
    absent = missing(name)
    return pytest.mark.skipif(bool(absent), reason=f"missing: {' '.join(absent)}; ./dev test --target {name} installs them")
