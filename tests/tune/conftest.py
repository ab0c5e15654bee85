import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ["MUATTN_BUILD"])
# Few queries over few hundred keys, a causal tile, and a small map: each runs one kernel of its generator.
SHAPES = {
    "spatial": [
        {"name": "few", "B": 1, "H": 4, "Hk": 1, "nq": 1, "nk": 700, "d": 32},
        {"name": "causal", "B": 1, "H": 2, "nq": 60, "d": 32, "causal": True},
    ],
    "channel": [{"name": "map", "B": 1, "H": 2, "n": 100, "d": 32}],
}


class Tuner:
    """./dev tune without its build, for SSE 4.1, in a folder of its own."""

    def __init__(self, folder):
        self.out, self.state = folder / "tuned", folder / "state"
        shapes = folder / "shapes.json"
        shapes.write_text(json.dumps(SHAPES))
        self.options = [
            "--build", BUILD, "--shapes", shapes, "--out", self.out, "--state", self.state, "--target", "sse41",
            "--threads", 1, "--seconds", 0.001, "--budget", 30, "--no-adams",
        ]  # fmt: skip

    def start(self, *arguments) -> subprocess.Popen:
        command = [sys.executable, "-m", "muattn_tools.tune.tuner", *arguments, *self.options]
        return subprocess.Popen(list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *arguments) -> tuple[int, str, str]:
        process = self.start(*arguments)
        output, errors = process.communicate()
        return process.returncode, output, errors

    def records(self, generator: str) -> list[dict]:
        path = self.state / f"{generator}.sse41/state.jsonl"
        lines = path.read_text().split("\n")[1:-1] if path.exists() else []
        return [record for record in map(json.loads, lines) if record["numbers"]]


@pytest.fixture(scope="module")
def tuner(tmp_path_factory):
    return Tuner(tmp_path_factory.mktemp("tune"))
