"""Spatial attention over stretches of a sequence: which keys a query sees there, and the kernel calls that this takes."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ._stretches import rows_of


class Sight(NamedTuple):
    """Query i sees key j, both counted in the whole sequence, if i + offset + left <= j <= i + offset + right and j < length. offsets and lengths:
    for each batch entry, or one offset for all. None: no such limit."""

    offsets: tuple[int, ...] = (0,)
    left: int | None = None
    right: int | None = None
    lengths: tuple[int, ...] | None = None


class Part(NamedTuple):
    """A kernel call: rows of the rank's queries and of the block of keys, (start, stop), and what the kernel is to be told of their places."""

    queries: tuple[int, int]
    keys: tuple[int, int]
    offsets: tuple[int, ...] | None  # of a causal mask; None: none
    window: tuple[int, int] | None
    lengths: tuple[int, ...] | None


def sight_of(n_q, n_k, alignment, offset, offsets, window, lengths):
    """From the whole call's options, as the operator takes them, offsets and lengths as lists."""
    if alignment == "bottom_right":
        found = [(n_k if lengths is None else length) - n_q for length in (lengths or [n_k])]
    else:
        found = offsets if offsets is not None else [offset if alignment == "offset" else 0]
    left, right = (None if side < 0 else side for side in window or (-1, -1))
    if alignment != "none":
        right = 0
    return Sight(tuple(found), None if left is None else -left, right, None if lengths is None else tuple(lengths))


def parts_of(queries, keys, sight):
    """The calls for stretches of queries and keys, without those where no query sees a key. Neighbours that hide nothing are one call."""
    if _is_whole_triangle(queries, keys, sight):
        found = [Part((0, _count(queries)), (0, _count(keys)), (0,), None, None)]
    else:
        found = []
        for query_rows, query_stretch in zip(rows_of(queries), queries):
            found += _joined(_of_queries(query_rows, query_stretch, keys, sight), "keys")
        found = _joined(found, "queries")
    if sight.lengths is not None:
        found = [part._replace(lengths=_lengths_in(part.keys, keys, sight.lengths)) for part in found]
        found = [part for part in found if any(part.lengths)]
    return found


@lru_cache(maxsize=64)
def last_hops(queries, keys, sight):
    """For each rank how far its block of keys travels: to the last rank, counted from it on, that sees one of them."""
    size = len(keys)
    if sight.left is None and sight.right is None:
        return (size - 1,) * size
    return tuple(
        next((hop for hop in range(size - 1, 0, -1) if parts_of(queries[(owner + hop) % size], keys[owner], sight)), 0) for owner in range(size)
    )


def _count(stretches):
    return sum(length for _, length in stretches)


def _is_whole_triangle(queries, keys, sight):
    """The same tokens on both sides in order, and each sees those up to itself: as of one stretch."""
    return queries == keys and len(keys) > 1 and sight.left is None and sight.right == 0 and not any(sight.offsets)


def _of_queries(query_rows, query_stretch, keys, sight):
    first, n_q = query_stretch
    for key_rows, (start, n_k) in zip(rows_of(keys), keys):
        shifts = [offset + first - start for offset in sight.offsets]  # key j of the stretch is seen from shift + left to shift + right on
        lowest = None if sight.left is None else [shift + sight.left for shift in shifts]
        highest = None if sight.right is None else [shift + sight.right for shift in shifts]
        if highest is not None and all(n_q - 1 + x < 0 for x in highest) or lowest is not None and all(x > n_k - 1 for x in lowest):
            continue
        if highest is not None and all(x >= n_k - 1 for x in highest):
            highest = None
        if lowest is not None and all(n_q - 1 + x <= 0 for x in lowest):
            lowest = None
        if lowest is not None and highest is None:  # a window hangs on a causal mask, which hides nothing here
            highest = [x + max(0, n_k - 1 - min(lowest)) for x in lowest]
        window = None if lowest is None else (highest[0] - lowest[0], 0)
        yield Part(query_rows, key_rows, None if highest is None else tuple(highest), window, None)


def _joined(parts, side):
    """Neighbours on this side that hide nothing, with the same rows on the other, as one."""
    found = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and part.offsets is last.offsets is None and _continues(last, part, side):
            rows = getattr(last, side)[0], getattr(part, side)[1]
            found[-1] = last._replace(**{side: rows})
        else:
            found.append(part)
    return found


def _continues(last, part, side):
    other = "queries" if side == "keys" else "keys"
    return getattr(last, other) == getattr(part, other) and getattr(last, side)[1] == getattr(part, side)[0]


def _lengths_in(rows, keys, lengths):
    """Of the keys in these rows, how many each batch entry has: the first ones, as stretches are in order."""
    found = [0] * len(lengths)
    for (a, b), (start, length) in zip(rows_of(keys), keys):
        if rows[0] <= a and b <= rows[1]:
            found = [sum_ + min(max(n - start, 0), length) for sum_, n in zip(found, lengths)]
    return tuple(found)
