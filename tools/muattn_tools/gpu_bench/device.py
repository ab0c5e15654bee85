"""What ./dev bench --gpu needs before anything large is installed: good arguments and a CUDA device. As a program it checks both."""

from __future__ import annotations

import argparse
import sys

import muattn
from muattn_tools.command_lines import gpu as command_line
from muattn_tools.command_lines import named_shapes


def checked(words: list[str] | None = None) -> argparse.Namespace:
    """The arguments; one line and exit code 2 where they, or the machine, will not do."""
    parser = command_line()
    arguments = parser.parse_args(words)
    if not any(arguments.filter in name for name in named_shapes()):
        parser.error(f"--filter: no shape of bench/shapes.json contains '{arguments.filter}'")
    if not dict(muattn.backends()).get("cuda"):
        parser.error("this machine has no CUDA device (libcuda.so.1 is missing, or finds none)")
    parser.need_folder("--out", arguments.out)
    return arguments


if __name__ == "__main__":
    checked(sys.argv[1:])
