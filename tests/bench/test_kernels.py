"""./dev bench with the compiled benchmarks (their path: $MUATTN_BENCH), on the smallest shapes."""

import json
import os

import pytest
from muattn_tools.bench.kernels_table import read_rows, verdict
from muattn_tools.paths import SHAPES

PROGRAM = ["--program", os.environ["MUATTN_BENCH"]]
QUICK = [*PROGRAM, "--benchmark_min_time=0.001"]


@pytest.fixture(scope="module")
def measured(tool, tmp_path_factory):
    """What is printed, the JSON, the Markdown; two repetitions of the smallest call of each operator."""
    out = tmp_path_factory.mktemp("bench") / "new" / "bench.json"
    done = tool("bench.kernels", *QUICK, "--benchmark_filter=smallest", "--benchmark_repetitions=2", "--out", out)
    assert done.returncode == 0, done
    return done.stdout, json.loads(out.read_text()), out.with_suffix(".md").read_text()


def test_every_counter_is_in_the_json(measured):
    _, results, _ = measured
    runs = [entry for entry in results["benchmarks"] if entry["run_type"] == "iteration"]
    operations = {entry["name"].split("/")[0]: entry for entry in runs}
    assert set(operations) == {"spatial", "channel"}
    # 2 products of 16 x 16 x 32, or of 32 x 32 x 16; 4 tensors of 16 x 32 floats
    flops, size = {"spatial": 4 * 16 * 16 * 32, "channel": 4 * 16 * 32 * 32}, 4 * 16 * 32 * 4
    for entry in runs:
        seconds = entry["real_time"] * 1e-6
        assert entry["time_unit"] == "us" and seconds > 0
        assert entry["GFLOP/s"] * seconds * 1e9 == pytest.approx(flops[entry["name"].split("/")[0]])
        assert entry["GB/s"] * seconds * 1e9 == pytest.approx(size)
        assert entry["roofline"] == pytest.approx(entry["GFLOP/s"] / entry["peak GFLOP/s"])  # it fits in a cache
        assert 0 < entry["roofline"] < 1.2 and entry["memory_bound"] == 0 and entry["copy GB/s"] > 0
        assert entry["tasks"] == 1


def test_the_json_says_what_it_was_measured_on(measured):
    _, results, _ = measured
    assert all(results[key] for key in ("date", "device", "backend", "command"))
    threads = {int(entry["name"].split("/")[2].removesuffix("_threads")) for entry in results["benchmarks"]}
    assert min(threads) == 1
    for n in threads:
        for limit in ("peak GFLOP/s", "copy GB/s"):
            assert float(results["context"][f"{limit}, {n} threads"]) > 0
    assert not {"host_name", "executable"} & set(results["context"])


def test_the_table_has_the_best_repetition(measured):
    printed, results, markdown = measured
    rows = read_rows(results)
    for row in rows:
        same = [
            entry["real_time"] * 1e-6 for entry in results["benchmarks"]
            if entry["run_type"] == "iteration" and entry["name"].startswith(f"{row.shape}/{row.threads}_threads")
        ]  # fmt: skip
        assert len(same) == 2 and row.seconds == pytest.approx(min(same))
    for text in (printed, markdown):
        assert text.count("/smallest") == 2 and text.count(" us") >= len(rows)
        assert "Limits at the start: 1 thread" in text
    assert sum(line.startswith("|") for line in markdown.splitlines()) == len(rows) + 2


def entry(shape, threads, milliseconds, **fields):
    return {
        "name": f"{shape}/{threads}_threads/real_time", "run_type": "iteration", "real_time": milliseconds, "time_unit": "ms",
        "label": "spatial_attention/forward/float32/general/cpu:avx2", "GFLOP/s": 1.0, "GB/s": 1.0, "copy GB/s": 2.0,
        "peak GFLOP/s": 2.0, "roofline": 0.5, "memory_bound": 1.0, "tasks": 8.0, "memory MB": 1.0, **fields,
    }  # fmt: skip


def test_shapes_that_two_threads_do_not_speed_up_are_named():
    entries = [
        entry("spatial/good", 1, 10), entry("spatial/good", 2, 5.4),
        entry("spatial/bad", 1, 10), entry("spatial/bad", 2, 5.5),
        entry("spatial/few_tasks", 1, 10, tasks=7.0), entry("spatial/few_tasks", 2, 10, tasks=7.0),
        entry("spatial/more_threads", 1, 10), entry("spatial/more_threads", 4, 10),
        entry("spatial/alone", 2, 10),
        entry("spatial/broken", 1, 0, error_occurred=True, error_message="out of memory"),
    ]  # fmt: skip
    context = {f"{limit}, {n} threads": "10" for limit in ("peak GFLOP/s", "copy GB/s") for n in (1, 2, 4)}
    results = {"benchmarks": entries, "context": context}
    lines = verdict(results, read_rows(results))
    assert lines[1:] == [
        "FAILED: spatial/broken, 1 threads: out of memory",
        "Two threads are below 1.85 times one in 1 of 2 shapes with 8 tasks or more: spatial/bad 1.82.",
    ]
    context["direction"] = "backward"
    assert verdict(results, read_rows(results))[-1] == (
        "Beside its tensors a call needs at most 1 MB a thread (goal: 32): spatial/good, 1 threads.")  # fmt: skip
    assert verdict(results | {"busy": "the machine is busy."}, read_rows(results))[0] == "When this began, the machine was busy."


def test_gradients_have_five_products_and_a_count_of_memory(tool, tmp_path):
    out = tmp_path / "bench.json"
    done = tool("bench.kernels", *QUICK, "--backward", "--benchmark_filter=smallest", "--out", out)
    assert done.returncode == 0, done
    results = json.loads(out.read_text())
    # q, k, v, d_out and three gradients of 16 x 32 floats; out and lse; the map
    expected = {
        "spatial/backward/smallest": (10 * 16 * 16 * 32, (8 * 16 * 32 + 16) * 4),
        "channel/backward/smallest": (10 * 16 * 32 * 32, 7 * 16 * 32 * 4),
        "channel/backward_with_map/smallest": (8 * 16 * 32 * 32, (7 * 16 * 32 + 32 * 32) * 4),
    }
    rows = read_rows(results)
    assert {row.shape for row in rows} == set(expected)
    for row in rows:
        flops, size = expected[row.shape]
        assert row.gflops * row.seconds * 1e9 == pytest.approx(flops)
        assert row.gbytes * row.seconds * 1e9 == pytest.approx(size)
        assert 0 < row.memory < 32
    table = out.with_suffix(".md").read_text()
    assert "memory MB" in table and "MB a thread (goal: 32)" in table


@pytest.mark.parametrize("arguments, names", [
    ([], {"spatial", "channel"}),
    (["--backward"], {"spatial/backward", "channel/backward", "channel/backward_with_map"}),
])  # fmt: skip
def test_every_shape_has_its_benchmarks(tool, arguments, names):
    done = tool("bench.kernels", *PROGRAM, *arguments, "--benchmark_list_tests")
    listed = {line.partition("/1_threads")[0] for line in done.stdout.splitlines() if "/1_threads" in line}
    shapes = json.loads(SHAPES.read_text())
    more = shapes["small"] + (shapes["backward"] if arguments else [])
    expected = set()
    for name in names:
        operation = name.partition("/")[0]
        expected |= {
            f"{name}/{shape['name']}" for shape in shapes[operation] + more
            if shape.get("operation", operation) == operation and not ("with_map" in name and shape.get("normalize"))
        }  # fmt: skip
    assert listed == expected


@pytest.mark.parametrize("arguments, message", [
    (["--unknown"], "--unknown"),
    (["--benchmark_filter=nothing"], "no benchmark matches --benchmark_filter"),
    (["--benchmark_min_time=soon"], "--benchmark_min_time=soon"),
    (["--out", "table.txt"], "--out must name a .json file"),
    (["--out", "/proc/none/bench.json"], "--out: cannot write into /proc/none"),
])  # fmt: skip
def test_a_bad_argument_is_one_line(tool, arguments, message):
    done = tool("bench.kernels", *PROGRAM, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bench: ") and message in done.stderr and done.stderr.count("\n") == 1
