"""Times 16 bits and int8 against float32 and against peers, on the shapes of bench/shapes.json that have types; ./dev bench --types runs this in
.venv-peers."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import torch

import muattn
from muattn_tools.command_lines import types as command_line
from muattn_tools.machine_load import warn
from muattn_tools.peers.backends import command
from muattn_tools.peers.contestants import onnxruntime_in
from muattn_tools.peers.torch_ways import MOST_SCORE_BYTES, torch_problem
from muattn_tools.peers.turns import best_times
from muattn_tools.peers.types_report import table
from muattn_tools.problems import Problem, all_shapes, load
from muattn_tools.progress import Steps
from muattn_tools.provenance import file_stem, provenance
from muattn_tools.show_markdown import show_markdown

TOLERANCE = {"float32": 2e-4, "float16": 4e-3, "bfloat16": 3e-2, "int8": 6e-2}  # of the largest element

Call = Callable[[], object]


def quantized(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8, and a scale for each row, by which its largest number is 127."""
    scale = x.abs().amax(-1, keepdim=True) / 127
    return torch.round(x / scale).to(torch.int8), scale


def ours(p: Problem, q_type: str, kv_type: str) -> Call:
    q, k, v = (torch.from_numpy(x) for x in (p.q, p.k, p.v))
    out = torch.empty(*p.q.shape[:3], p.v.shape[3], dtype=getattr(torch, q_type))
    more = {}
    if kv_type == "int8":
        (k, more["k_scale"]), (v, more["v_scale"]) = quantized(k), quantized(v)
    else:
        k, v = (x.to(getattr(torch, kv_type)) for x in (k, v))
    q = q.to(getattr(torch, q_type))
    function = muattn.channel_attention if p.operation == "channel" else muattn.spatial_attention
    options = {**p.options(), **more}
    return lambda: function(q, k, v, **options, out=out)


def of_torch(p: Problem, dtype: str) -> Call:
    found = torch_problem(p)
    inputs = [found.layout(x).to(getattr(torch, dtype)) for x in (p.q, p.k, p.v)]
    way = found.ways["torch SDPA"]
    return lambda: found.finish(way(*inputs))


def contestants(p: Problem, name: str, threads: int) -> dict[str, Call]:
    q_type, _, kv_type = name.partition("_")
    found = {"muattn": ours(p, q_type, kv_type or q_type), "muattn float32": ours(p, "float32", "float32"), "torch float32": of_torch(p, "float32")}
    if not kv_type:
        found["torch"] = of_torch(p, q_type)
        if p.score_bytes() <= MOST_SCORE_BYTES:
            found["onnxruntime"] = onnxruntime_in(p, threads, q_type)
    return found


def fault(call: Call, expected: np.ndarray, tolerance: float) -> str | None:
    """Why a contestant is left out, if it is."""
    try:
        out = call()
        out = out.float().numpy() if isinstance(out, torch.Tensor) else np.asarray(out, np.float32)
    except Exception as error:  # a peer's own, of any kind
        return str(error).strip().partition("\n")[0][:200]
    wrong = not np.abs(out - expected).max() <= tolerance * max(1.0, np.abs(expected).max())
    return "its output differs from muattn's" if wrong else None


def measure(p: Problem, name: str, seconds: float, threads: int) -> dict:
    torch.set_num_threads(threads)
    muattn.set_num_threads(threads)
    calls = contestants(p, name, threads)
    expected = torch.as_tensor(calls["muattn float32"]()).numpy().copy()
    tolerance = max(TOLERANCE[part] for part in name.split("_"))
    left_out = {way: reason for way, call in calls.items() if (reason := fault(call, expected, tolerance))}
    if "muattn" in left_out:
        raise SystemExit(f"bench --types: {p.operation}/{p.name}, {name}: muattn: {left_out['muattn']}")
    times = best_times({way: call for way, call in calls.items() if way not in left_out}, seconds, threads)
    return {
        "operation": p.operation, "name": p.name, "type": name, "threads": threads, "kernel": _kernel(calls["muattn"]),
        "milliseconds": {way: 1e3 * t for way, t in times.items()}, "left_out": left_out,
    }  # fmt: skip


def _kernel(call: Call) -> str:
    call()
    return muattn.last_kernel()


def main() -> None:
    parser = command_line()
    arguments = parser.parse_args()
    shapes = [(o, s) for o, s in all_shapes() if s.get("types") and arguments.filter in f"{o}/{s['name']}"]
    if not shapes:
        parser.error(f"--filter: '{arguments.filter}' has no types in bench/shapes.json")
    parser.need_folder("--out", arguments.out)
    busy = warn("bench --types")

    rng, rows = np.random.default_rng(1), []
    with Steps("bench --types", sum(len(shape["types"]) for _, shape in shapes)) as steps:
        for operation, shape in shapes:
            problem = load(operation, shape, rng)
            for name in shape["types"]:
                steps.at(len(rows), f"{operation}/{shape['name']}, {name}")
                rows.append(measure(problem, name, arguments.seconds, arguments.threads))
    results = {
        **provenance(muattn.current_backend(), command("./dev bench --types")), "threads": arguments.threads, **busy,
        "versions": {name: __import__(name).__version__ for name in ("muattn", "torch", "onnxruntime")}, "rows": rows,
    }  # fmt: skip
    path = arguments.out / f"{file_stem(results, arguments.filter)}-types.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    path.with_suffix(".md").write_text(text)
    show_markdown(text)
    print(f"{path}, .md")


if __name__ == "__main__":
    main()
