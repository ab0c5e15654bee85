"""What results are compared with, and how closely."""

import numpy as np
import pytest
from muattn_tools.reference import channel, softmax, spatial  # noqa: F401: for the tests


def assert_close(result, expected, tolerance=2e-6):
    """Largest error, relative to the largest entry."""
    result = np.asarray(result)
    assert result.dtype == np.float32 and result.shape == expected.shape
    finite = np.isfinite(expected)
    assert np.array_equal(result[~finite], expected[~finite].astype(np.float32), equal_nan=True)
    error = np.abs(result[finite] - expected[finite]).max(initial=0)
    assert error <= tolerance * max(1, np.abs(expected[finite]).max(initial=0)), f"error {error:.3g}"


def skip_without_kernel(backend, *head_dims):
    """GPUs refuse larger head dimensions in spatial attention: test_gpu.py."""
    if not backend.startswith("cpu:") and max(head_dims) > 256:
        pytest.skip(f"{backend} has kernels for d and d_v up to 256")
