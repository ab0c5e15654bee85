"""The options of each operator: their types, and from keywords to the tuples that the extension takes, whose entries options.h names."""

from __future__ import annotations

from typing import Any, Literal, Sequence, TypeVar

from . import _muattn
from ._options import base_width, choice, factor, flag, integer, integers, number, numbers, resolve_causal, resolve_window

Array = TypeVar("Array")
SpatialScaling = Literal["sp", "mup", "mup_heads", "umup"]
ChannelScaling = Literal["sp", "mup", "mup_heads", "mup_mean"]
Causal = Literal["top_left", "bottom_right"] | int | Sequence[int] | Any | None
Window = tuple[int | None, int | None] | None
Layout = Literal["channels_last", "channels_first"]
Numbers = float | Sequence[float] | Any  # a number, or one per head: a sequence or an array

SPATIAL_SCALINGS = {name: rule for name, rule in _muattn.scalings.items() if name != "mup_mean"}
CHANNEL_SCALINGS = {name: rule for name, rule in _muattn.scalings.items() if name != "umup"}
LAYOUTS = dict(_muattn.layouts)


def spatial_settings(
    scaling, d_base=None, scale=None, causal=None, window=None, key_lengths=None, softcap=None, sink=None, alpha=1.0, power=1.0,
    output_multiplier=None,
):
    cap = number("softcap", softcap)
    if cap is not None and not cap > 0:
        raise ValueError(f"softcap must be above 0, or None, not {softcap!r}")
    alignment, offset, offsets = resolve_causal(causal)
    return (
        choice("scaling", scaling, SPATIAL_SCALINGS), base_width(d_base), numbers("scale", scale), alignment, offset, offsets,
        resolve_window(window), integers("key_lengths", key_lengths), cap or 0.0, numbers("sink", sink),
        factor("alpha", alpha), factor("power", power), number("output_multiplier", output_multiplier),
    )


def channel_settings(scaling, d_base, scale, output_multiplier, normalize, layout, tokens=None, alpha=1.0):
    return (
        choice("scaling", scaling, CHANNEL_SCALINGS), base_width(d_base), numbers("scale", scale),
        number("output_multiplier", output_multiplier), flag("normalize", normalize), choice("layout", layout, LAYOUTS),
        _token_count(tokens), factor("alpha", alpha),
    )


def _token_count(tokens):
    """0, which is 'those of the arrays' in C, for None."""
    count = 0 if tokens is None else integer("tokens", tokens)
    if tokens is not None and count < 1:
        raise ValueError(f"tokens must be at least 1, or None, not {count}")
    return count
