"""The example of docs/examples whose tokens are spread over processes: two of them train as one does."""

import os
import pathlib
import re
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).parents[2] / "docs/examples/sequence_parallel.py"
ONE_PROCESS = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
THREADS_LEFT = f"""
import pathlib, runpy, sys
sys.argv = [{str(PROGRAM)!r}, "1"]
runpy.run_path({str(PROGRAM)!r}, run_name="__main__")
print(*(name.read_text().strip() for name in pathlib.Path("/proc/self/task").glob("*/comm")), sep=",")
"""


def start(*command, **variables):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **variables}
    return subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environment)


def output(process):
    printed, _ = process.communicate()
    assert process.returncode == 0
    return printed


def losses(process):
    return [float(x) for x in re.findall(r"loss ([0-9.]+)", output(process))]


def test_two_processes_train_as_one():
    alone = start(PROGRAM, "20", **ONE_PROCESS)
    both = start("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PROGRAM, "20")
    one, two = losses(alone), losses(both)
    assert len(one) == len(two) == 20
    assert max(abs(a - b) for a, b in zip(one, two)) <= 1e-5
    assert one[-1] < one[0] - 0.5


def test_no_thread_of_gloo_is_left():
    """One that ran on while Python ends would abort the process now and then."""
    threads = output(start("-c", THREADS_LEFT, **ONE_PROCESS)).splitlines()[-1]
    assert "python" in threads and "gloo" not in threads
