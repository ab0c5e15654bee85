"""What the tuner may try: values of every number of a schedule, and rules that a set of numbers has to obey.

Names and defaults are those of schedules/<operation>/<algorithm>_numbers.h. A number that is not
named here gets multiples of its default, so a new generator can be tuned before it has a place here. A rule only saves
the time of building what the generator, or the check of its results, would reject, or what cannot be fast."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Callable, Iterator

Numbers = dict[str, int]  # of a schedule, all of them
Machine = dict  # of tables/machines.json: "lanes", "registers"


class TuneError(Exception):
    """What the user has to know and can change; printed as one line."""


def times(*factors: str) -> Callable[[int], set[int]]:
    """Multiples of the default that are whole numbers."""
    fractions = [Fraction(x) for x in factors]
    return lambda default: {int(default * f) for f in fractions if (default * f).denominator == 1 and default * f >= 1}


def values(*numbers: int) -> Callable[[int], set[int]]:
    return lambda default: set(numbers)


UNKNOWN = times("1/2", "3/4", "3/2", "2")


@dataclass(frozen=True)
class Rule:
    text: str
    holds: Callable[[Numbers, Machine], bool]


def multiple(name: str, of: str) -> Rule:
    return Rule(f"{name} is a multiple of {of}", lambda p, m: p[name] % p[of] == 0)


def in_registers(a: str, b: str) -> Rule:
    return Rule(f"{a} x {b} accumulators fit into the registers", lambda p, m: p[a] * p[b] < m["registers"])


def whole_vectors(name: str) -> Rule:
    return Rule(f"{name} is a multiple of the lanes", lambda p, m: p[name] % m["lanes"] == 0)


@dataclass(frozen=True)
class Space:
    axes: dict[str, Callable[[int], set[int]]]
    rules: list[Rule] = field(default_factory=list)
    all_kernels: bool = False  # the numbers decide which of the generator's kernels a call runs, so each is built


TILES_OF_TOKENS = Rule(
    "tile_tokens is a multiple of token_vectors x lanes",
    lambda p, m: p["tile_tokens"] % (p["token_vectors"] * m["lanes"]) == 0,
)

SPACES = {
    "spatial_attention_general": Space(
        axes={
            "row_vectors": values(1, 2, 3, 4, 6),
            "key_unroll": values(2, 3, 4, 6, 8, 12),
            "value_group": values(4, 6, 8, 12),
            "tile_blocks": times("1/4", "1/2", "3/4", "3/2", "2"),
            "chunk_keys": times("1/4", "3/8", "1/2", "3/4", "3/2", "2", "3"),
        },
        rules=[
            multiple("chunk_keys", "key_unroll"),
            in_registers("row_vectors", "key_unroll"),
            in_registers("row_vectors", "value_group"),
        ],
    ),
    "spatial_attention_split_keys": Space(
        axes={
            "block_rows": values(1, 2, 4, 6, 8),
            "key_unroll": values(1, 2, 4, 8),
            "value_vectors": values(1, 2, 4, 8),
            "group_keys": times("1/2", "2", "4", "8"),
            "prefetch_keys": times("1/2", "2", "4"),
            # Not longer ones: the table's shapes have heads enough for every thread, a call with few needs its spans.
            "span_keys": times("1/4", "1/2"),
        },
        rules=[
            multiple("prefetch_keys", "key_unroll"),
            multiple("span_keys", "group_keys"),
            whole_vectors("span_keys"),
            in_registers("block_rows", "key_unroll"),
            in_registers("block_rows", "value_vectors"),
        ],
    ),
    "spatial_attention_few_keys": Space(
        axes={"block_rows": times("1/2", "2/3", "3/4", "4/3", "3/2", "2"), "tile_blocks": times("1/4", "1/2", "2", "4")},
    ),
    "channel_attention_channels_last": Space(
        axes={
            "row_vectors": values(1, 2, 3, 4, 6),
            "column_group": values(2, 3, 4, 6, 8, 12),
            "token_unroll": values(2, 3, 4, 6, 8, 12),
            "tile_blocks": times("1/3", "2/3", "4/3", "2"),
            "chunk_tokens": times("1/2", "3/4", "3/2", "2", "4"),
            "value_columns": times("1/2", "3/2", "2", "4"),
        },
        rules=[in_registers("row_vectors", "column_group"), in_registers("row_vectors", "token_unroll")],
        all_kernels=True,
    ),
    "channel_attention_channels_first": Space(
        axes={
            "map_rows": values(1, 2, 3, 4, 6),
            "map_columns": values(2, 3, 4, 6, 8),
            "tile_blocks": times("1/4", "1/2", "2"),
            "chunk_tokens": times("1/2", "3/4", "3/2", "2", "4"),
            "token_vectors": values(1, 2, 3, 4),
            "channel_group": values(2, 3, 4, 6, 8),
            "tile_tokens": times("1/2", "2/3", "4/3", "2", "4"),
        },
        rules=[
            whole_vectors("chunk_tokens"),
            TILES_OF_TOKENS,
            Rule(
                "map_rows x tile_blocks is a multiple of channel_group",
                lambda p, m: p["map_rows"] * p["tile_blocks"] % p["channel_group"] == 0,
            ),
            in_registers("map_rows", "map_columns"),
            in_registers("token_vectors", "channel_group"),
        ],
    ),
    "spatial_attention_key_blocks": Space(
        axes={
            "key_vectors": values(1, 2, 3, 4, 6),
            "query_unroll": values(2, 3, 4, 6, 8, 12),
            "column_unroll": values(2, 3, 4, 6, 8, 12),
            "column_vectors": values(1, 2, 3, 4, 6),
            "row_unroll": values(2, 3, 4, 6, 8, 12),
            "block_panels": values(1, 2, 3, 4, 6, 8),
            "block_queries": times("1/3", "1/2", "2/3", "4/3", "2"),
            # Not longer ones: they share out the work of a call with few heads, of which the table has one.
            "span_keys": times("1/4", "1/2"),
        },
        rules=[
            in_registers("key_vectors", "query_unroll"),
            in_registers("key_vectors", "column_unroll"),
            in_registers("column_vectors", "row_unroll"),
        ],
    ),
    # The parts of channel attention's gradients; maps and products are tried as in the forward algorithms.
    "channel_attention_channels_last_map": Space(
        axes={
            "row_vectors": values(1, 2, 3, 4, 6),
            "column_group": values(2, 3, 4, 6, 8, 12),
            "tile_blocks": times("1/3", "2/3", "4/3", "2"),
            "chunk_tokens": times("1/2", "3/4", "3/2", "2", "4"),
        },
        rules=[in_registers("row_vectors", "column_group")],
    ),
    "channel_attention_channels_last_product": Space(
        axes={
            "row_vectors": values(1, 2, 3, 4, 6),
            "token_unroll": values(2, 3, 4, 6, 8, 12),
            "tile_tokens": times("1/2", "3/2", "2", "4"),
            "block_columns": times("1/2", "3/2", "2", "4"),
        },
        rules=[in_registers("row_vectors", "token_unroll")],
    ),
    "channel_attention_channels_first_map": Space(
        axes={
            "map_rows": values(1, 2, 3, 4, 6),
            "map_columns": values(2, 3, 4, 6, 8),
            "tile_blocks": times("1/4", "1/2", "2"),
            "chunk_tokens": times("1/2", "3/4", "3/2", "2", "4"),
        },
        rules=[whole_vectors("chunk_tokens"), in_registers("map_rows", "map_columns")],
    ),
    "channel_attention_channels_first_product": Space(
        axes={
            "token_vectors": values(1, 2, 3, 4),
            "channel_group": values(2, 3, 4, 6, 8),
            "tile_tokens": times("1/2", "2/3", "4/3", "2", "4"),
        },
        rules=[TILES_OF_TOKENS, in_registers("token_vectors", "channel_group")],
    ),
    # A call's tiles of rows are softmax's. Those of gradient and transpose count in calls that are not timed, without a softmax.
    "channel_attention_softmax": Space(axes={"tile_rows": times("1/4", "1/2", "2", "4")}, rules=[whole_vectors("tile_rows")]),
    "channel_attention_transpose": Space(axes={"tile_rows": values()}),
    "channel_attention_gradient": Space(axes={"tile_rows": values()}),
}


class Search:
    """The space of one generator on one machine. A candidate is {name: value} of the numbers that are not the default."""

    def __init__(self, generator: str, defaults: Numbers, machine: Machine, only: dict[str, list[int]] | None = None):
        space = SPACES.get(generator, Space({}))
        for name in space.axes:
            if name not in defaults:
                known = ", ".join(defaults)
                raise TuneError(f"tools/muattn_tools/tune/space.py: {generator} has no number '{name}'; its schedule has {known}")
        self.defaults, self.machine, self.rules, self.all_kernels = defaults, machine, space.rules, space.all_kernels
        known = {name: {default} | space.axes.get(name, UNKNOWN)(default) for name, default in defaults.items()}
        self.can_be_tuned = any(len(values) > 1 for values in known.values())
        self.axes = {
            name: sorted({default} | set(only.get(name, [])) if only else known[name]) for name, default in defaults.items()
        }
        if broken := self.broken_rule({}):
            raise TuneError(f"tools/muattn_tools/tune/space.py: the defaults of {generator} break a rule: {broken}")

    def broken_rule(self, candidate: Numbers) -> str | None:
        numbers = self.defaults | candidate
        return next((rule.text for rule in self.rules if not rule.holds(numbers, self.machine)), None)

    def differing(self, numbers: Numbers) -> Numbers:
        return {name: numbers[name] for name in self.defaults if numbers[name] != self.defaults[name]}

    def neighbours(self, best: Numbers) -> Iterator[Numbers]:
        """Candidates in the order in which they are worth trying: one number a step up or down, then two numbers at once,
        then one number further away."""
        numbers = self.defaults | best
        steps = {name: self._steps(name, numbers[name]) for name in self.axes}
        singles = [{name: value} for name in steps for value in steps[name][0]]
        pairs = [a | b for a, b in itertools.combinations(singles, 2) if a.keys() != b.keys()]
        far = [{name: value} for name in steps for value in steps[name][1]]
        for change in singles + pairs + far:
            candidate = self.differing(numbers | change)
            if self.broken_rule(candidate) is None:
                yield candidate

    def _steps(self, name: str, value: int) -> tuple[list[int], list[int]]:
        """The next values of an axis, up first, and the others, nearest first."""
        axis = self.axes[name]
        at = sum(x < value for x in axis)  # an earlier run may have had other --values
        below, above = axis[:at], [x for x in axis if x > value]
        near = above[:1] + below[-1:]
        return near, sorted(set(axis) - {value, *near}, key=lambda x: abs(axis.index(x) - at))


def text(candidate: Numbers) -> str:
    return " ".join(f"{name}={value}" for name, value in candidate.items()) or "default"
