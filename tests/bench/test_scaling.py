"""./dev bench --scaling: time over n, on small n."""

import json
import math
import os
from pathlib import Path

import pytest

LIBRARY = Path(os.environ["MUATTN_BENCH"]).parent / "libmuattn.so"
PROCESSORS = len(os.sched_getaffinity(0))


@pytest.mark.parametrize("backward", [[], ["--backward", "--library", LIBRARY]])
def test_times_slopes_and_a_picture(tool, backward, tmp_path):
    threads = min(2, PROCESSORS)
    done = tool("bench.scaling", *backward, "--max-n", 1024, "--seconds", 0.001, "--threads", threads, "--out", tmp_path / "new")
    assert done.returncode == 0, done
    files = {path.suffix: path for path in (tmp_path / "new").iterdir()}
    ending = "-scaling-backward." if backward else "-scaling."
    assert set(files) == {".json", ".md", ".png"} and all(ending in path.name for path in files.values())

    results = json.loads(files[".json"].read_text())
    assert results["threads"] == threads
    cases = [fit["case"] for fit in results["slopes"]]
    assert "full" + ", backward" * bool(backward) in cases
    assert [(row["n"], row["case"]) for row in results["rows"]] == [(n, case) for n in (256, 512, 1024) for case in cases]
    assert all(row["milliseconds"] > 0 and row["calls"] >= 1 for row in results["rows"])
    for fit in results["slopes"]:
        times = {row["n"]: row["milliseconds"] for row in results["rows"] if row["case"] == fit["case"]}
        assert (fit["from"], fit["to"]) == (512, 1024)
        assert fit["slope"] == pytest.approx(math.log2(times[1024] / times[512]))  # through two points

    table = files[".md"].read_text()
    assert all(case in table for case in cases) and "| 1,024 |" in table
    picture = files[".png"].read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


@pytest.mark.parametrize("option, value, rule", [
    ("--max-n", "1000", "power of 2 in 1024..65536"),
    ("--max-n", "131072", "power of 2 in 1024..65536"),
    ("--seconds", "0", "above 0"),
    ("--seconds", "soon", "must be a number, not soon"),
    ("--threads", "many", f"from 1 to {PROCESSORS}, not many"),
    ("--threads", str(PROCESSORS + 1), f"from 1 to {PROCESSORS}"),
    ("--out", __file__, "is no folder"),
])  # fmt: skip
def test_a_bad_argument_is_one_line(tool, option, value, rule):
    done = tool("bench.scaling", option, value)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bench --scaling: ") and option in done.stderr and rule in done.stderr
    assert done.stderr.count("\n") == 1
