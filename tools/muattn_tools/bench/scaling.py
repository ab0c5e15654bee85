"""Times one head as the number of tokens n grows: table, picture and JSON; ./dev bench --scaling runs this."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

import muattn
from muattn_tools.bench.scaling_report import picture, table
from muattn_tools.command_lines import MIN_N
from muattn_tools.command_lines import scaling as command_line
from muattn_tools.machine_load import warn
from muattn_tools.progress import Steps
from muattn_tools.provenance import file_stem, provenance

D = 64
WINDOW = 512

Arrays = list[np.ndarray]  # q, k, v, out

# The slope that time should have, and the call, on [1, 1, n, d] and on [1, 1, d, n].
CASES: dict[str, tuple[int, Callable[[Arrays, Arrays], object]]] = {
    "full": (2, lambda last, _: muattn.spatial_attention(*last[:3], out=last[3])),
    f"causal window {WINDOW}": (
        1, lambda last, _: muattn.spatial_attention(*last[:3], causal="top_left", window=(WINDOW, None), out=last[3])),
    "channels last": (1, lambda last, _: muattn.channel_attention(*last[:3], out=last[3])),
    "channels first": (
        1, lambda _, first: muattn.channel_attention(*first[:3], layout="channels_first", out=first[3])),
}  # fmt: skip


def arrays(n: int) -> tuple[Arrays, Arrays]:
    rng = np.random.default_rng(1)
    last = [rng.standard_normal((1, 1, n, D), dtype=np.float32) for _ in range(4)]
    return last, [np.ascontiguousarray(x.swapaxes(2, 3)) for x in last]


def best_time(call: Callable[[], object], seconds: float) -> tuple[float, int]:
    """Best of as many calls as fit, at least one; and how many."""
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times), len(times)


def measure(sizes: list[int], seconds: float) -> list[dict]:
    rows: list[dict] = []
    with Steps("bench --scaling", len(sizes) * len(CASES)) as steps:
        for n in sizes:
            last, first = arrays(n)
            for case, (_, call) in CASES.items():
                steps.at(len(rows), f"{case}, n = {n:,}")
                best, count = best_time(lambda: call(last, first), seconds)
                rows.append({"case": case, "n": n, "milliseconds": 1e3 * best, "calls": count})
    return rows


def fitted_slopes(rows: list[dict]) -> list[dict]:
    """Of log time over log n, by least squares over the larger half of the sizes: a call has a fixed cost, and below 512
    tokens the window hides nothing."""
    fits = []
    for case, (expected, _) in CASES.items():
        points = sorted((row["n"], row["milliseconds"]) for row in rows if row["case"] == case)
        upper = points[len(points) // 2 :]
        slope = np.polyfit(*np.log(upper).T, 1)[0]
        fits.append({"case": case, "from": upper[0][0], "to": upper[-1][0], "slope": float(slope), "expected": expected})
    return fits


def main() -> None:
    parser = command_line()
    arguments = parser.parse_args()
    parser.need_folder("--out", arguments.out)
    busy = warn("bench --scaling")

    muattn.set_num_threads(arguments.threads)
    sizes = [MIN_N << i for i in range((arguments.max_n // MIN_N).bit_length())]
    rows = measure(sizes, arguments.seconds)
    results = {
        **provenance(muattn.current_backend(), "./dev bench --scaling " + shlex.join(sys.argv[1:])),
        "version": muattn.__version__, "threads": arguments.threads, "d": D, "window": WINDOW, **busy,
        "slopes": fitted_slopes(rows), "rows": rows,
    }  # fmt: skip
    path = arguments.out / f"{file_stem(results)}-scaling.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    path.with_suffix(".md").write_text(text)
    picture(results, path.with_suffix(".png"))
    Console().print(Markdown(text))
    print(f"{path}, .md, .png")


if __name__ == "__main__":
    main()
