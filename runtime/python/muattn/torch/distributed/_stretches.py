"""Which tokens of a sequence a rank holds: stretches (start, length), in the order in which they lie in the rank's tensor
(muattn/distributed/stretches.hpp)."""

from __future__ import annotations

from itertools import accumulate

from ... import _muattn

BALANCES = (None, "zigzag")


def check_balance(balance):
    if balance not in BALANCES:
        raise ValueError(f"balance must be None or 'zigzag', not {balance!r}")


def counts_of(n, size, balance):
    """How many of n tokens shard() gives to each rank."""
    return _muattn.token_counts(n, size, balance == "zigzag")


def stretches_of(counts, balance):
    """For each rank, of the ranks' numbers of tokens."""
    return _muattn.token_stretches(counts, balance == "zigzag")


def check_counts(name, counts, balance):
    """Any numbers of tokens make neighbouring stretches, but one set of them a zigzag."""
    if balance is None:
        return
    wanted = counts_of(sum(counts), len(counts), balance)
    if list(counts) != wanted:
        raise ValueError(f"{name}: balance='zigzag' wants the tokens that shard() gives to each rank, {wanted}, not {list(counts)}")


def rows_of(stretches):
    """[(start, stop) in the rank's tensor, for each of its stretches]"""
    stops = list(accumulate(length for _, length in stretches))
    return [(stop - length, stop) for stop, (_, length) in zip(stops, stretches)]
