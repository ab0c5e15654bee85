"""Forward and backward passes of a problem: muattn, and PyTorch's ways with autograd."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Iterable

import numpy as np
import torch

from muattn_tools.c_library import Library
from muattn_tools.gradients import Gradients
from muattn_tools.peers.torch_ways import MOST_SCORE_BYTES, TorchProblem, Way, torch_problem
from muattn_tools.peers.turns import Parts
from muattn_tools.problems import Problem

KEPT = "muattn, map kept"  # the forward call gives the attention map to the backward call, as PyTorch's composed ones do


@dataclass
class Step:
    forward: Callable[[], object]
    backward: Callable[[object], Iterable]  # of what the forward pass returned: the gradients of q, k and v
    finish: Callable[[object], object] = lambda x: x  # of a gradient: to the layout of the problem

    def timed(self) -> Parts:
        """Seconds of both passes."""
        start = time.perf_counter()
        result = self.forward()
        middle = time.perf_counter()
        self.backward(result)
        return middle - start, time.perf_counter() - middle

    def gradients(self) -> list[np.ndarray]:
        return [np.array(self.finish(x)) for x in self.backward(self.forward())]


@dataclass
class Contest:
    steps: dict[str, Step]
    left_out: dict[str, str]  # and why
    sdpa: str  # how SDPA computes gradients: "fused" in one kernel, or "composed" of products and a softmax


def contest(p: Problem, threads: int, library: Library) -> Contest:
    torch.set_num_threads(threads)
    library.set_threads(threads)
    inputs = {"q": p.q, "k": p.k, "v": p.v}
    own = Gradients(library, p.operation, inputs, p.options())
    steps = {"muattn": _muattn(own)}
    if p.operation == "channel" and not p.normalize:
        steps[KEPT] = _muattn(Gradients(library, p.operation, inputs, p.options(), with_map=True))
    found = torch_problem(p)
    found.ways.pop("torch flex", None)  # no gradients on a CPU
    steps |= {name: _torch(found, way, p, own.d_out) for name, way in found.ways.items()}
    left_out = {}
    if p.score_bytes() > MOST_SCORE_BYTES:
        left_out = dict.fromkeys(("torch composed", "torch.compile"), f"writes {p.score_bytes() / 2**30:.0f} GiB of scores")
    expected = steps["muattn"].gradients()
    for name in [name for name in steps if name != "muattn"]:
        if reason := _fault(steps[name], expected):
            left_out[name] = reason
            del steps[name]
    sdpa = steps.get("torch SDPA")
    return Contest(steps, left_out, _kind_of(sdpa) if sdpa else "")


def _muattn(own: Gradients) -> Step:
    def backward(_: object) -> list[np.ndarray]:
        own.backward()
        return own.results

    return Step(own.forward, backward)


def _torch(found: TorchProblem, way: Way, p: Problem, d_out: np.ndarray) -> Step:
    leaves = [found.layout(x).requires_grad_() for x in (p.q, p.k, p.v)]
    of_out = found.layout(d_out)

    def backward(out: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(out, leaves, of_out)

    return Step(lambda: way(*leaves), backward, found.finish)


def _kind_of(sdpa: Step) -> str:
    return "fused" if "Flash" in sdpa.forward().grad_fn.name() else "composed"


def _fault(step: Step, expected: list[np.ndarray]) -> str | None:
    """Why a peer is left out, if it is: it refuses, or its gradients differ."""
    try:
        found = step.gradients()
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        return str(error).partition("\n")[0]
    for x, y, name in zip(found, expected, "qkv"):
        if not np.abs(x - y).max() <= 2e-4 * np.abs(y).max():
            return f"its d_{name} differs from muattn's"
    return None
