"""What a person sees of a search: a line per candidate, and below them what is being done, the best so far, the time left.
Without a terminal, as in a log, the latter is a line at the start and now and then."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TextColumn
from rich.table import Column, Table
from rich.text import Text

from muattn_tools.progress import Ticker
from muattn_tools.tune.build import Clock
from muattn_tools.tune.space import text
from muattn_tools.tune.state import State

PLAIN_SECONDS = 60.0  # between two lines


def _left(clock: Clock) -> str:
    left = max(0, round(clock.left()))
    return f"{left // 60}:{left % 60:02} left"


def _rest() -> Column:
    """A column that is shortened in a narrow terminal."""
    return Column(ratio=1, no_wrap=True)


class _TimeLeft(ProgressColumn):
    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock

    def render(self, task) -> Text:
        return Text(_left(self.clock))


class Show:
    """A context: the lines at the bottom of the terminal are there as long as it is open."""

    def __init__(self, clock: Clock, plain_seconds: float = PLAIN_SECONDS):
        self.console = Console(highlight=False, soft_wrap=True)
        self._clock = clock
        self._progress = Progress(
            _TimeLeft(clock), TextColumn("[bold]{task.fields[generator]}"), TextColumn("{task.fields[done]}", table_column=_rest()),
            TextColumn("{task.description}", table_column=_rest()), console=self.console, transient=True, expand=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", generator="tune", done="", total=None)
        self._below = self._progress if self.console.is_terminal else Ticker(self._plain, plain_seconds)

    def __enter__(self) -> Show:
        self._below.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._below.__exit__(*error)

    def _plain(self) -> None:
        task = self._progress.tasks[0]
        words = [f"{task.fields['generator']}:", task.fields["done"], f"{_left(self._clock)};", task.description]
        self.line(" ".join(word for word in words if word).rstrip(";"))

    def generator(self, name: str, state: State) -> None:
        self._progress.update(self._task, generator=name, done=self._done(state))

    def doing(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def line(self, line: str) -> None:
        self.console.print(line, markup=False)

    def candidate(self, record: dict, state: State) -> None:
        if record["result"] == "rejected":
            verdict = f"rejected: {record['reason']}"
        else:
            result = "no gain" if record["result"] == "slower" and record["ratio"] >= 1 else record["result"]
            verdict = f"{record['ratio']:.3f} x, {result}"
        self.line(f"{len(state.candidates()):4}  {text(record['numbers'])}: {verdict}")
        self._progress.update(self._task, done=self._done(state))

    @staticmethod
    def _done(state: State) -> str:
        return f"{len(state.candidates())} done, best {state.ratio():.3f} x: {text(state.best())};"

    def table(self, title: str, rows: list[dict]) -> None:
        """Default and best of every shape."""
        table = Table(title=title, title_justify="left")
        table.add_column("shape")
        for column in ("threads", "default, ms", "best, ms", "ratio"):
            table.add_column(column, justify="right")
        for row in rows:
            default, best = row["milliseconds"]["best"], row["milliseconds"]["candidate"]
            numbers = [str(row["threads"]), f"{default:.3g}", f"{best:.3g}", f"{default / best:.3f}"]
            table.add_row(row["shape"], *numbers)
        self.console.print(table)
