"""Calls on PyTorch's threads."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import muattn
import muattn.torch


@pytest.fixture(autouse=True)
def threads_of_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    muattn.use_openmp("libtorch_cpu.so")


def threads_now():
    return len(os.listdir("/proc/self/task"))


def test_as_many_as_pytorch_says():
    for n in (1, 3, 2):
        torch.set_num_threads(n)
        assert muattn.get_num_threads() == n


def test_no_threads_beside_pytorchs():
    code = (
        "import os, torch, muattn, muattn.torch\n"
        "torch.set_num_threads(2)\n"
        "x = torch.randn(1, 4, 300, 64)\n"
        "torch.mm(torch.randn(500, 500), torch.randn(500, 500))\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "muattn.spatial_attention(x, x, x)\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "0"


def test_plain_calls_on_tensors_do_so_too():
    code = (
        "import torch, muattn\n"
        "torch.set_num_threads(3)\n"
        "x = torch.randn(1, 4, 30, 64)\n"
        "before = muattn.get_num_threads()\n"
        "muattn.spatial_attention(x, x, x)\n"
        "torch.set_num_threads(5)\n"
        "print(muattn.get_num_threads())\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "5"


def test_same_bits():
    q, k, v = (torch.randn(2, 3, 200, 64, requires_grad=True) for _ in range(3))
    found = []
    for n in (1, 2, 7):
        torch.set_num_threads(n)
        out = muattn.torch.spatial_attention(q, k, v, causal="top_left")
        found.append((out, *torch.autograd.grad(out.sum(), (q, k, v))))
    muattn.use_own_threads()
    muattn.set_num_threads(2)
    out = muattn.torch.spatial_attention(q, k, v, causal="top_left")
    found.append((out, *torch.autograd.grad(out.sum(), (q, k, v))))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other))


def test_fewer_than_pytorch_has():
    torch.set_num_threads(4)
    muattn.set_num_threads(2)
    assert muattn.get_num_threads() == 2
    muattn.set_num_threads(256)
    assert muattn.get_num_threads() == 4


def test_a_child_of_fork_has_threads_of_its_own():
    x = np.random.default_rng(0).standard_normal((1, 4, 300, 64), dtype=np.float32)
    expected = muattn.spatial_attention(x, x, x)
    torch.mm(torch.randn(300, 300), torch.randn(300, 300))
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(muattn.spatial_attention(x, x, x), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("first", ["", "import muattn.torch\n    "])
def test_a_child_of_fork_whose_parent_made_no_call(first):
    """What would choose PyTorch's threads comes in the child, which has them no more."""
    code = (
        "import os, signal, torch, muattn\n"
        "torch.set_num_threads(2)\n"
        "x = torch.ones(1, 4, 300, 64)\n"
        "torch.mm(torch.ones(500, 500), torch.ones(500, 500)), torch.randn(3000000) + 1\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        f"    signal.alarm(60)\n    {first}muattn.spatial_attention(x, x, x)\n    os._exit(0)\n"
        "print(os.waitpid(child, 0)[1])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "0"


def test_names_that_are_no_library():
    with pytest.raises(NotImplementedError, match="library: 'libnone.so' is not loaded, or needs no OpenMP runtime"):
        muattn.use_openmp("libnone.so")
    with pytest.raises(TypeError, match="library must be"):
        muattn.use_openmp(3)


def test_without_openmp():
    code = "import muattn\ntry:\n    muattn.use_openmp()\nexcept NotImplementedError as error:\n    print(error)\n"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == "this process has loaded no OpenMP runtime"


@pytest.mark.parametrize("choice", ["muattn.use_own_threads()", "muattn.use_openmp()"])
def test_what_the_program_chose_stays(choice):
    """Also when the first tensor comes later, and muattn.torch."""
    code = (
        f"import torch, muattn\n{choice}\n"
        "muattn.set_num_threads(2)\n"
        "x = torch.randn(1, 4, 30, 64)\n"
        "muattn.spatial_attention(x, x, x)\n"
        "import muattn.torch\n"
        "torch.set_num_threads(1)\n"
        "print(muattn.get_num_threads())\n"
    )
    expected = "2" if "own" in choice else "1"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == expected


def test_a_new_thread_of_python_has_as_many():
    code = (
        "import threading, torch, muattn, muattn.torch\n"
        "torch.set_num_threads(3)\n"
        "x = torch.ones(1, 4, 30, 64)\n"
        "def work(call):\n"
        "    call(x, x, x)\n"
        "    print(muattn.get_num_threads())\n"
        "for call in (muattn.torch.spatial_attention, muattn.spatial_attention, muattn.torch.channel_attention):\n"
        "    thread = threading.Thread(target=work, args=(call,))\n"
        "    thread.start()\n"
        "    thread.join()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["3", "3", "3"]
