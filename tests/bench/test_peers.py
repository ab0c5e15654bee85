"""./dev bench --peers and --types: turns, and tables. Peers themselves are not installed where tests run."""

import pytest

from muattn_tools.peers.backward_report import goals, notes, table
from muattn_tools.peers.peers_report import means_of
from muattn_tools.peers.turns import all_times, best_times
from muattn_tools.peers.types_report import table as table_of_types


def test_a_turn_is_calls_that_are_timed_after_calls_that_are_not():
    calls = {"slow": 0, "fast": 0}

    def of(name, *parts):
        def timed():
            calls[name] += 1
            return parts

        return timed

    times = all_times({"slow": of("slow", 0.5, 0.75), "fast": of("fast", 0.002, 0.001)}, 0.3, 1)
    assert times["slow"] == [(0.5, 0.75)] * 3 and calls["slow"] > 3
    assert sum(map(sum, times["fast"])) >= 0.3 and calls["fast"] > len(times["fast"])


def test_the_best_time_is_that_of_a_call():
    calls = []
    best = best_times({"call": lambda: calls.append(1)}, 0.001)
    assert 0 < best["call"] < 0.001 and len(calls) > 20


def test_means_are_also_those_without_the_shape_that_lifts_them():
    means = means_of({"full": (2.0, 1.0), "window_8k": (32.0, 4.0)})
    assert means == {"geometric mean": pytest.approx((8.0, 2.0)), "without window_8k": pytest.approx((2.0, 1.0))}
    assert list(means_of({"mup_d64": (2.0, 1.0)})) == ["geometric mean"]


def row(operation, name, threads, own, torch, **fields):
    """own, torch: milliseconds of the forward and the backward pass."""
    passes = {"muattn": own, "torch SDPA": torch}
    return {
        "operation": operation, "name": name, "threads": threads, "d": 64, "n": 1024, "gflop": 1.0, "sgemm_gflops": 100.0,
        "sdpa": "fused", "left_out": {}, "milliseconds": {name: sum(parts) for name, parts in passes.items()},
        "backward_milliseconds": {name: parts[1] for name, parts in passes.items()}, **fields,
    }  # fmt: skip


ROWS = [
    row("spatial", "good", 1, (2.0, 8.0), (10.0, 30.0)),
    row("spatial", "bad", 1, (10.0, 20.0), (15.0, 15.0), n=77, left_out={"torch.compile": "writes 2 GiB of scores"}),
    row("spatial", "one_head_4k", 1, (5.0, 20.0), (20.0, 80.0)),
    row("spatial", "one_head_4k", 2, (5.0, 10.0), (20.0, 40.0)),
    row("channel", "wide", 1, (1.0, 2.0), (2.0, 4.0), d=256, sdpa="composed"),
]
ROWS[-1]["milliseconds"]["muattn, map kept"] = 1.5


def test_the_table_has_both_passes_and_the_backward_pass():
    results = {
        "device": "a device", "backend": "avx2", "processors": 2, "date": "a day", "commit": "c0", "command": "./dev bench",
        "versions": {"torch": "0"}, "rows": [row for row in ROWS if row["threads"] == 1],
    }  # fmt: skip
    lines = table(results).splitlines()
    assert "| spatial/good | 10 | 4.00 (torch SDPA) | 8 | 125% | 3.75 (torch SDPA) |" in lines
    assert "| spatial/bad | 30 | 1.00 (torch SDPA) | 20 | 50% | 0.75 (torch SDPA) |" in lines
    assert "| **channel, geometric mean** | | **2.00** | | | **2.00** |" in lines
    assert all(f"- {line}" in lines for line in notes(results["rows"]))


def test_goals_are_compared_with():
    lines = goals(ROWS)
    assert "spatial, 1 thread, forward + backward: 2.52 (goal 1.6); least 1.00, spatial/bad (goal 1.1)" in lines
    assert "channel, d >= 256, 1 thread, forward + backward: 2.00 (goal 1.0); least 2.00, channel/wide (goal 1.0)" in lines
    assert "spatial gradients, 1 thread: below 85% of sgemm at n >= 1024, d >= 64: one_head_4k 50%" in lines
    assert "one_head_4k, backward: two threads 2.00 times one (goal 1.8)" in lines


def test_notes_say_who_is_missing_where():
    assert notes(ROWS) == [
        "muattn, map kept, 1 thread, forward + backward, x best peer: wide 4.00; geometric mean 4.00",
        "SDPA has no fused gradients here, and composes them: channel/wide",
        "torch.compile is left out of spatial/bad: writes 2 GiB of scores",
    ]


def test_the_table_of_types_has_ratios_and_why_a_peer_is_left_out():
    rows = [
        {
            "operation": "spatial", "name": "decode", "type": "bfloat16", "left_out": {"onnxruntime": "it cannot"},
            "milliseconds": {"muattn": 2.0, "muattn float32": 4.0, "torch": 30.0, "torch float32": 20.0},
        },
        {
            "operation": "spatial", "name": "decode", "type": "float32_int8", "left_out": {},
            "milliseconds": {"muattn": 1.0, "muattn float32": 3.0, "torch float32": 20.0},
        },
    ]  # fmt: skip
    results = {
        "device": "a device", "backend": "avx2", "threads": 1, "date": "a day", "commit": "c0", "command": "./dev bench --types ",
        "versions": {"torch": "0"}, "rows": rows,
    }  # fmt: skip
    lines = table_of_types(results).splitlines()
    assert "| spatial/decode | bfloat16 | 2 | 2.00 | 15.00 | 10.00 | left out |" in lines
    assert "| spatial/decode | float32_int8 | 1 | 3.00 |  | 20.00 |  |" in lines
    assert "- left out: onnxruntime, spatial/decode in bfloat16: it cannot" in lines
