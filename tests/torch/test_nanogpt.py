"""The example of docs/examples trains."""

import pathlib
import re
import subprocess
import sys


def test_the_loss_falls():
    program = pathlib.Path(__file__).parents[2] / "docs/examples/nanogpt.py"
    found = subprocess.run([sys.executable, program, "32", "60"], capture_output=True, text=True, check=True).stdout
    losses = [float(x) for x in re.findall(r"loss ([0-9.]+)", found)]
    assert losses[0] > 4.5 and losses[-1] < 3.0
