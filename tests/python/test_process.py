"""Threads, the GIL, backends, import."""

import concurrent.futures
import re
import subprocess
import sys
import threading
import time

import muattn
import numpy as np


def test_other_python_threads_run_during_a_call(random):
    muattn.set_num_threads(1)
    x = random(1, 4, 2048, 128)
    muattn.spatial_attention(x, x, x)
    started, done, times = threading.Event(), threading.Event(), []

    def call():
        started.set()
        begin = time.perf_counter()
        muattn.spatial_attention(x, x, x)
        times.extend([begin, time.perf_counter()])
        done.set()

    thread = threading.Thread(target=call)
    thread.start()
    started.wait()
    ticks = []
    while not done.is_set():
        ticks.append(time.perf_counter())
        time.sleep(0.001)
    thread.join()
    begin, end = times
    inner = [tick for tick in ticks if begin + 0.1 * (end - begin) < tick < end - 0.1 * (end - begin)]
    assert len(inner) >= 3, f"{len(inner)} of {len(ticks)} ticks within a call of {end - begin:.3f} s"


def test_concurrent_calls_give_the_bits_of_serial_ones(random):
    inputs = [[random(1, 2, 50 + i, 32) for _ in range(3)] for i in range(16)]
    for operator in (muattn.spatial_attention, muattn.channel_attention):
        serial = [operator(*arrays) for arrays in inputs]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            parallel = list(pool.map(lambda arrays: operator(*arrays), inputs))
        assert all(np.array_equal(a, b) for a, b in zip(serial, parallel))


def test_the_number_of_threads_does_not_change_bits(random):
    q, k, v = random(2, 2, 300, 64), random(2, 2, 300, 64), random(2, 2, 300, 64)
    muattn.use_own_threads()
    for operator in (muattn.spatial_attention, muattn.channel_attention):
        results = []
        for n in (1, 2, 3):
            muattn.set_num_threads(n)
            assert muattn.get_num_threads() == n
            results.append(operator(q, k, v))
        assert all(np.array_equal(results[0], result) for result in results)


def test_errors_stay_on_their_thread(random):
    x = random(1, 1, 4, 8)

    def fail(i):
        try:
            muattn.spatial_attention(x, x, x, scale=[0.1] * (i + 2))
        except ValueError as error:
            return f"not {i + 2}" in str(error)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fail, range(200)))


def test_lists():
    backends = muattn.backends()
    assert backends and all(isinstance(name, str) and isinstance(available, bool) for name, available in backends)
    assert muattn.current_backend() == next(name for name, available in backends if available)
    operations = {kernel.split("/")[0] for kernel in muattn.kernels()}
    assert operations >= {"spatial_attention", "channel_attention"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", muattn.__version__)


def test_import_is_quick_and_loads_no_array_library():
    program = """
import sys, time
begin = time.process_time()
import muattn
seconds = time.process_time() - begin
assert not {"numpy", "torch", "jax", "tensorflow"} & set(sys.modules), "an array library was imported"
print(seconds)
"""
    seconds = [float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(3)]
    assert min(seconds) < 0.1


def test_everything_public_is_documented():
    for name in muattn.__all__:
        assert getattr(muattn, name).__doc__, name
