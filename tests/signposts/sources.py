"""The files of the repository, without what is built or installed."""

from __future__ import annotations

import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".c", ".cmake", ".cpp", ".h", ".hpp", ".in", ".inc", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yml", ""}
NOT_OURS = {"__pycache__", ".git", ".venv", ".venv-peers", "build", "dist", "results", "out"}


@functools.cache
def files() -> frozenset[str]:
    """By their paths from the root."""
    found, folders = set(), [ROOT]
    while folders:
        for path in folders.pop().iterdir():
            name = path.relative_to(ROOT).as_posix()
            if path.name == "__pycache__" or name in NOT_OURS:
                continue
            if path.is_dir():
                folders.append(path)
            else:
                found.add(name)
    return frozenset(found)


@functools.cache
def folders() -> frozenset[str]:
    return frozenset(parent.as_posix() for name in files() for parent in Path(name).parents)


def texts(*endings: str) -> dict[str, str]:
    """By path; all that is text where no endings are given. Not what was measured, nor lists of kernels, nor the patterns of these tests."""
    wanted = set(endings) or TEXT
    return {
        name: (ROOT / name).read_text()
        for name in sorted(files())
        if Path(name).suffix in wanted and not name.startswith(("bench/results/", "bench/baselines/", "tests/choices/", "tests/signposts/"))
    }
