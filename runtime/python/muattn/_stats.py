"""What the logits of a call are like, which a fused kernel shows nobody."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import _muattn
from ._devices import exported, require_processor
from ._results import like


class LogitStats(NamedTuple):
    """Statistics of the logits of a call, each [B, H], in the kind of its q: over the pairs of a query and a key that it sees, after scale
    and softcap, before a mask is added. For channel attention over the whole map.

      mean_abs  mean |logit|
      rms       the root of the mean square
      max       the greatest logit
      entropy   the mean of the rows' entropies, in nats: of the softmax of these logits over visible keys, without additive mask and sink;
                log(visible keys) where all logits are alike, 0 where one key has all weight

    An additive mask hides a key below -7e37; one of -1e4 hides none. Where no query sees a key: 0, 0, -inf, 0.
    """

    mean_abs: Any
    rms: Any
    max: Any
    entropy: Any

    @classmethod
    def of(cls, stats) -> LogitStats:
        """From the [B, H, 1, 4] of a kernel."""
        return cls(*(stats[:, :, 0, number] for number in range(len(cls._fields))))


def spatial_logit_stats(q, k, mask, settings) -> LogitStats:
    require_processor("spatial_attention(..., return_stats=True)", q=q, k=k, mask=mask)
    return LogitStats.of(like(q, _muattn.spatial_logit_stats(*exported(None, q=q, k=k, mask=mask), None, settings)))


def channel_logit_stats(q, k, settings) -> LogitStats:
    require_processor("channel_attention(..., return_stats=True)", q=q, k=k)
    return LogitStats.of(like(q, _muattn.channel_logit_stats(*exported(None, q=q, k=k), None, settings)))
