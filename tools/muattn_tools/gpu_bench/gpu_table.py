"""A comparison on a GPU as a Markdown table."""

from __future__ import annotations

from statistics import geometric_mean


def ratio(row: dict) -> tuple[float, str] | None:
    """Time of the best other way over muattn's, and that way."""
    others = {name: ms for name, ms in row["milliseconds"].items() if name != "muattn"}
    if "muattn" not in row["milliseconds"] or not others:
        return None
    best = min(others, key=others.__getitem__)
    return others[best] / row["milliseconds"]["muattn"], best


def _cell(row: dict, way: str) -> str:
    if way in row["milliseconds"]:
        return f"{row['milliseconds'][way]:.3g}"
    return "wrong" if way in row["wrong"] else "refuses" if way in row["refused"] else ""


def table(results: dict) -> str:
    rows = results["rows"]
    names = list(dict.fromkeys(name for row in rows for name in (*row["milliseconds"], *row["wrong"], *row["refused"])))
    names.sort(key=lambda name: name != "muattn")
    lines = [
        "Milliseconds of the best samples; above 1, muattn is faster than the best of the others. float32, TF32 off; the same "
        "operands from call to call, which may stay in a cache.",
        "",
        f"| shape | {' | '.join(names)} | muattn GFLOP/s | x best |",
        "|---|" + "---:|" * (len(names) + 2),
    ]
    ratios: dict[str, list[float]] = {}
    for row in rows:
        rate = f"{row['gflop'] / row['milliseconds']['muattn'] * 1e3:,.0f}" if "muattn" in row["milliseconds"] else ""
        found = ratio(row)
        if found is not None:
            ratios.setdefault(row["operation"], []).append(found[0])
        last = "" if found is None else f"{found[0]:.2f} ({found[1]})"
        lines.append(f"| {row['operation']}/{row['name']} | {' | '.join(_cell(row, name) for name in names)} | {rate} | {last} |")
    for operation, values in ratios.items():
        lines.append(f"| **{operation}, geometric mean** |{' |' * (len(names) + 1)} **{geometric_mean(values):.2f}** |")
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines += ["", (
        f"{results['device']}, capability {results['capability']}; {results['date']}, commit {results['commit']}; {versions}; "
        f"`{results['command']}`"
    )]  # fmt: skip
    return "\n".join(lines) + "\n"
