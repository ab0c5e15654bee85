"""Which runs there are."""

from __future__ import annotations

import dataclasses
import math

SHOWN = {"spatial": ("sp", "mup", "mup_sqrt"), "channel": ("sp", "mup", "mup_mean")}  # rules, where none is asked for
BASE_WIDTH, HEADS = 32, 4


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same in all runs of an operation."""

    widths: tuple[int, ...]
    lrs: tuple[float, ...]
    steps: int
    batch: int  # texts of 128 characters; digits, of 16 patches
    seeds: int


def powers_of_two(first: int, last: int) -> tuple[float, ...]:
    return tuple(2.0**power for power in range(first, last + 1))


WHOLE = {
    "spatial": Setting((32, 64, 128, 256), powers_of_two(-11, -4), 200, 16, 1),
    "channel": Setting((32, 64, 128, 256), powers_of_two(-11, -4), 100, 128, 1),
}
QUICK = {
    "spatial": Setting((32, 64), powers_of_two(-8, -5), 20, 8, 1),
    "channel": Setting((32, 64), powers_of_two(-8, -5), 20, 32, 1),
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training. Two runs with the same fields have the same loss."""

    operation: str
    rule: str
    width: int
    lr: float
    seed: int
    steps: int
    batch: int

    def work(self) -> float:
        """About proportional to its time; the two operations cost the same for as many tokens."""
        tokens = self.batch * (128 if self.operation == "spatial" else 16)
        return self.steps * tokens * self.width * (self.width + 128)

    def says(self) -> str:
        return f"{self.operation}, {self.rule}, width {self.width}, rate {rate_text(self.lr)}"


def runs_of(operation: str, rule: str, setting: Setting) -> list[Run]:
    return [
        Run(operation, rule, width, lr, seed, setting.steps, setting.batch)
        for width in setting.widths
        for lr in setting.lrs
        for seed in range(setting.seeds)
    ]


def rate_text(lr: float) -> str:
    """2^-7 for a power of two."""
    power = math.log2(lr)
    return f"2^{power:.0f}" if power == round(power) else f"{lr:.3g}"
