"""Attention maps, from the compiled kernels: with V the identity matrix, the output is the map."""

import muattn
import numpy as np


def spatial_map(q, k, queries, **options):
    """[len(queries), n_k] for head 0: how much each key weighs for these queries."""
    q, k = q[:, :1, queries], k[:, :1]
    n_k = k.shape[2]
    blocks = []
    for first in range(0, n_k, 1024):  # d_v is at most 1024
        identity = np.eye(n_k, min(1024, n_k - first), -first, dtype=np.float32)
        blocks.append(muattn.spatial_attention(q, k, identity[None, None], **options)[0, 0])
    return np.concatenate(blocks, axis=1)


def channel_map(q, k, **options):
    """[d, d] for head 0: how much each channel of V weighs for each channel of the output (o = 1)."""
    n, d = q.shape[2:]
    identity = np.eye(n, d, dtype=np.float32)[None, None]
    return muattn.channel_attention(q[:, :1], k[:, :1], identity, output_multiplier=1, **options)[0, 0, :d].T
