"""./dev bench --stats: what statistics of logits cost, on a small shape."""

import json
import math


def test_times_with_and_without(tool, tmp_path):
    done = tool("bench.logit_stats", "--filter", "minilm", "--seconds", 0.001, "--out", tmp_path)
    assert done.returncode == 0, done
    files = {path.suffix: path for path in tmp_path.iterdir()}
    assert set(files) == {".json", ".md"} and all("-stats." in path.name for path in files.values())
    rows = json.loads(files[".json"].read_text())["rows"]
    assert rows and all(math.isclose(row["ratio"], row["with_stats_ms"] / row["forward_ms"]) for row in rows)
    table = files[".md"].read_text()
    assert all(f"| {row['operation']}/{row['shape']} |" in table for row in rows) and "geometric mean" in table


def test_a_bad_argument_is_one_line(tool):
    done = tool("bench.logit_stats", "--filter", "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bench --stats: argument --filter: no shape of bench/shapes.json contains 'nothing'\n"
