"""The LLVM tools, of one version: its models of processors are part of what is reported."""

from __future__ import annotations

import re
import subprocess

VERSION = 19  # of Debian 12's, the oldest with models of its own for sapphirerapids and neoverse-v1; also in packages.txt
OBJDUMP = f"llvm-objdump-{VERSION}"
MCA = f"llvm-mca-{VERSION}"


class ToolError(Exception):
    pass


def run_tool(name: str, *arguments: str, stdin: str = "") -> str:
    try:
        done = subprocess.run([name, *arguments], input=stdin, capture_output=True, text=True)
    except FileNotFoundError:
        raise ToolError(f"{name} is missing: ./dev report installs it, from Debian's llvm-{VERSION}") from None
    if done.returncode:
        raise ToolError(f"{name} {arguments[-1]}: {(done.stderr.splitlines() or [f'exit code {done.returncode}'])[0]}")
    return done.stdout


def mca_version() -> str:
    return re.search(r"version (\S+)", run_tool(MCA, "--version"))[1]
