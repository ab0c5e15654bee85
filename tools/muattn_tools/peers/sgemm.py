"""The speed that matrix products are compared with."""

import torch

from muattn_tools.peers.turns import best_times


def sgemm(seconds: float) -> float:
    """GFLOP/s of PyTorch's (MKL's) sgemm at 1024 x 1024 x 1024: the limit of two matrix products."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / best_times({"sgemm": lambda: a @ b}, seconds)["sgemm"] * 1e-9
