"""The checks of python -m muattn.coord_check."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import torch

from ..proving import OPERATIONS, RULES, batches, loss_of, make_model
from ..torch import CoordCheck, coord_check

TOKENS = 32  # of a text
# Of texts: from the 6th step to the 13th the mean of logits' slopes over seeds is the same, but the seeds' own move apart, to twice as far and more.
# Of digits: attention's output, which begins like width^-1/2, has taken ten steps to lose that.
STEPS = {"spatial": 8, "channel": 16}
WORDS = {
    "sp": "PyTorch's own", "mup": "muP, {} ∝ 1/d", "mup_sqrt": "muP, but 1/√d", "mup_mean": "muP, o = 1", "mup_heads": "muP",
    "umup": "muP, u-muP's attention",
}  # fmt: skip
QUICK = {"widths": (32, 64, 128, 256), "seeds": 8}  # a seed's slope is less certain there, and costs less


@dataclasses.dataclass(frozen=True)
class Check:
    """One rule. Some models are narrower than muP's base model, some wider: with a base as narrow as the narrowest, the learning rates of the
    widest would be so small that training had not taken over after these few steps."""

    operation: str
    rule: str
    grow: str | None = None
    widths: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    seeds: int = 6
    steps: int | None = None
    lr: float = 2**-8
    base_width: int = 128

    @property
    def grows(self) -> str:
        return self.grow or RULES[self.rule].grow

    @property
    def nsteps(self) -> int:
        return self.steps or STEPS[self.operation]

    @property
    def label(self) -> str:
        words = WORDS[self.rule].format("s" if self.operation == "spatial" else "o")
        return f"{self.rule}\n{words}\n{'d grows' if self.grows == 'head_dim' else 'heads grow'}"

    def model(self, width: int) -> torch.nn.Module:
        heads = 4 if self.grows == "head_dim" else 16  # in muP's base model: 4 in the narrowest model too
        return make_model(
            self.operation, self.rule, width, seed=torch.initial_seed(), grow=self.grow, base_width=self.base_width, base_heads=heads, normalize=False
        )

    def batches(self, seed: int):
        """Texts are new at each step; of digits it is one batch over and over, as mup.coord_check has it. Chosen after both were tried at widths to
        256: with one batch of texts for all 8 steps logits had the slopes -0.43 ± 0.11 under mup and +0.05 ± 0.11 under mup_sqrt, which no verdict
        tells apart rightly; with new digits at each step those of mup_mean had -0.39 ± 0.18 after 32 steps."""
        if self.operation == "channel":
            return [next(batches("channel", seed, batch=16))]
        return ((inputs[:, :TOKENS], targets[:, :TOKENS]) for inputs, targets in batches("spatial", seed, batch=8))

    def costs(self) -> list[float]:
        """Of the steps, one after the other, in any unit."""
        return [(width + 128) ** 2 for _ in range(self.seeds) for width in self.widths for _ in range(self.nsteps)]

    def perform(self, progress: Callable[[int, int], None]) -> CoordCheck:
        """Seeds, widths and steps as costs() has them."""
        models = {width: functools.partial(self.model, width) for width in self.widths}
        return coord_check(
            models, self.batches, optimizer="adam", lr=self.lr, nsteps=self.nsteps, nseeds=self.seeds,
            loss=lambda model, batch: loss_of(model, *batch), progress=progress,
        )


def checks_of(operation: str | None, rules: Iterable[str] | None, **setting) -> list[Check]:
    """Of the rules, or all, those that each operation has. ValueError: a rule that there is not, or a width that it refuses."""
    operations = [operation] if operation else OPERATIONS
    known = [rule.name for rule in RULES.values() if any(name in rule.operations for name in operations)]
    for rule in rules or ():
        if rule not in known:
            raise ValueError(f"rule of {' and '.join(operations)} attention must be one of {', '.join(known)}, not {rule!r}")
    found = [Check(name, rule, **setting) for name in operations for rule in rules or RULES if name in RULES[rule].operations]
    with torch.device("meta"):  # better known before the first step than after many
        for check in found:
            for width in check.widths:
                check.model(width)
    return found


def perform(checks: list[Check], progress) -> Iterator[tuple[Check, CoordCheck]]:
    """One after the other. progress: one of muattn.proving.progress."""
    before = 0.0
    for check in checks:
        until = list(itertools.accumulate(check.costs(), initial=before))
        says = f"{check.operation} attention, {check.rule}"
        yield check, check.perform(lambda done, total: progress.at(until[done], f"{says}, step {done} of {total}"))
        before = until[-1]


_HEADER = f"{'rule':<10} {'grows':<9} {'quantity':<17} {'at first':>8} {'late slope':>14}  {'verdict':<10} why that matters"


def table(found: dict[Check, CoordCheck]) -> str:
    """A line for each rule and quantity, and what the scales say."""
    lines = []
    for operation in OPERATIONS:
        of_operation = {check: result for check, result in found.items() if check.operation == operation}
        if not of_operation:
            continue
        lines += ["", f"{operation} attention", _HEADER]
        for check, result in of_operation.items():
            begin = f"{check.rule:<10} {check.grows:<9}"
            for quantity, verdict in result.verdict.items():
                first, late = result.fits[quantity, 1], result.fits[quantity, "late"]
                slopes = f"{_slope(first.slope):>8} {_slope(late.slope):>7} ± {late.margin:<4.2f}"
                lines.append(f"{begin} {quantity:<17} {slopes}  {verdict:<10} {result.why[quantity]}")
                begin = " " * len(begin)
            lines += [f"{begin} {finding.kind}: {finding.message}" for finding in result.findings]
    return "\n".join(lines[1:])


def _slope(slope):
    return "is 0" if math.isnan(slope) else f"{slope:+.2f}"
