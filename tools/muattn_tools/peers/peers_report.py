"""A comparison as a Markdown table and a picture: how many times faster muattn is than the best of its peers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from muattn_tools.machine_load import kept_warning
from muattn_tools.show_markdown import show_markdown

TORCH = ("torch SDPA", "torch composed", "torch.compile", "torch flex")


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


# PyTorch's SDPA takes its window as a dense mask: means are also given without it.
APART = "window_8k"


def means_of(pairs: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Geometric means of the ratios of an operation's shapes, by name, with words for each."""
    found = {"geometric mean": pairs}
    if APART in pairs:
        found[f"without {APART}"] = {name: pair for name, pair in pairs.items() if name != APART}
    return {words: tuple(geometric_mean([pair[k] for pair in of.values()]) for k in (0, 1)) for words, of in found.items()}


def ratios(row: dict) -> tuple[float, float, str]:
    """Best PyTorch time and best peer time over muattn's, and that peer."""
    times = row["milliseconds"]
    peers = {name: t for name, t in times.items() if name != "muattn"}
    best = min(peers, key=peers.get)
    return min(t for name, t in peers.items() if name in TORCH) / times["muattn"], peers[best] / times["muattn"], best


def _held(results: dict) -> list[str]:
    held = results.get("held_to")
    return [f"muattn was held to {held}. ONNX Runtime and OpenVINO cannot be: compare with PyTorch alone."] if held else []


def table(results: dict) -> str:
    thread_counts = sorted({row["threads"] for row in results["rows"]})
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"{results['device']}, {results['backend']}, {results['processors']} processors; {results['date']}, commit "
        f"{results['commit']}; {versions}; `{results['command'].strip()}`",
        "",
        *(line for warning in (*kept_warning(results), *_held(results)) for line in (warning, "")),
        "| shape | " + " | ".join(
            f"{n} thread{'s' * (n > 1)}: ms | of sgemm | x PyTorch | x best peer" for n in thread_counts) + " |",
        "|---|" + "---|" * (4 * len(thread_counts)),
    ]  # fmt: skip
    by_shape: dict[tuple, dict] = {}
    for row in results["rows"]:
        by_shape.setdefault((row["operation"], row["name"]), {})[row["threads"]] = row
    pairs: dict[tuple, dict] = {}
    for (operation, name), rows in by_shape.items():
        cells = []
        for n in thread_counts:
            row = rows[n]
            ms = row["milliseconds"]["muattn"]
            torch_ratio, best_ratio, best = ratios(row)
            pairs.setdefault((operation, n), {})[name] = torch_ratio, best_ratio
            share = row["gflop"] / ms * 1e3 / row["sgemm_gflops"]
            cells.append(f"{ms:.3g} | {share:.0%} | {torch_ratio:.2f} | {best_ratio:.2f} ({best})")
        lines.append(f"| {operation}/{name} | " + " | ".join(cells) + " |")
    for operation in dict.fromkeys(o for o, _ in by_shape):
        means = [means_of(pairs[operation, n]) for n in thread_counts]
        for words in means[0]:
            cells = [" | | **{:.2f}** | **{:.2f}**".format(*of_threads[words]) for of_threads in means]
            lines.append(f"| **{operation}, {words}** | " + " | ".join(cells) + " |")
    left_out: dict[str, dict] = {}
    for row in results["rows"]:
        for peer in row["left_out"]:
            left_out.setdefault(peer, {})[f"{row['operation']}/{row['name']}"] = None
    notes = [f"- {peer} is left out of {', '.join(shapes)}: its output differs from muattn's" for peer, shapes in left_out.items()]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def bars(results: dict, value: Callable[[dict], float], title: str, path: Path) -> None:
    """A picture: time of the best peer over muattn's, which value gives of a row, by shape and number of threads."""
    thread_counts = sorted({row["threads"] for row in results["rows"]})
    names = list(dict.fromkeys(f"{row['operation']}/{row['name']}" for row in results["rows"]))
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(names) + 1.6), layout="constrained")
    height = 0.8 / len(thread_counts)
    for index, n in enumerate(thread_counts):
        values = {f"{r['operation']}/{r['name']}": value(r) for r in results["rows"] if r["threads"] == n}
        positions = [y + (index - (len(thread_counts) - 1) / 2) * height for y in range(len(names))]
        axes.barh(positions, [values[name] for name in names], height, label=f"{n} thread{'s' * (n > 1)}")
        for y, name in zip(positions, names):  # never on the line at 1
            axes.annotate(f"{values[name]:.2f}", (max(values[name], 1), y), (3, -0.5), textcoords="offset points", va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 4, 8, 16], ["0.5", "1", "2", "4", "8", "16"])
    axes.set_xlim(right=1.2 * axes.get_xlim()[1])  # room for the longest bar's label
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("time of the best peer / time of muattn (right of the line: muattn is faster)")
    axes.set_title(f"{title}\n{results['device']}, {results['backend']}, float32, {results['date']}", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def write_report(results: dict, path: Path) -> None:
    text = table(results)
    path.with_suffix(".md").write_text(text)
    title = "muattn against the best of PyTorch, ONNX Runtime, OpenVINO"
    bars(results, lambda row: ratios(row)[1], title, path.with_suffix(".png"))
    show_markdown(text)
    print(f"{path}, .md, .png")
