"""Command lines whose errors are one line. The standard library alone: --help needs no build and no .venv."""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    def __init__(self, prog: str, **options) -> None:
        super().__init__(prog, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog.removeprefix('./dev ')}: {message}", file=sys.stderr)
        sys.exit(2)

    def need_folder(self, option: str, folder: Path) -> None:
        if problem := cannot_write(folder):
            self.error(f"{option}: {problem}")

    def need_file(self, option: str, path: Path) -> None:
        """The folder of a file; the file itself is not made yet."""
        if os.path.isdir(path):
            self.error(f"{option}: {path} is a folder")
        if os.path.exists(path) and not os.access(path, os.W_OK):
            self.error(f"{option}: cannot write {path}")
        self.need_folder(option, path.parent)


def cannot_write(folder: Path) -> str | None:
    """Makes the folder; why nothing can be written into it, which is better known before the work than after it."""
    if os.path.exists(folder) and not os.path.isdir(folder):
        return f"{folder} is no folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"cannot write into {folder}: {error.strerror}"
    return None


def processors() -> int:
    """All that the process may use."""
    return len(os.sched_getaffinity(0))


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number, not {text}")
    return value


def positive(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def thread_count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= processors()):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {processors()}, not {text}")
    return int(text)


def whole(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text}")
    return int(text)


def head_dimension(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 1024):
        raise argparse.ArgumentTypeError(f"must lie in 1..1024, not be {text}")
    return int(text)


def names(text: str) -> list[str]:
    """A list with commas: left empty, by a variable that is not set, it would mean all."""
    if not all(found := text.split(",")):
        raise argparse.ArgumentTypeError(f"must be names with commas between them, not '{text}'")
    return found
