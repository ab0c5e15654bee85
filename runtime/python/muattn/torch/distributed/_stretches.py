"""Which tokens of a sequence a rank holds: stretches (start, length), in the order in which they lie in the rank's tensor."""

from __future__ import annotations

from itertools import accumulate

BALANCES = (None, "zigzag")


def check_balance(balance):
    if balance not in BALANCES:
        raise ValueError(f"balance must be None or 'zigzag', not {balance!r}")


def split(n, parts):
    """n tokens in so many neighbouring pieces: their lengths, which differ by 1 at most, the longer ones first."""
    return [n // parts + (i < n % parts) for i in range(parts)]


def counts_of(n, size, balance):
    """How many tokens shard() gives to each rank."""
    if balance is None:
        return split(n, size)
    pieces = split(n, 2 * size)
    return [pieces[rank] + pieces[-1 - rank] for rank in range(size)]


def stretches_of(counts, balance):
    """For each rank, of the ranks' numbers of tokens. With zigzag rank r has pieces r and 2 ranks - 1 - r of 2 ranks pieces: under a causal mask the
    ranks then have as much to do."""
    if balance is None:
        starts = [end - count for end, count in zip(accumulate(counts), counts)]
        return [((start, count),) if count else () for start, count in zip(starts, counts)]
    pieces = split(sum(counts), 2 * len(counts))
    starts = [end - piece for end, piece in zip(accumulate(pieces), pieces)]
    pairs = [((starts[r], pieces[r]), (starts[-1 - r], pieces[-1 - r])) for r in range(len(counts))]
    return [tuple(x for x in pair if x[1]) for pair in pairs]


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
