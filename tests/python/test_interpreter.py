"""The end of the interpreter while other threads are in calls, and a second interpreter in the process."""

import os
import subprocess
import sys

import pytest

# Threads that make calls until the process ends: long ones, which end while the interpreter does, and short ones, which meet
# its end anywhere.
CALLS = """
import sys, threading, time
import muattn
import numpy as np

class Tensor:
    # Its methods are Python's, as PyTorch's are, and let other threads run.
    def __init__(self, array):
        self.array = array
    def __dlpack__(self, **arguments):
        time.sleep(0)
        return self.array.__dlpack__(**arguments)
    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

muattn.set_num_threads(1)
long = np.ones((1, 2, 600, 64), np.float32)
short = Tensor(np.ones((1, 1, 2, 8), np.float32))
made = [threading.Semaphore(0) for _ in range(4)]

def call(i):
    x = short if i % 2 else long
    while True:
        muattn.spatial_attention(x, x, x)
        muattn.channel_attention(x, x, x)
        made[i].release()

if sys.version_info < (3, 11):  # CPython itself reads freed memory there, where a thread in Python waits for its turn
    short = long
for i in range(4):
    threading.Thread(target=call, args=(i,), daemon=True).start()
for one in made:
    one.acquire()
"""

ENDS = {
    "sys.exit": ("sys.exit(7)", 7, ""),
    "the last line": ("", 0, ""),
    "an exception": ("raise SystemError('of main')", 1, "SystemError: of main"),
    "atexit": ("import atexit; atexit.register(time.sleep, 0.05); atexit.register(muattn.kernels); sys.exit(7)", 7, ""),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_process_ends_with_its_own_code_while_threads_are_in_calls(end):
    last, code, line = ENDS[end]
    command = [sys.executable, "-c", CALLS + last]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    for process in processes:
        out, err = process.communicate(timeout=10000)
        assert (process.returncode, out) == (code, ""), err
        assert err == "" if not line else err.startswith("Traceback") and err.splitlines()[-1] == line, err


SECOND = """
import sys
import muattn
import numpy as np

try:
    import _interpreters  # Python 3.13
    create, run, destroy = lambda: _interpreters.create("legacy"), _interpreters.exec, _interpreters.destroy
except ImportError:
    import _xxsubinterpreters
    options = {"isolated": False} if sys.version_info >= (3, 12) else {}
    create, run, destroy = lambda: _xxsubinterpreters.create(**options), _xxsubinterpreters.run_string, _xxsubinterpreters.destroy

x = np.ones((1, 1, 4, 8), np.float32)
for _ in range(3):
    second = create()
    run(second, '''
import sys
sys.path[:] = %r
try:
    import muattn
except ImportError as error:
    print("ImportError:", error, flush=True)
''' % sys.path)
    destroy(second)
    print(muattn.spatial_attention(x, x, x).sum(), flush=True)
"""


def test_a_second_interpreter_is_refused_and_the_first_keeps_working():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SECOND], text=True, capture_output=True, timeout=10000, env=environment)
    assert done.returncode == 0 and done.stderr == "", done
    lines = done.stdout.splitlines()
    assert lines[1::2] == ["32.0"] * 3, lines
    assert all("ImportError: muattn is loaded in another interpreter of this process" in line for line in lines[::2])
