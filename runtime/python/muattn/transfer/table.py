"""What the losses of one panel say: an operation under a rule. Numbers alone; nothing is trained here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from .plan import rate_text


@dataclasses.dataclass(frozen=True)
class Panel:
    """Losses by (width, rate), means over seeds; infinite where a seed diverged. The first width is the base's."""

    operation: str
    rule: str
    widths: tuple[int, ...]
    lrs: tuple[float, ...]
    losses: Mapping[tuple[int, float], float]

    def best(self, width: int) -> int | None:
        """The place in lrs of the least loss; the lower rate of two that are equal; None where all runs diverged."""
        place = min(range(len(self.lrs)), key=lambda i: self.losses[width, self.lrs[i]])
        return place if math.isfinite(self.losses[width, self.lrs[place]]) else None

    def at_edge(self, width: int) -> bool:
        """The best rate may lie outside of the grid."""
        return self.best(width) in (0, len(self.lrs) - 1)

    def move(self) -> int | None:
        """Steps of the grid from the best rate of the first width to that of the last."""
        first, last = self.best(self.widths[0]), self.best(self.widths[-1])
        return None if first is None or last is None else last - first

    def at_base_rate(self) -> list[float] | None:
        """The loss of each width at the best rate of the first."""
        place = self.best(self.widths[0])
        return None if place is None else [self.losses[width, self.lrs[place]] for width in self.widths]

    def wider_is_better(self) -> bool:
        """There, from each width to the next."""
        losses = self.at_base_rate()
        return losses is not None and all(wide < narrow for narrow, wide in zip(losses, losses[1:]))

    def diverged(self) -> int:
        return sum(not math.isfinite(loss) for loss in self.losses.values())


def mean(losses: list[float | None]) -> float:
    return math.inf if None in losses else sum(losses) / len(losses)


def facts(panel: Panel) -> dict:
    """For the results file, in which JSON has no infinity."""
    best = [panel.best(width) for width in panel.widths]
    losses = panel.at_base_rate()
    return {
        "operation": panel.operation, "rule": panel.rule, "widths": list(panel.widths), "lrs": list(panel.lrs),
        "losses": [[_finite(panel.losses[width, lr]) for lr in panel.lrs] for width in panel.widths],
        "best_lr": [None if place is None else panel.lrs[place] for place in best],
        "at_edge": [panel.at_edge(width) for width in panel.widths], "move": panel.move(),
        "at_base_rate": None if losses is None else [_finite(loss) for loss in losses],
        "wider_is_better": panel.wider_is_better(), "diverged": panel.diverged(),
    }  # fmt: skip


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


def markdown(panels: list[Panel]) -> str:
    """A table per operation: of one operation all panels have the same widths."""
    return "\n".join(_table([panel for panel in panels if panel.operation == name]) for name in dict.fromkeys(p.operation for p in panels))


def _table(panels: list[Panel]) -> str:
    first, *others = panels[0].widths
    heads = [
        f"{panels[0].operation} attention", f"best rate, width {first}", *map(str, others), "moves, steps",
        f"loss at the best rate of {first}: width {first}", *map(str, others), "wider is better there", "diverged",
    ]  # fmt: skip
    return "\n".join(_line(cells) for cells in (heads, ["---"] * len(heads), *map(_cells, panels))) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(panel: Panel) -> list[str]:
    losses = panel.at_base_rate() or [math.inf] * len(panel.widths)
    return [
        panel.rule, *(best_text(panel, width) for width in panel.widths), move_text(panel), *map(_loss_text, losses),
        "yes" if panel.wider_is_better() else "no", f"{panel.diverged()} of {len(panel.losses)}",
    ]  # fmt: skip


def best_text(panel: Panel, width: int) -> str:
    place = panel.best(width)
    if place is None:
        return "diverged"
    return rate_text(panel.lrs[place]) + (" (edge)" if panel.at_edge(width) else "")


def move_text(panel: Panel) -> str:
    move = panel.move()
    return "-" if move is None else f"{move:+d}" if move else "0"


def _loss_text(loss: float) -> str:
    return f"{loss:.3f}" if math.isfinite(loss) else "diverged"
