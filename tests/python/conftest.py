import os
import sys

# The references' matrix products are small: on busy cores, BLAS threads mostly wait for each other (1.5 s against 0.3 s
# for one against a cache of 5,000 keys).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import muattn
import numpy as np
import pytest
from hypothesis import settings

# The same examples every time, so that a failure is always somebody's change.
settings.register_profile("muattn", derandomize=True, deadline=None, database=None)
settings.load_profile("muattn")


@pytest.fixture
def random():
    """Reproducible standard normal float32 arrays: random(2, 4, 10, 32)."""
    generator = np.random.default_rng(0)
    return lambda *shape: generator.standard_normal(shape, dtype=np.float32)


@pytest.fixture(autouse=True)
def restore_process_state():
    threads = muattn.get_num_threads()
    yield
    muattn.set_num_threads(threads)
    muattn.force_backend(None)


@pytest.fixture(autouse=True)
def same_numbers_each_time():
    """Of PyTorch's generator, where a test has loaded it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
