"""A sequence cut for the ranks, and put together again."""

from __future__ import annotations

from typing import Any, Literal

import torch

from ..._torch import outside_graphs
from ._agreement import agree, require_eager, wanted_of
from ._first_order import first_order
from ._group import all_to_all, exchanging, gather, resolve
from ._stretches import check_balance, check_counts, counts_of, stretches_of

Balance = Literal["zigzag"] | None


def _dimension(x, dim):
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x must be a torch.Tensor, not {type(x).__qualname__}")
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise TypeError(f"dim must be an integer, not {dim!r}")
    if not -x.dim() <= dim < x.dim():
        raise ValueError(f"dim must lie in {-x.dim()}..{x.dim() - 1}, not be {dim}")
    return dim % x.dim()


@outside_graphs
def shard(x: torch.Tensor, dim: int, balance: Balance = None, group: Any = None) -> torch.Tensor:
    """This rank's tokens of a sequence that every rank has whole, x, whose dimension dim is that of tokens. Nothing is sent.

    balance  None: the ranks have neighbouring stretches, in order, whose lengths differ by 1 at most, the longer ones first.
             "zigzag": of 2 ranks such stretches rank r has number r, then number 2 ranks - 1 - r, as ring_attention() takes them
    group    a ProcessGroup, a DeviceMesh of one dimension, or None: all ranks

    Returns a view of x, with zigzag a new tensor. Autograd: x gets this rank's share of the gradient, 0 for other ranks' tokens.
    """
    group = resolve(group)
    check_balance(balance)
    dim = _dimension(x, dim)
    stretches = stretches_of(counts_of(x.shape[dim], group.size, balance), balance)[group.rank]
    if not stretches:
        return x.narrow(dim, 0, 0)
    parts = [x.narrow(dim, *stretch) for stretch in stretches]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


class _Unshard(torch.autograd.Function):
    """x with its tokens first, to all tokens. Elements travel as bytes: not every backend knows every type."""

    @staticmethod
    def forward(ctx, x, group, counts, stretches):
        ctx.group, ctx.counts, ctx.stretches = group, counts, stretches
        token = x.shape[1:]
        padded = x.new_zeros((max(counts), *token))
        padded[: len(x)] = x
        with exchanging("unshard()"):
            found = gather(group, _bytes(padded))
        whole = x.new_empty((sum(counts), *token))
        for parts, of_rank in zip(stretches, found.view(x.dtype)):
            _place(whole, parts, of_rank.view(max(counts), *token))
        return whole

    @staticmethod
    def backward(ctx, d_whole):
        """The sum of all ranks' gradients by this rank's tokens, in the order of the ranks."""
        group = ctx.group
        own, token = ctx.counts[group.rank], d_whole.shape[1:]
        pieces = [_bytes(torch.cat([d_whole[s : s + n] for s, n in parts] or [d_whole[:0]])) for parts in ctx.stretches]
        with exchanging("unshard()"):
            found = all_to_all(group, pieces, [len(pieces[group.rank])] * group.size)
        shares = [x.clone().view(d_whole.dtype).view(own, *token) for x in found]
        d_x = sum(shares[1:], shares[0])
        return (*first_order("unshard()", (d_x,), d_whole), None, None, None)


def _bytes(x):
    return x.detach().contiguous().flatten().view(torch.uint8)


def _place(whole, stretches, tokens):
    taken = 0
    for start, length in stretches:
        whole[start : start + length] = tokens[taken : taken + length]
        taken += length


@outside_graphs
def unshard(x: torch.Tensor, dim: int, balance: Balance = None, group: Any = None) -> torch.Tensor:
    """The whole sequence, on every rank, of tokens that lie as shard() lays them, or, without balance, of stretches of any lengths. Every rank must
    call it, and, where x requires a gradient, run the backward pass.

    Autograd: x gets the sum of the gradients that all ranks have by its tokens. A loss that each rank computes of the whole is to be divided by the
    number of ranks, or taken on one.
    """
    group = resolve(group)

    def prepare():
        check_balance(balance)
        axis = _dimension(x, dim)
        require_eager(x)
        if not x.is_cpu:
            raise NotImplementedError(f"x must be in the CPU's memory, not on {x.device}")
        sizes = [*x.shape[:axis], *x.shape[axis + 1 :]]
        description = {
            "balance": balance, "dim": axis, "sizes of x but the tokens'": sizes, "x.dtype": str(x.dtype),
            "tensors that require a gradient": wanted_of(x=x),
        }
        return axis, description, (x.shape[axis], 0)

    axis, (counts, _) = agree("unshard()", group, prepare)
    check_counts("x", counts, balance)
    return _Unshard.apply(x.movedim(axis, 0), group, counts, stretches_of(counts, balance)).movedim(0, axis)
