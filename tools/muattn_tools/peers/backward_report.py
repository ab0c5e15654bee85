"""A comparison of forward and backward passes as a Markdown table and a picture, and what it says of the goals."""

from __future__ import annotations

from pathlib import Path

from muattn_tools.machine_load import kept_warning
from muattn_tools.peers.peers_report import bars, geometric_mean
from muattn_tools.show_markdown import show_markdown

# Forward and backward together over the best peer's time: the geometric mean, and the least of all shapes.
GOALS = {"spatial": (1.6, 1.1), "channel": (1.8, 1.0), "channel, d >= 256": (1.0, 1.0)}
SGEMM_GOAL, SGEMM_N, SGEMM_D = 0.85, 1024, 64  # share of sgemm of spatial attention's gradients, from these n and d on
ONE_HEAD, ONE_HEAD_GOAL = "one_head_4k", 1.8  # how many times faster its gradients should be with two threads


def ratio(row: dict, key: str = "milliseconds", own: str = "muattn") -> tuple[float, str]:
    """Time of the best peer over muattn's, and that peer."""
    peers = {name: t for name, t in row[key].items() if not name.startswith("muattn")}
    if not peers or own not in row[key]:
        return float("nan"), "none"
    best = min(peers, key=peers.get)
    return peers[best] / row[key][own], best


def share_of_sgemm(row: dict) -> float:
    return row["gflop"] / row["backward_milliseconds"]["muattn"] * 1e3 / row["sgemm_gflops"]


def group(rows: list[dict], name: str, threads: int) -> list[dict]:
    """Rows of "operation" or of "operation, d >= D"."""
    operation, _, least_d = name.partition(", d >= ")
    return [r for r in rows if r["operation"] == operation and r["threads"] == threads and r["d"] >= int(least_d or 1)]


def table(results: dict) -> str:
    rows = results["rows"]
    thread_counts = sorted({row["threads"] for row in rows})
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    heads = "forward + backward: ms | x best peer | backward: ms | of sgemm | x best peer"
    lines = [
        f"{results['device']}, {results['backend']}, {results['processors']} processors; {results['date']}, commit "
        f"{results['commit']}; {versions}; `{results['command'].strip()}`",
        "",
        *(line for warning in kept_warning(results) for line in (warning, "")),
        "| shape | " + " | ".join(f"{n} thread{'s' * (n > 1)}, {heads}" for n in thread_counts) + " |",
        "|---|" + "---|" * (5 * len(thread_counts)),
    ]  # fmt: skip
    by_shape: dict[str, dict[int, dict]] = {}
    for row in rows:
        by_shape.setdefault(f"{row['operation']}/{row['name']}", {})[row["threads"]] = row
    for name, of_shape in by_shape.items():
        lines.append(f"| {name} | " + " | ".join(_cells(of_shape[n]) for n in thread_counts) + " |")
    for operation in dict.fromkeys(row["operation"] for row in rows):
        cells = []
        for n in thread_counts:
            both, backward = ([ratio(row, key)[0] for row in group(rows, operation, n)] for key in ("milliseconds", "backward_milliseconds"))
            cells.append(f"| **{geometric_mean(both):.2f}** | | | **{geometric_mean(backward):.2f}**")
        lines.append(f"| **{operation}, geometric mean** | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {line}" for line in [*goals(rows), *notes(rows)])]) + "\n"


def _cells(row: dict) -> str:
    both, best = ratio(row)
    backward, best_backward = ratio(row, "backward_milliseconds")
    own, own_backward = (row[key]["muattn"] for key in ("milliseconds", "backward_milliseconds"))
    return f"{own:.3g} | {both:.2f} ({best}) | {own_backward:.3g} | {share_of_sgemm(row):.0%} | {backward:.2f} ({best_backward})"


def goals(rows: list[dict]) -> list[str]:
    lines = []
    for n in sorted({row["threads"] for row in rows}):
        threads = f"{n} thread{'s' * (n > 1)}"
        for name, (mean_goal, least_goal) in GOALS.items():
            if of_group := {f"{r['operation']}/{r['name']}": ratio(r)[0] for r in group(rows, name, n)}:
                least = min(of_group, key=of_group.get)
                lines.append(
                    f"{name}, {threads}, forward + backward: {geometric_mean(list(of_group.values())):.2f} (goal {mean_goal}); "
                    f"least {of_group[least]:.2f}, {least} (goal {least_goal})"
                )  # fmt: skip
        large = [r for r in group(rows, f"spatial, d >= {SGEMM_D}", n) if r["n"] >= SGEMM_N]
        if below := [f"{r['name']} {share_of_sgemm(r):.0%}" for r in large if share_of_sgemm(r) < SGEMM_GOAL]:
            lines.append(f"spatial gradients, {threads}: below {SGEMM_GOAL:.0%} of sgemm at n >= {SGEMM_N}, d >= {SGEMM_D}: {', '.join(below)}")
        elif large:
            lines.append(f"spatial gradients, {threads}: {SGEMM_GOAL:.0%} of sgemm or more at n >= {SGEMM_N}, d >= {SGEMM_D}")
    one_head = {r["threads"]: r["backward_milliseconds"]["muattn"] for r in rows if r["name"] == ONE_HEAD}
    if 1 in one_head and 2 in one_head:
        lines.append(f"{ONE_HEAD}, backward: two threads {one_head[1] / one_head[2]:.2f} times one (goal {ONE_HEAD_GOAL})")
    return lines


def notes(rows: list[dict]) -> list[str]:
    lines = []
    own_ways = dict.fromkeys((row["threads"], name) for row in rows for name in row["milliseconds"] if name.startswith("muattn,"))
    for n, own in sorted(own_ways):
        ratios = {row["name"]: ratio(row, own=own)[0] for row in rows if row["threads"] == n and own in row["milliseconds"]}
        cells = ", ".join(f"{name} {value:.2f}" for name, value in ratios.items())
        mean = geometric_mean(list(ratios.values()))
        lines.append(f"{own}, {n} thread{'s' * (n > 1)}, forward + backward, x best peer: {cells}; geometric mean {mean:.2f}")
    if composed := dict.fromkeys(f"{row['operation']}/{row['name']}" for row in rows if row["sdpa"] == "composed"):
        lines.append(f"SDPA has no fused gradients here, and composes them: {', '.join(composed)}")
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        for name, reason in row["left_out"].items():
            reasons.setdefault((name, reason), {})[f"{row['operation']}/{row['name']}"] = None
    return lines + [f"{name} is left out of {', '.join(shapes)}: {reason}" for (name, reason), shapes in reasons.items()]


def write_report(results: dict, path: Path) -> None:
    text = table(results)
    path.with_suffix(".md").write_text(text)
    title = "muattn against the best of PyTorch, forward and backward together"
    bars(results, lambda row: ratio(row)[0], title, path.with_suffix(".png"))
    show_markdown(text)
    print(f"{path}, .md, .png")
