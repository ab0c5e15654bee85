import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))


@pytest.fixture(scope="session")
def script():
    """Runs bench/NAME.py with arguments."""

    def run(name, *arguments):
        command = [sys.executable, str(BENCH / f"{name}.py"), *map(str, arguments)]
        return subprocess.run(command, text=True, capture_output=True)

    return run
