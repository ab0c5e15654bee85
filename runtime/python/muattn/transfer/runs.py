"""One run, and the file in which every finished run is a line."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

from ..proving import batches, make_model, make_optimizer, train
from .plan import BASE_WIDTH, HEADS, Run

LAST = 0.1  # of the steps: over these the loss is averaged


def perform(run: Run, on_step: Callable[[int], None]) -> float | None:
    """The mean training loss of the last tenth of the steps. None: the run diverged, that is a loss was NaN or infinite. Runs of one seed see the
    same batches, at every width and rate."""
    model = make_model(run.operation, run.rule, run.width, seed=run.seed, base_width=BASE_WIDTH, base_heads=HEADS)
    optimizer = make_optimizer(model, run.rule, run.lr)
    losses = []
    try:
        for loss in train(model, optimizer, batches(run.operation, run.seed, run.batch), run.steps):
            if not math.isfinite(loss):
                return None
            losses.append(loss)
            on_step(len(losses))
    except ValueError as error:
        if "scale[" not in str(error):
            raise
        return None  # muattn refuses a learned temperature that is NaN or beyond all bounds
    count = max(1, round(LAST * run.steps))
    return sum(losses[-count:]) / count


@dataclasses.dataclass(frozen=True)
class Outcome:
    loss: float | None
    seconds: float


class Finished:
    """A file of JSON lines. Only runs of this code on this machine count: origin is a part of each line, all of which but the commit has to be
    the same (a commit may change other files, and changes that are not committed have none)."""

    def __init__(self, path: Path, origin: dict):
        self._path, self.origin = path, origin
        self._outcomes: dict[Run, Outcome] = {}
        for line in path.read_text().splitlines() if path.is_file() else ():
            self._take(line)

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the last line of a program that was ended while it wrote
            return
        if _without_commit(entry["origin"]) == _without_commit(self.origin) and entry["run"].keys() == {field.name for field in dataclasses.fields(Run)}:
            self._outcomes[Run(**entry["run"])] = Outcome(entry["loss"], entry["seconds"])

    def __contains__(self, run: Run) -> bool:
        return run in self._outcomes

    def __getitem__(self, run: Run) -> Outcome:
        return self._outcomes[run]

    def finish(self, run: Run, on_step: Callable[[int], None] = lambda step: None) -> None:
        """Performs the run and writes it down."""
        start = time.perf_counter()
        loss = perform(run, on_step)
        outcome = Outcome(loss, round(time.perf_counter() - start, 2))
        entry = {"run": dataclasses.asdict(run), "loss": outcome.loss, "seconds": outcome.seconds, "origin": self.origin}
        with open(self._path, "ab+") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")
        self._outcomes[run] = outcome


def _without_commit(origin: dict) -> dict:
    return {name: value for name, value in origin.items() if name != "commit"}


def _ends_a_line(file) -> bool:
    file.seek(-1, 2)
    return file.read(1) == b"\n"
