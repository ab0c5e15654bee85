"""./dev bench --gpu where there is no CUDA device, and its table."""

import muattn
import pytest
from muattn_tools.gpu_bench.gpu_table import table


@pytest.mark.parametrize("program", ["device", "compare_gpu"])
@pytest.mark.parametrize("arguments, message", [
    ([], "no CUDA device"),
    (["--filter", "nothing"], "--filter: no shape of bench/shapes.json contains 'nothing'"),
    (["--seconds", "0"], "--seconds: must be above 0, not 0"),
])  # fmt: skip
def test_one_line_without_a_device(tool, program, arguments, message, tmp_path):
    if dict(muattn.backends()).get("cuda") and not arguments:
        pytest.skip("this machine has a CUDA device")
    done = tool(f"gpu_bench.{program}", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bench --gpu: ") and message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def row(name, milliseconds, **fields):
    return {"operation": "spatial", "name": name, "gflop": 2.0, "milliseconds": milliseconds, "wrong": [], "refused": {}, **fields}


def test_the_table_names_what_refuses_and_what_is_wrong():
    results = {
        "device": "a device", "capability": "0.0", "date": "a day", "commit": "c0", "command": "./dev bench --gpu",
        "versions": {"torch": "0"},
        "rows": [
            row("good", {"SDPA math": 4.0, "SDPA efficient": 2.0, "muattn": 1.0}),
            row("refused", {"SDPA math": 4.0}, refused={"muattn": "d is 512", "SDPA efficient": "no"}),
            row("wrong", {"muattn": 4.0, "SDPA math": 2.0}, wrong=["SDPA efficient"]),
        ],
    }  # fmt: skip
    lines = table(results).splitlines()
    assert "| shape | muattn | SDPA math | SDPA efficient | muattn GFLOP/s | x best |" in lines
    assert "| spatial/good | 1 | 4 | 2 | 2,000 | 2.00 (SDPA efficient) |" in lines
    assert "| spatial/refused | refuses | 4 | refuses |  |  |" in lines
    assert "| spatial/wrong | 4 | 2 | wrong | 500 | 0.50 (SDPA math) |" in lines
    assert "| **spatial, geometric mean** | | | | | **1.00** |" in lines
