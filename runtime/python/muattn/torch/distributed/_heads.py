"""Tokens for heads and back, in one exchange for several tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .._tensors import beside_tokens
from ._first_order import first_order
from ._group import Group, all_to_all, exchanging
from ._stretches import rows_of


class Exchange(NamedTuple):
    """places: for each tensor, and each rank, the stretches of its tokens."""

    what: str
    group: Group
    places: tuple[list, ...]

    def to_heads(self, tensors):
        """[B, heads, this rank's tokens, d] to [B, heads / ranks, all tokens, d]."""
        size = self.group.size
        shapes = [(x.shape[0], x.shape[1] // size, x.shape[3]) for x in tensors]
        found = [x.new_empty((B, h, sum(map(_count, places)), d)) for x, (B, h, d), places in zip(tensors, shapes, self.places)]
        sent = [[x.chunk(size, 1)[r] for x in tensors] for r in range(size)]
        coming = [[(B, h, _count(places[r]), d) for (B, h, d), places in zip(shapes, self.places)] for r in range(size)]
        for r, parts in enumerate(self._swap(sent, coming)):
            for whole, part, places in zip(found, parts, self.places):
                for (start, length), (a, b) in zip(places[r], rows_of(places[r])):
                    whole[:, :, start : start + length] = part[:, :, a:b]
        return tuple(found)

    def to_tokens(self, tensors):
        """[B, heads / ranks, all tokens, d] to [B, heads, this rank's tokens, d]."""
        size, rank = self.group.size, self.group.rank
        shapes = [(x.shape[0], x.shape[1], _count(places[rank]), x.shape[3]) for x, places in zip(tensors, self.places)]
        found = [beside_tokens(x, B, h * size, n, d) for x, (B, h, n, d) in zip(tensors, shapes)]
        sent = [[_tokens_in(x, places[r]) for x, places in zip(tensors, self.places)] for r in range(size)]
        for r, parts in enumerate(self._swap(sent, [shapes] * size)):
            for whole, part in zip(found, parts):
                whole.chunk(size, 1)[r].copy_(part)
        return tuple(found)

    def _swap(self, sent, coming):
        """Sends each rank its tensors; from each come tensors of these shapes."""
        pieces = [torch.cat([x.flatten() for x in tensors]) for tensors in sent]
        sizes = [[torch.Size(shape).numel() for shape in shapes] for shapes in coming]
        with exchanging(self.what):
            found = all_to_all(self.group, pieces, list(map(sum, sizes)))
        return [[x.view(shape) for x, shape in zip(part.split(of), shapes)] for part, of, shapes in zip(found, sizes, coming)]


def _count(stretches):
    return sum(length for _, length in stretches)


def _tokens_in(x, stretches):
    return torch.cat([x[:, :, start : start + length] for start, length in stretches] or [x[:, :, :0]], 2)


class ToHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx, exchange, *tensors):
        ctx.exchange = exchange
        return exchange.to_heads([x.detach() for x in tensors])

    @staticmethod
    def backward(ctx, *gradients):
        return None, *first_order(ctx.exchange.what, ctx.exchange.to_tokens([x.detach() for x in gradients]), *gradients)


class ToTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx, exchange, *tensors):
        ctx.exchange = exchange
        return exchange.to_tokens([x.detach() for x in tensors])

    @staticmethod
    def backward(ctx, *gradients):
        return None, *first_order(ctx.exchange.what, ctx.exchange.to_heads([x.detach() for x in gradients]), *gradients)
