"""Attention over tokens that are spread over processes, on torch.distributed: docs/distributed.md.

    q, k, v = (shard(x, dim=2, balance="zigzag") for x in (q, k, v))  # or made from this rank's tokens
    out = ring_attention(q, k, v, balance="zigzag", causal="top_left")
"""

from ._channel import channel_attention
from ._ring import ring_attention
from ._shard import shard, unshard
from ._ulysses import ulysses_attention

__all__ = ["channel_attention", "ring_attention", "shard", "ulysses_attention", "unshard"]
