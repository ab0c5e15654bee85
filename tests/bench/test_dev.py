"""./dev in a copy of the sources that nothing was built in."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path):
    for file in "dev", "packages.txt", "requirements.txt", "demo/requirements.txt":
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    for folder in "tools", "tables", "runtime/python":
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("words", [
    "bench", "bench --scaling", "bench --peers", "bench --stats", "bench --types", "bench --gpu", "bench --peers --backward", "bench --backward --scaling", "tune", "report", "report --gpu", "generate", "transfer", "coord-check",
    "tune spatial_attention --budget 1", "demo", "test", "setup",
])  # fmt: skip
def test_help_builds_and_installs_nothing(copy, words):
    before = sorted(copy.rglob("*"))
    done = subprocess.run([copy / "dev", *words.split(), "--help"], text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    options = ("bench", "tune", "report", "generate", "transfer", "coord-check", "--scaling", "--peers", "--stats", "--types", "--gpu")
    verb = " ".join(word for word in words.split() if word in options)
    assert done.stdout.startswith(f"usage: ./dev {verb}")
    assert sorted(copy.rglob("*")) == before


def test_the_second_of_two_waits(copy):
    (copy / "build").mkdir()
    with (copy / "build/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen([copy / "dev", "setup"], text=True, stderr=subprocess.PIPE) as second:
            try:
                assert second.stderr.readline() == "dev: another ./dev is building here; waiting\n"
                assert second.poll() is None and not (copy / ".venv").exists()
            finally:
                second.kill()
