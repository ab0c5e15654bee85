"""Times by CUDA events: the ways in turn, round after round; results are checked first."""

from __future__ import annotations

import statistics
import warnings

import numpy as np
import torch

from muattn_tools.gpu_bench.ways import Way, ways
from muattn_tools.problems import all_shapes, load
from muattn_tools.progress import Steps

TOLERANCE = 1e-4  # of the largest entry; float32 without TF32 is well below it, TF32 is not
SAMPLE_SECONDS = 0.01  # calls between two events
MOST_CALLS, LEAST_ROUNDS = 200, 5


def sample(way: Way, calls: int) -> float:
    """Mean seconds of so many calls."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with way.context():
        start.record()
        for _ in range(calls):
            way.call()
        end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e-3 / calls


def check(found: dict[str, Way], expected: torch.Tensor) -> tuple[dict[str, float], dict[str, str]]:
    """The error of each way, relative to the largest entry; and why a way computes nothing."""
    errors, refused = {}, {}
    size = expected.abs().max().item()
    for name, way in found.items():
        try:
            with way.context(), warnings.catch_warnings(action="ignore"):  # why PyTorch's kernels refuse
                errors[name] = (way.call() - expected).abs().max().item() / size
        except (NotImplementedError, MemoryError, torch.OutOfMemoryError) as reason:
            refused[name] = str(reason).splitlines()[0]
        except RuntimeError as reason:
            if isinstance(reason, torch.AcceleratorError) or not name.startswith("SDPA"):
                raise  # a kernel failed
            refused[name] = str(reason).splitlines()[0]
    return errors, refused


def times(found: dict[str, Way], seconds: float) -> dict[str, list[float]]:
    """Samples of each way, in seconds per call."""
    calls = {}
    for name, way in found.items():
        sample(way, 3)  # also compiles and allocates
        calls[name] = max(1, min(MOST_CALLS, round(SAMPLE_SECONDS / sample(way, 3))))
    samples: dict[str, list[float]] = {name: [] for name in found}
    spent = dict.fromkeys(found, 0.0)
    while waiting := [name for name in found if len(samples[name]) < LEAST_ROUNDS or spent[name] < seconds]:
        for name in waiting:
            samples[name].append(sample(found[name], calls[name]))
            spent[name] += samples[name][-1] * calls[name]
    return samples


def measure(filter_text: str, seconds: float) -> list[dict]:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    shapes = [(o, s) for o, s in all_shapes() if filter_text in f"{o}/{s['name']}"]
    rng = np.random.default_rng(1)
    rows: list[dict] = []
    with Steps("bench --gpu", len(shapes)) as steps, torch.no_grad():
        for operation, shape in shapes:
            steps.at(len(rows), f"{operation}/{shape['name']}")
            problem = load(operation, shape, rng)
            found, expected = ways(problem, "cuda")
            errors, refused = check(found, expected)
            wrong = [name for name, error in errors.items() if not error <= TOLERANCE]
            samples = times({name: found[name] for name in errors if name not in wrong}, seconds)
            rows.append({
                "operation": operation, "name": problem.name, "gflop": problem.flops() * 1e-9,
                "milliseconds": {name: 1e3 * min(s) for name, s in samples.items()},
                "median_milliseconds": {name: 1e3 * statistics.median(s) for name, s in samples.items()},
                "errors": errors, "refused": refused, "wrong": wrong,
            })  # fmt: skip
    return rows
