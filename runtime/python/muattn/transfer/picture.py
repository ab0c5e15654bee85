"""The plot: final loss against learning rate, a line per width, a panel per rule, a row per operation."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402: the backend first
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator  # noqa: E402

from .plan import BASE_WIDTH, HEADS  # noqa: E402
from .table import Panel, move_text  # noqa: E402

TITLES = {
    "sp": "standard parametrization", "mup": "muP", "mup_sqrt": "muP, but 1/√d left in attention", "mup_mean": "muP, output not divided (mup_mean)",
    "mup_heads": "muP, heads grow", "umup": "muP with u-muP's attention",
}  # fmt: skip


def picture(panels: list[Panel], note: str, path: Path) -> None:
    operations = list(dict.fromkeys(panel.operation for panel in panels))
    rows = [[panel for panel in panels if panel.operation == operation] for operation in operations]
    columns = max(map(len, rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=(0.8 + 4 * columns, 0.8 + 3.4 * len(rows)), squeeze=False, layout="constrained")
    for row, axes_of_row in zip(rows, axes):
        low, high = _limits(row)
        for panel, axis in zip(row, axes_of_row):
            _draw(panel, axis, low, high)
        for axis in axes_of_row[len(row) :]:
            axis.set_visible(False)
        axes_of_row[0].set_ylabel(f"{row[0].operation} attention: loss at the end")
    for axis in axes[-1]:
        axis.set_xlabel("learning rate (of the base model, under muP)")
    figure.suptitle("Does the best learning rate stay as the model gets wider?   ★ best rate of a width   × diverged", fontsize=12)
    figure.text(0.5, -0.01, note, ha="center", va="top", fontsize=7, color="0.4")
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def _limits(row):
    """Of the losses that are finite, with room at the top for those that are not."""
    finite = [loss for panel in row for loss in panel.losses.values() if math.isfinite(loss)] or [1.0]
    low, high = min(finite), max(finite)
    return low / (high / low) ** 0.06 / 1.01, high * (high / low) ** 0.1 * 1.01


def _draw(panel, axis, low, high):
    for index, width in enumerate(panel.widths):
        color = plt.get_cmap("viridis")(0.9 - 0.85 * index / max(1, len(panel.widths) - 1))
        losses = [panel.losses[width, lr] for lr in panel.lrs]
        grown = f"{width * HEADS // BASE_WIDTH} heads" if panel.rule == "mup_heads" else f"d = {width // HEADS}"
        finite = [loss if math.isfinite(loss) else math.nan for loss in losses]
        axis.plot(panel.lrs, finite, "o-", color=color, markersize=3.5, label=f"width {width}, {grown}")
        away = [lr for lr, loss in zip(panel.lrs, losses) if not math.isfinite(loss)]
        axis.plot(away, [high / (high / low) ** 0.02] * len(away), "x", color=color)
        if (place := panel.best(width)) is not None:
            axis.plot(panel.lrs[place], losses[place], "*", color=color, markersize=14, markeredgecolor="black", markeredgewidth=0.8, zorder=3)
    if (place := panel.best(panel.widths[0])) is not None:
        axis.axvline(panel.lrs[place], color="0.6", linestyle=":", zorder=0)
    axis.set_xscale("log", base=2)
    _scale(axis, low, high)
    axis.grid(alpha=0.25)
    wider = "yes" if panel.wider_is_better() else "no"
    axis.set_title(f"{TITLES[panel.rule]}\nsteps that the best rate moves: {move_text(panel)}; wider is better: {wider}", fontsize=9.5)
    axis.legend(fontsize=7, loc="upper center")


def _scale(axis, low, high):
    """Logarithmic where losses differ much, with plain numbers."""
    if high > 5 * low:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylim(low, high)
