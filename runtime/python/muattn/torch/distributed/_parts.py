"""Spatial attention over stretches of a sequence: the kernel calls that it takes (muattn/distributed/parts.hpp)."""

from __future__ import annotations

from typing import NamedTuple

from ... import _muattn


class Part(NamedTuple):
    """A kernel call: rows of the rank's queries and of the block of keys, (start, stop), and what the kernel is to be told of their places."""

    queries: tuple[int, int]
    keys: tuple[int, int]
    offsets: list[int] | None  # of a causal mask; None: none
    window_left: int | None  # with the causal mask; the right side is 0
    lengths: list[int] | None


def parts_of(queries, keys, sight: _muattn.Sight) -> list[Part]:
    """The calls for stretches of queries and keys, without those where no query sees a key. Neighbours that hide nothing are one call."""
    return [Part(*part) for part in sight.parts(queries, keys)]
