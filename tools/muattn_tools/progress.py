"""How far a long command is: a bar on a terminal; elsewhere, as in a log, a line at the start and now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS = 15.0  # between two lines


class Ticker:
    """A context: calls a function at once and then every so many seconds."""

    def __init__(self, call: Callable[[], None], seconds: float = SECONDS):
        self._call, self._seconds = call, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Ticker:
        self._call()
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._call()


class Steps:
    """A context, on standard error: so many steps, and what is being done."""

    def __init__(self, name: str, total: int, seconds: float = SECONDS):
        self.name, self.total, self.done, self.doing = name, total, 0, ""
        self.console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._task = self._bar.add_task(name, total=total)
        self._ticker = None if self.console.is_terminal else Ticker(self._line, seconds)
        self._start = time.monotonic()

    def __enter__(self) -> Steps:
        (self._ticker or self._bar).__enter__()
        return self

    def __exit__(self, *error) -> None:
        (self._ticker or self._bar).__exit__(*error)

    def at(self, done: int, doing: str = "") -> None:
        self.done, self.doing = done, doing
        self._bar.update(self._task, completed=done, description=doing or self.name)

    def advance(self) -> None:
        self.at(self.done + 1, self.doing)

    def _line(self) -> None:
        elapsed = round(time.monotonic() - self._start)
        time_of = f", {elapsed // 60}:{elapsed % 60:02}" if elapsed else ""
        doing = f": {self.doing}" if self.doing else ""
        print(f"{self.name}: {self.done} of {self.total}{time_of}{doing}", file=sys.stderr, flush=True)
