"""What commands print of the Markdown that they write."""

from __future__ import annotations

from rich.console import Console
from rich.markdown import Markdown

BETWEEN_COLUMNS = 4


def show_markdown(text: str) -> None:
    """On standard output; where a table is wider than the terminal its lines go on in the next, as cells that are cut tell nothing."""
    console = Console()
    for block in text.strip().split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        Console(width=max(console.width, _width(rows))).print(Markdown(block))
        if not rows:  # a table brings empty lines of its own
            console.print()


def _width(rows: list[str]) -> int:
    """Characters of a table's widest cells, side by side."""
    columns = zip(*(row.strip("|").split("|") for row in rows))
    return sum(max(len(cell.strip()) for cell in column) + BETWEEN_COLUMNS for column in columns)
