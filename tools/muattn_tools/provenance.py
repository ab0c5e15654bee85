"""Where a result comes from: what every result says of itself."""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
from pathlib import Path

from muattn_tools.paths import ROOT


def device() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def commit() -> str:
    """What is checked out, and -dirty where anything was changed but results: those of the run before are no change of what is measured."""
    changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)bench/results")
    return git("describe", "--always", "--exclude=*") + ("-dirty" if changes else "")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def provenance(backend: str, command: str) -> dict[str, str]:
    return {
        "date": datetime.date.today().isoformat(), "device": device(), "backend": backend.removeprefix("cpu:"),
        "commit": commit(), "command": command.strip(),
    }  # fmt: skip


def file_stem(results: dict, part: str = "") -> str:
    """date-device-backend: the name of a result's files, without what they hold; and -part of a --filter, which replaces no whole result."""
    device = re.sub(r"\(R\)|\(TM\)|[^\w.+-]+", "-", results["device"]).strip("-")
    of_part = "-" + re.sub(r"[^\w.+-]+", "-", part) if part else ""
    return re.sub("-+", "-", f"{results['date']}-{device}-{results['backend']}{of_part}")
