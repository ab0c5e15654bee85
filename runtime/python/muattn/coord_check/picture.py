"""The picture of coordinate checks: a row for each, a column for each quantity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..torch import CoordCheck

# Okabe and Ito's colours, which differ for the colour-blind too; a symbol says the same.
VERDICTS = {"stable": ("#009E73", "✓"), "grows": ("#D55E00", "▲"), "vanishes": ("#0072B2", "▼"), "not clear": ("#666666", "?")}


def draw(checks: Mapping[str, CoordCheck], path: str | Path, title: str = "Coordinate check") -> None:
    """checks: by the name of their row. Every panel is as many powers of ten high as every other, so that slopes can be compared by eye."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    quantities = list(dict.fromkeys(quantity for check in checks.values() for quantity in check.verdict))
    sizes = {name: check.sizes() for name, check in checks.items()}
    height = max((_height(steps) for of_check in sizes.values() for _, steps in of_check.values()), default=1) * 1.35 + 0.5
    figure = Figure(figsize=(2.9 * len(quantities) + 1, 2.3 * len(checks) + 1.3), layout="constrained", dpi=130)
    figure.suptitle(f"{title}: how large things are (mean |coordinate|) as the model gets wider", fontsize=12)
    panels = figure.subplots(len(checks), len(quantities), squeeze=False)
    last = max(t for of_check in sizes.values() for _, steps in of_check.values() for t in steps)
    colours = colormaps["viridis_r"]
    for row, (name, check) in zip(panels, checks.items()):
        for panel, quantity in zip(row, quantities):
            panel.spines[["top", "right"]].set_visible(False)
            if quantity not in sizes[name]:
                panel.set_visible(False)
                continue
            widths, steps = sizes[name][quantity]
            _draw_lines(panel, widths, steps, last, colours)
            _frame(panel, widths, steps, height)
            _label(panel, check, quantity)
        row[0].set_ylabel(name, fontsize=9.5, fontweight="bold")
    for panel, quantity in zip(panels[0], quantities):
        panel.set_title(quantity, fontsize=11)
    for panel in panels[-1]:
        panel.set_xlabel("width")
    _legend(figure, last, colours)
    figure.savefig(path)


def _means(steps, t):
    """Over seeds, geometric; NaN where a size is 0 or not finite."""
    return [math.exp(sum(map(math.log, of)) / len(of)) if all(x > 0 and math.isfinite(x) for x in of) else math.nan for of in zip(*steps[t])]


def _finite(steps):
    return [x for t in steps for x in _means(steps, t) if math.isfinite(x)]


def _height(steps):
    """In powers of ten."""
    found = _finite(steps)
    return math.log10(max(found) / min(found)) if found else 0


def _draw_lines(panel, widths, steps, last, colours):
    for t in sorted(steps, reverse=True):
        colour = _colour(t, last, colours)
        if t == 1:
            panel.plot(widths, _means(steps, t), color="black", linestyle="--", linewidth=1.3, marker="o", markersize=2.5)
        else:
            is_last = t == max(steps)
            panel.plot(widths, _means(steps, t), color=colour, linewidth=2.2 if is_last else 1, marker="o", markersize=3.5 if is_last else 0)


def _colour(t, last, colours):
    return colours(0.12 + 0.88 * (t - 2) / max(1, last - 2))


def _frame(panel, widths, steps, height):
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(widths, [str(width) for width in widths], fontsize=8)
    panel.tick_params(axis="y", labelsize=8)
    panel.minorticks_off()
    panel.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    found = _finite(steps)
    if found:
        middle = math.log10(max(found) * min(found)) / 2 + 0.05 * height  # the label is below
        panel.set_ylim(10 ** (middle - 0.55 * height), 10 ** (middle + 0.45 * height))


def _label(panel, check, quantity):
    found = check.verdict[quantity]
    colour, symbol = VERDICTS[found]
    late = check.fits[quantity, "late"]
    slope = "no slope" if math.isnan(late.slope) else f"{late.slope:+.2f} ± {late.margin:.2f}".replace("-", "−")
    panel.text(
        0.5, 0.03, f"{symbol} {found}   {slope}", transform=panel.transAxes, ha="center", va="bottom", fontsize=9.5, color="white", fontweight="bold",
        bbox={"boxstyle": "round,pad=0.3", "facecolor": colour, "edgecolor": "none"},
    )


def _legend(figure, last, colours):
    from matplotlib.lines import Line2D

    shown = sorted({2, (last + 2) // 2, last})
    handles = [Line2D([], [], color="black", linestyle="--", marker="o", markersize=2.5, label="at initialisation")]
    handles += [
        Line2D([], [], color=_colour(t, last, colours), linewidth=2.2 if t == last else 1, label=f"after {t - 1} step{'s' if t > 2 else ''}")
        for t in shown
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9, title_fontsize=9,
        title="Right: late lines are flat. In the boxes: the slope of log size against log width in the last quarter of the steps, "
        "and its 95 % interval",
    )
