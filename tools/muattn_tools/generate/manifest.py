"""What a folder of generated libraries holds, as JSON for tools and as a table for people."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from muattn_tools.generate.halide_target import Target
from muattn_tools.generate.request import MANIFEST
from muattn_tools.tables import nearest_rung


def facts(path: Path) -> dict[str, int | str]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def kernel_entry(kernel: dict) -> dict:
    names = ("symbol", "operation", "direction", "dtype", "types", "kernel", "algorithm", "features", "backend", "target", "generator", "arguments")
    return {name: kernel[name] for name in names} | {"tuned": kernel["tuned"] or None} | facts(Path(kernel["library"]))


def write_manifest(build: Path, out: Path, target: Target) -> dict:
    cache = (build / "CMakeCache.txt").read_text()
    kernels = json.loads((build / f"generated/{'gpu_' if target.device else ''}kernels.json").read_text())
    about = {"rung": None, "features_not_checked": []} if target.device else json.loads((build / "generated/target.json").read_text())
    manifest = {
        "target": str(target),
        "muattn": re.search(r"^CMAKE_PROJECT_VERSION:STATIC=(.*)$", cache, re.M)[1],
        "halide": version("halide"),
        "head_dim": int(re.search(r"^MUATTN_HEAD_DIM:\w+=(\d+)$", cache, re.M)[1]) or None,
        "runtime": "none" if target.device else "sources" if (out / "runtime/src").is_dir() else "compiled",
        "backends": list(dict.fromkeys(kernel["backend"] for kernel in kernels)),
        **about,  # whether tables/machines.json has these features, and those of which the library does not ask the processor
        "kernels": [kernel_entry(kernel) for kernel in kernels],
        "files": {str(path.relative_to(out)): facts(path) for path in sorted(out.rglob("*")) if path.is_file()},
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def of_no_rung(manifest: dict) -> str:
    """Why such a library may be slow, and what was perhaps meant."""
    parts = manifest["target"].split("-")
    text = "no backend of tables/machines.json has these features: not tuned"
    if unchecked := manifest["features_not_checked"]:
        text += f"; not checked when it runs: {', '.join(unchecked)}"
    if rung := nearest_rung("-".join(parts[:3]), parts[3:]):
        text += f"; {rung}"
    return text


def show(manifest: dict, out: Path, console: Console) -> None:
    table = Table("operation", "backend", "kernels", "kB", "tuned", title=f"{manifest['target']}, Halide {manifest['halide']}")
    groups: dict[tuple[str, str], list[dict]] = {}
    for kernel in manifest["kernels"]:
        groups.setdefault((kernel["operation"], kernel["backend"]), []).append(kernel)
    for (operation, backend), kernels in groups.items():
        tuned = sorted({kernel["tuned"] for kernel in kernels if kernel["tuned"]})
        table.add_row(operation, backend, str(len(kernels)), f"{sum(k['bytes'] for k in kernels) / 1000:.0f}", ", ".join(tuned) or "-")
    console.print(table)
    if manifest["rung"] is False:
        console.print(of_no_rung(manifest), soft_wrap=True)
    libraries = {name: f["bytes"] for name, f in manifest["files"].items() if name.endswith((".a", ".lib", ".so"))}
    if manifest["runtime"] == "compiled":
        for name, size in libraries.items():
            console.print(f"{out / name}: {size / 1000:.0f} kB", soft_wrap=True)
        return
    total = sum(libraries.values()) / 1000
    rest = "source/ has their device code" if manifest["runtime"] == "none" else "CMakeLists.txt there compiles the runtime"
    console.print(f"{out}: {len(libraries)} libraries, {total:.0f} kB; {rest}", soft_wrap=True)
