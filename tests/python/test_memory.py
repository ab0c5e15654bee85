"""Peak memory of a process, measured: a call over 65,536 tokens needs little beyond its inputs and its output."""

import pathlib
import subprocess
import sys

import pytest

N = 65536
THREADS = 2
PER_THREAD = 32 << 20
SLACK = 8 << 20  # pages of the library's code and data that the first call touches, thread stacks, Python's own objects

pytestmark = pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="the peak is read from /proc")

PROGRAM = """
import muattn, numpy as np
muattn.set_num_threads({threads})
N = {n}

def field(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024

def random(*shape):
    array = np.empty(shape, np.float32)
    np.random.default_rng(0).standard_normal(out=array, dtype=np.float32)
    return array

{inputs}
out = np.zeros({out}, np.float32)
out += 1  # so that its pages are there
before = field("VmRSS")
{call}
print(field("VmHWM") - before)
"""

SPATIAL = {
    "a query against a cache": ((2, 1), N, 64, "causal=N - 1"),
    "16 queries, grouped heads": ((8, 16), N, 64, "causal='bottom_right'"),
    "100 queries": ((2, 100), N, 64, ""),
    "a bias per key": ((2, 100), N, 64, "mask=bias"),
    "a bias per query": ((1, 300), N, 32, "mask=bias[..., :300].swapaxes(2, 3)"),
    "hidden keys, softcap": ((2, 100), N, 64, "mask=bias > 0, softcap=5.0"),
    "windows": ((1, N), N, 64, "window=(64, 64)"),
    "causal windows": ((2, N), N, 32, "causal='top_left', window=(128, 0)"),
    "causal windows, bias": ((1, N), N, 32, "causal='top_left', window=(128, 0), mask=bias"),
    "key lengths": ((1, N), N, 32, "key_lengths=[100]"),
    "d = 512": ((1, 40), N, 512, ""),
    "a value that is not a number": ((1, N), N, 32, "window=(64, 64)"),
}


def growth(inputs, out, call):
    program = PROGRAM.format(threads=THREADS, n=N, inputs=inputs, out=out, call=call)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=1000)
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


def assert_small(bytes_, extra=0):
    limit = THREADS * PER_THREAD + SLACK + extra
    assert bytes_ <= limit, f"{bytes_ / 2**20:.1f} MiB beyond inputs and output; the limit is {limit / 2**20:.1f} MiB"


@pytest.mark.parametrize("lse", [False, True])
@pytest.mark.parametrize("case", SPATIAL)
def test_spatial(case, lse):
    (heads, n_q), n_k, d, options = SPATIAL[case]
    kv_heads = 2 if heads == 8 else heads
    inputs = f"q, k, v = random(1, {heads}, {n_q}, {d}), random(1, {kv_heads}, {n_k}, {d}), random(1, {kv_heads}, {n_k}, {d})\n"
    inputs += "v[..., 1000, 0] = np.nan\n" if case == "a value that is not a number" else ""
    inputs += "bias = random(1, 1, 1, N)\n"
    call = f"muattn.spatial_attention(q, k, v, out=out, return_lse={lse}, {options})"
    # The lse that is returned is an output too; a boolean mask made in the call is an input.
    extra = 4 * heads * n_q * lse + N * ("bias > 0" in options)
    assert_small(growth(inputs, (1, heads, n_q, d), call), extra)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("heads, d", [(2, 64), (8, 16), (1, 256)])
def test_channel(heads, d, layout, normalize):
    shape = (1, heads, N, d) if layout == "channels_last" else (1, heads, d, N)
    inputs = f"q, k, v = random(*{shape}), random(*{shape}), random(*{shape})"
    call = f"muattn.channel_attention(q, k, v, out=out, layout={layout!r}, normalize={normalize})"
    assert_small(growth(inputs, shape, call))


def test_the_measurement_sees_a_temporary_array():
    temporary = 100 << 20
    bytes_ = growth("", (1, 1, 1, 1), f"np.ones({temporary}, np.uint8)")
    assert 0.99 * temporary <= bytes_ <= temporary + SLACK
