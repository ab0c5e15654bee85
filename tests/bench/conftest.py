import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tool():
    """Runs a module of tools/muattn_tools with arguments, as ./dev does."""
    path = os.pathsep.join([str(ROOT / "tools"), os.environ["PYTHONPATH"]])

    def run(module, *arguments, **options):
        command = [sys.executable, "-m", f"muattn_tools.{module}", *map(str, arguments)]
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, text=True, capture_output=True, **options)

    return run
