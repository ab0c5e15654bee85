"""The example of docs/examples whose tokens are spread over processes: two of them train as one does."""

import os
import pathlib
import re
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).parents[2] / "docs/examples/sequence_parallel.py"


def start(*launcher, **variables):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **variables}
    return subprocess.Popen([sys.executable, *launcher, PROGRAM, "20"], stdout=subprocess.PIPE, text=True, env=environment)


def losses(process):
    printed, _ = process.communicate()
    assert process.returncode == 0
    return [float(x) for x in re.findall(r"loss ([0-9.]+)", printed)]


def test_two_processes_train_as_one():
    alone = start(RANK="0", WORLD_SIZE="1", MASTER_ADDR="localhost", MASTER_PORT="0")
    both = start("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    one, two = losses(alone), losses(both)
    assert len(one) == len(two) == 20
    assert max(abs(a - b) for a, b in zip(one, two)) <= 1e-5
    assert one[-1] < one[0] - 0.5
