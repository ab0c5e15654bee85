"""What ./dev bench --types found, as a Markdown table."""

from __future__ import annotations

from muattn_tools.machine_load import kept_warning

COLUMNS = {"muattn float32": "x muattn float32", "torch": "x SDPA, same type", "torch float32": "x SDPA float32", "onnxruntime": "x ONNX Runtime"}


def table(results: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"{results['device']}, {results['backend']}, threads: {results['threads']}; {results['date']}, commit {results['commit']}; {versions}; "
        f"`{results['command'].strip()}`",
        "",
        *(line for warning in kept_warning(results) for line in (warning, "")),
        "How many times as long others take as muattn with these types. Types are q's and out's, and after a _ those of k and v. SDPA is PyTorch's.",
        "",
        "| shape | types | ms | " + " | ".join(COLUMNS.values()) + " |",
        "|---|---|---|" + "---|" * len(COLUMNS),
    ]
    reasons: dict[str, None] = {}
    for row in results["rows"]:
        ms = row["milliseconds"]["muattn"]
        cells = []
        for way in COLUMNS:
            time, reason = row["milliseconds"].get(way), row["left_out"].get(way)
            cells.append(f"{time / ms:.2f}" if time else "left out" if reason else "")
            if reason:
                reasons[f"{way}, {row['operation']}/{row['name']} in {row['type']}: {reason}"] = None
        lines.append(f"| {row['operation']}/{row['name']} | {row['type']} | {ms:.3g} | " + " | ".join(cells) + " |")
    lines += ["", *(f"- left out: {reason}" for reason in reasons)] if reasons else []
    return "\n".join(lines) + "\n"
