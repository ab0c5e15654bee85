"""Times one head as the number of tokens n grows: table, picture and JSON; ./dev bench --scaling runs this."""

from __future__ import annotations

import functools
import json
import shlex
import sys
import time
from collections.abc import Callable

import numpy as np

import muattn
from muattn_tools.bench.scaling_report import picture, table
from muattn_tools.c_library import Library
from muattn_tools.command_lines import MIN_N
from muattn_tools.command_lines import scaling as command_line
from muattn_tools.gradients import Gradients
from muattn_tools.machine_load import warn
from muattn_tools.progress import Steps
from muattn_tools.provenance import file_stem, provenance
from muattn_tools.show_markdown import show_markdown

D = 64
WINDOW = 512

# The slope that time should have, the operation, and options of the call.
CASES: dict[str, tuple[int, str, dict]] = {
    "full": (2, "spatial", {}),
    f"causal window {WINDOW}": (1, "spatial", {"causal": "top_left", "window": (WINDOW, None)}),
    "channels last": (1, "channel", {}),
    "channels first": (1, "channel", {"layout": "channels_first"}),
}

Call = Callable[[], object]


def forward_calls(n: int) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    for case, (_, operation, options) in CASES.items():
        q, k, v, out = _arrays(n, 4, options)
        function = getattr(muattn, f"{operation}_attention")
        calls[case] = functools.partial(function, q, k, v, **options, out=out)
    return calls


def both_calls(library: Library, n: int) -> dict[str, Call]:
    """Forward and backward; what the backward calls take from the forward calls is there."""
    calls: dict[str, Call] = {}
    for case, (_, operation, options) in CASES.items():
        scale = muattn.spatial_scale("sp", D) if operation == "spatial" else muattn.channel_scale("sp", n)
        both = Gradients(library, operation, dict(zip("qkv", _arrays(n, 3, options))), {"scale": scale, **options})
        both.forward()
        calls[f"{case}, forward"], calls[f"{case}, backward"] = both.forward, both.backward
    return calls


def _arrays(n: int, count: int, options: dict) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    shape = (1, 1, D, n) if options.get("layout") == "channels_first" else (1, 1, n, D)
    return [rng.standard_normal(shape, dtype=np.float32) for _ in range(count)]


def best_time(call: Callable[[], object], seconds: float) -> tuple[float, int]:
    """Best of as many calls as fit, at least one; and how many."""
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times), len(times)


def measure(sizes: list[int], seconds: float, calls_of: Callable[[int], dict[str, Call]]) -> list[dict]:
    rows: list[dict] = []
    with Steps("bench --scaling", len(sizes)) as steps:
        for index, n in enumerate(sizes):
            for case, call in calls_of(n).items():
                steps.at(index, f"{case}, n = {n:,}")
                best, count = best_time(call, seconds)
                rows.append({"case": case, "n": n, "milliseconds": 1e3 * best, "calls": count})
    return rows


def fitted_slopes(rows: list[dict]) -> list[dict]:
    """Of log time over log n, by least squares over the larger half of the sizes: a call has a fixed cost, and below 512
    tokens the window hides nothing."""
    fits = []
    for case in dict.fromkeys(row["case"] for row in rows):
        points = sorted((row["n"], row["milliseconds"]) for row in rows if row["case"] == case)
        upper = points[len(points) // 2 :]
        slope = np.polyfit(*np.log(upper).T, 1)[0]
        expected = CASES[case.partition(",")[0]][0]
        fits.append({"case": case, "from": upper[0][0], "to": upper[-1][0], "slope": float(slope), "expected": expected})
    return fits


def main() -> None:
    parser = command_line()
    arguments = parser.parse_args()
    parser.need_folder("--out", arguments.out)
    busy = warn("bench --scaling")

    muattn.set_num_threads(arguments.threads)
    sizes = [MIN_N << i for i in range((arguments.max_n // MIN_N).bit_length())]
    calls_of = forward_calls
    if arguments.backward:
        library = Library(arguments.library, "")
        library.set_threads(arguments.threads)
        calls_of = functools.partial(both_calls, library)
    rows = measure(sizes, arguments.seconds, calls_of)
    results = {
        **provenance(muattn.current_backend(), "./dev bench --scaling " + shlex.join(sys.argv[1:])),
        "version": muattn.__version__, "threads": arguments.threads, "d": D, "window": WINDOW, **busy,
        "slopes": fitted_slopes(rows), "rows": rows,
    }  # fmt: skip
    path = arguments.out / f"{file_stem(results)}-scaling{'-backward' * arguments.backward}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    path.with_suffix(".md").write_text(text)
    picture(results, path.with_suffix(".png"))
    show_markdown(text)
    print(f"{path}, .md, .png")


if __name__ == "__main__":
    main()
