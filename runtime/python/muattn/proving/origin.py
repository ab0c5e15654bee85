"""Where a result comes from: what every results file says of itself. No path of the machine is in it."""

from __future__ import annotations

import datetime
import hashlib
import platform
import re
import shlex
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

import muattn


def origin() -> dict:
    """Of the code and the machine, now."""
    return {
        "code": _code(), "device": _processor(), "backend": muattn.current_backend().removeprefix("cpu:"), "threads": torch.get_num_threads(), "commit": _commit(),
        "versions": {"muattn": muattn.__version__, "torch": torch.__version__, "mup": version("mup"), "python": platform.python_version()},
    }  # fmt: skip


def today() -> str:
    return datetime.date.today().isoformat()


def command(program: str, arguments: list[str]) -> str:
    """Without --out, which names a folder of the machine."""
    kept, words = [], iter(arguments)
    for word in words:
        if word == "--out":
            next(words, None)
        elif not word.startswith("--out="):
            kept.append(word)
    return shlex.join(["python", "-m", program, *kept])


def file_stem(date: str, device: str, backend: str) -> str:
    """The name of a result's files, without what they hold."""
    plain = re.sub(r"\(R\)|\(TM\)|[^\w.+-]+", "-", device).strip("-")
    return re.sub("-+", "-", f"{date}-{plain}-{backend}")


def _code() -> str:
    """What tells two versions of muattn apart, committed or not: a part of the hash of all its files."""
    package, hashed = Path(muattn.__file__).parent, hashlib.sha256()
    for path in sorted(path for path in package.rglob("*") if path.suffix in (".py", ".so", ".pyd")):
        hashed.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return hashed.hexdigest()[:12]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search("^model name\\s*:\\s*(.*)$", info.read_text(), re.M) if info.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _commit() -> str:
    """Of the checkout that this file is of; an installed package has none."""
    own = Path(__file__).resolve()
    git = ["git", "-C", str(own.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", own.name], capture_output=True, check=True)
        found = subprocess.run([*git, "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()
