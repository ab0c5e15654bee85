"""The speed that matrix products are compared with."""

from typing import Callable

import torch

from muattn_tools.peers.turns import best_times

GFLOP = 2 * 1024**3 * 1e-9


def product() -> Callable[[], torch.Tensor]:
    """PyTorch's (MKL's) sgemm at 1024 x 1024 x 1024."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return lambda: a @ b


def sgemm(seconds: float) -> float:
    """Its GFLOP/s: the limit of two matrix products."""
    return GFLOP / best_times({"sgemm": product()}, seconds)["sgemm"]
