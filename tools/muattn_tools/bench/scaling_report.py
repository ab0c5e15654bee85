"""Time over n as a Markdown table and a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from muattn_tools.machine_load import kept_warning

APART = 1.8  # a reference line from its curve


def _times(results: dict, case: str) -> dict[int, float]:
    """Milliseconds by n."""
    return {row["n"]: row["milliseconds"] for row in results["rows"] if row["case"] == case}


def table(results: dict) -> str:
    sizes = sorted({row["n"] for row in results["rows"]})
    fits = results["slopes"]
    threads = f"{results['threads']} thread{'s' * (results['threads'] > 1)}"
    lines = [
        f"Milliseconds for one head, d = {results['d']}, {threads}; best calls. "
        f"Slope of log time over log n for n = {fits[0]['from']:,} to {fits[0]['to']:,}: 1 is linear, 2 quadratic.",
        "",
        "| n | " + " | ".join(fit["case"] for fit in fits) + " |",
        "|---:|" + "---:|" * len(fits),
    ]
    for n in sizes:
        lines.append(f"| {n:,} | " + " | ".join(f"{_times(results, fit['case'])[n]:.3g}" for fit in fits) + " |")
    for name, key, form in (("slope", "slope", ".2f"), ("expected", "expected", "d")):
        lines.append(f"| **{name}** | " + " | ".join(f"**{fit[key]:{form}}**" for fit in fits) + " |")
    lines += ["", (
        f"{results['device']}, {results['backend']}; {results['date']}, commit {results['commit']}; muattn "
        f"{results['version']}; `{results['command']}`"
    )]  # fmt: skip
    lines += [line for warning in kept_warning(results) for line in ("", warning)]
    return "\n".join(lines) + "\n"


def picture(results: dict, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7.5, 5.5), layout="constrained")
    cases = list(dict.fromkeys(fit["case"].partition(", ")[0] for fit in results["slopes"]))  # whatever the direction
    for fit in results["slopes"]:
        times = _times(results, fit["case"])
        case, _, direction = fit["case"].partition(", ")
        index = cases.index(case)
        inside = "white" if direction == "backward" else f"C{index}"
        axes.plot(times.keys(), times.values(), color=f"C{index}", marker="os^v"[index], markersize=5, markerfacecolor=inside,
                  label=f"{fit['case']}: slope {fit['slope']:.2f}")  # fmt: skip
    _reference_slopes(axes, results)
    sizes = sorted({row["n"] for row in results["rows"]})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes[::-2], [f"{n:,}" for n in sizes[::-2]])  # every other one fits without turning
    axes.minorticks_off()
    axes.set_xlabel("tokens n")
    axes.set_ylabel("milliseconds")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    first = results["slopes"][0]
    threads = f"{results['threads']} thread{'s' * (results['threads'] > 1)}"
    axes.set_title(
        f"One head, d = {results['d']}, float32, {threads}; slopes fitted from n = {first['from']:,}\n"
        f"{results['device']}, {results['backend']}, {results['date']}", fontsize=10)  # fmt: skip
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _reference_slopes(axes, results: dict) -> None:
    """Lines of slope 1 below the curves, and of slope 2 above them, over the larger half of the sizes."""
    for slope, style, outermost, factor in ((1, "--", min, 1 / APART), (2, ":", max, APART)):
        curves = [_times(results, fit["case"]) for fit in results["slopes"] if fit["expected"] == slope]
        n = sorted(curves[0])
        n = n[len(n) // 2 :]
        level = factor * outermost(curve[x] / x**slope for curve in curves for x in n)
        axes.plot(n, [level * x**slope for x in n], style, color="grey", linewidth=1.2, label=f"slope {slope}")
