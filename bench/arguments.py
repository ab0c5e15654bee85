"""Command lines whose errors are one line."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    def __init__(self, prog: str, **options) -> None:
        super().__init__(prog, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog.removeprefix('./dev ')}: {message}", file=sys.stderr)
        sys.exit(2)
