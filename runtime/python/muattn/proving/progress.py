"""How far a long command is, on standard error: one line that changes on a terminal; elsewhere, as in a log, a line now and then."""

from __future__ import annotations

import sys
import time

SECONDS = 15.0  # between two lines of a log


class Progress:
    """A context. Work has a size in any unit; what is left takes as long a unit as what was done here."""

    def __init__(self, name: str, total: float, already: float = 0.0):
        self.name, self.total, self.already, self.done = name, total, already, 0.0
        self._terminal = sys.stderr.isatty()
        self._start, self._said = time.monotonic(), -SECONDS
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        if self._terminal:
            print(file=sys.stderr)

    def at(self, done: float, doing: str) -> None:
        """done: of what was not done already."""
        self.done = done
        now = time.monotonic()
        if now - self._start - self._said < (0.2 if self._terminal else SECONDS):
            return
        self._said = now - self._start
        line = f"{self.name}: {100 * (self.already + done) / self.total:.0f} %{self._left()}: {doing}"
        if self._terminal:
            self._width = max(self._width, len(line))
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _left(self) -> str:
        """Nothing before there is something to go by."""
        elapsed = time.monotonic() - self._start
        if not self.done or elapsed < 1:
            return ""
        left = round(elapsed * (self.total - self.already - self.done) / self.done)
        return f", {left // 60}:{left % 60:02} left"
