"""Blocks of keys and values on their way round the ring, each from its rank to the next, and their gradients behind them."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ._group import Group, exchanging, start_receive, start_send

_BLOCK, _GRADIENT, _HOME = range(3)  # tags


class Route(NamedTuple):
    what: str
    group: Group
    counts: tuple[int, ...]  # of each rank's keys
    last_hops: list[int]

    def owner(self, hop):
        """Whose block is here after so many hops; None: none comes."""
        rank = (self.group.rank - hop) % self.group.size
        return rank if hop <= self.last_hops[rank] else None

    @property
    def next(self):
        return (self.group.rank + 1) % self.group.size

    @property
    def previous(self):
        return (self.group.rank - 1) % self.group.size


def new_block(k, v, n, dtype=None):
    """(buffer, keys, values): for n tokens of k's and v's shapes, of their type or another, in one piece of memory."""
    B, H, _, d = k.shape
    d_v = v.shape[-1]
    buffer = k.new_empty(B * H * n * (d + d_v), dtype=dtype)
    keys, values = buffer.split([B * H * n * d, B * H * n * d_v])
    return buffer, keys.view(B, H, n, d), values.view(B, H, n, d_v)


def visits(route, k, v):
    """Yields (hop, owner, keys, values) for this rank's own block, then for each that comes. While the caller works on one, it is sent on, and
    the next one received."""
    block = None, k, v
    for hop in range(route.group.size):
        owner, following, works = route.owner(hop), route.owner(hop + 1) if hop + 1 < route.group.size else None, []
        arriving = None
        if owner is not None and hop < route.last_hops[owner]:
            if hop == 0:
                block = new_block(k, v, k.shape[2])
                block[1].copy_(k)
                block[2].copy_(v)
            with exchanging(route.what):
                works.append(start_send(route.group, block[0], route.next, _BLOCK))
        if following is not None:
            arriving = new_block(k, v, route.counts[following])
            with exchanging(route.what):
                works.append(start_receive(route.group, arriving[0], route.previous, _BLOCK))
        if owner is not None:
            yield hop, owner, *block[1:]
        with exchanging(route.what):
            while works:  # a work keeps its memory
                works.pop().wait()
        block = arriving


class Gradients:
    """Sums of a block's gradients, in float32: each rank adds its share to what has come, and sends that after the block; the last one sends it
    home."""

    def __init__(self, route, k, v):
        self._route, self._k, self._v = route, k, v
        self._sending = self._arriving = None
        self._home = new_block(k, v, k.shape[2], torch.float32)
        last = route.last_hops[route.group.rank]
        self._homecoming = self._receive(self._home, (route.group.rank + last) % route.group.size, _HOME) if last else None

    def _receive(self, block, source, tag):
        with exchanging(self._route.what):
            return start_receive(self._route.group, block[0], source, tag)

    def expect(self, hop, owner):
        """Before the share is computed: what has been added up so far is received meanwhile."""
        if hop:
            block = new_block(self._k, self._v, self._route.counts[owner], torch.float32)
            self._arriving = block, self._receive(block, self._route.previous, _GRADIENT)

    def add(self, hop, owner, share):
        """share: a block, or None where this rank sees none of its keys, which happens but on the way to one that does."""
        if hop == 0:
            total = share or self._zeros(owner)
            if self._homecoming is None:
                self._home = total
                return
        else:
            total, work = self._arriving
            with exchanging(self._route.what):
                work.wait()
            self._arriving = None
            if share is not None:
                total[0].add_(share[0])
        self._settle()
        is_last = hop == self._route.last_hops[owner]
        with exchanging(self._route.what):
            work = start_send(self._route.group, total[0], owner if is_last else self._route.next, _HOME if is_last else _GRADIENT)
        self._sending = total, work  # memory that is on its way is to stay

    def _zeros(self, owner):
        block = new_block(self._k, self._v, self._route.counts[owner], torch.float32)
        block[0].zero_()
        return block

    def _settle(self):
        if self._sending is not None:
            with exchanging(self._route.what):
                self._sending[1].wait()
            self._sending = None

    def result(self):
        """(d_k, d_v) of this rank's own."""
        self._settle()
        if self._homecoming is not None:
            with exchanging(self._route.what):
                self._homecoming.wait()
        return self._home[1:]
