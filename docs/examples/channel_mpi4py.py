"""Channel attention over an image's tokens that are spread over the ranks of MPI, forward and backward, from NumPy, by mpi4py and the two
halves of the operation: what muattn/mpi.hpp does in C++.

    mpiexec -n 2 python channel_mpi4py.py
"""

import muattn
import numpy as np
from mpi4py import MPI

ranks = MPI.COMM_WORLD
B, H, N, D = 1, 4, 1000, 48  # N tokens in all

whole = np.random.default_rng(0).standard_normal((4, B, H, N, D), np.float32)
own = slice(N * ranks.rank // ranks.size, N * (ranks.rank + 1) // ranks.size)
q, k, v, d_out = whole[..., own, :]  # this rank's tokens

# Forward: the maps of all ranks add up; s = 1/sqrt(n) has the n of all.
logits = muattn.channel_map(q, k)
ranks.Allreduce(MPI.IN_PLACE, logits)
out = muattn.channel_apply(logits, v, tokens=N)

# Backward: so do their gradients.
first = muattn.channel_apply_backward(logits, v, d_out, tokens=N)
ranks.Allreduce(MPI.IN_PLACE, first["attention_map"])
second = muattn.channel_map_backward(q, k, logits, first["attention_map"], tokens=N)

expected = {"out": muattn.channel_attention(*whole[:3]), **muattn.channel_attention_backward(*whole)}
for name, found in {"out": out, "q": second["q"], "k": second["k"], "v": first["v"]}.items():
    worst = ranks.allreduce(float(np.abs(found - expected[name][..., own, :]).max()), MPI.MAX)
    if ranks.rank == 0:
        print(f"{ranks.size} ranks, {name}: greatest difference from one process {worst:.1e}, of numbers up to {np.abs(expected[name]).max():.2g}")
    assert worst <= 1e-5 * np.abs(expected[name]).max(), name
