"""coord_check(): the coordinate check of Yang et al. (arXiv:2203.03466, appendix D.1), with logits and a verdict."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..coord_check.collect import ATTENTION, BLOCK, LOGITS, QUANTITIES, Run
from ..coord_check.diagnosis import Finding, diagnose
from ..coord_check.fits import Fit, fit
from ..coord_check.verdicts import WHY, Verdict, judge

COLUMNS = ("width", "module", "t", "l1", "seed", "quantity", "max", "entropy")


class CoordCheck:
    """What coord_check() found.

    rows      a dict for each width, seed, step and tensor: width, module, t (1: at initialisation), l1 (mean |coordinate|), seed, quantity; for
              logits also max and entropy
    fits      Fit(slope, low, high) of log l1 against log width by (quantity, t), and by (quantity, "late") over the last quarter of the steps
    verdict   "stable", "grows", "vanishes" or "not clear" by quantity; muattn.coord_check.verdicts has the rule
    why       why that matters, or why it is not clear, by quantity
    findings  Finding(kind, modules, message, wrong): what the scales of attention say, and what was not seen; not wrong: what may be meant
    stable    whether every verdict is "stable", and no finding wrong
    """

    def __init__(self, rows: list[dict[str, Any]], facts, greatest_logit: float, max_logit: float | None) -> None:
        self.rows = rows
        self.fits: dict[tuple[str, int | str], Fit] = {}
        self.verdict: dict[str, Verdict] = {}
        self.why: dict[str, str] = {}
        for quantity, (widths, steps) in self.sizes().items():
            self._judge(quantity, widths, steps)
        vanishing = self.verdict.get(ATTENTION) == "vanishes"
        self.findings: list[Finding] = diagnose(facts, vanishing, greatest_logit, max_logit)

    def _judge(self, quantity, widths, steps):
        """steps: [seeds][widths] by t."""
        for t, values in steps.items():
            self.fits[quantity, t] = fit(widths, values)
        before_late = max(steps) - max(1, len(steps) // 4)
        late = [values for t, values in steps.items() if t > before_late]
        # Of what there was: a module that was left out, as by layer drop, leaves a NaN in late, and has not grown.
        finite = all(math.isfinite(row["l1"]) for row in self.rows if row["quantity"] == quantity and row["t"] > before_late)
        means = [[_geometric_mean(entries) for entries in zip(*rows)] for rows in zip(*late)]
        self.fits[quantity, "late"] = fit(widths, means)
        change = _greatest_change(steps[1], means) if quantity == LOGITS and 1 in steps else math.inf
        found, unclear = judge(self.fits[quantity, 1], self.fits[quantity, "late"], finite, change)
        self.verdict[quantity], self.why[quantity] = found, unclear or WHY[quantity, found]

    def sizes(self) -> dict[str, tuple[list[int], dict[int, list[list[float]]]]]:
        """By quantity: the widths, and by t the means of l1 over modules, [seeds][widths]."""
        found = _sizes(self.rows)
        return {quantity: found[quantity] for quantity in QUANTITIES if quantity in found}

    @property
    def stable(self) -> bool:
        return bool(self.verdict) and all(found == "stable" for found in self.verdict.values()) and not any(x.wrong for x in self.findings)

    def frame(self):
        """rows as a pandas.DataFrame, which mup.coord_check.plot_coord_data() takes."""
        import pandas

        return pandas.DataFrame(self.rows, columns=COLUMNS)

    def save_csv(self, path: str | Path, **columns: Any) -> None:
        """rows, with columns that are the same in each."""
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, [*COLUMNS, *columns], lineterminator="\n")
            writer.writeheader()
            writer.writerows({**row, **columns} for row in self.rows)

    def plot(self, path: str | Path, title: str = "model") -> None:
        """A picture of what fits and verdict say, by matplotlib."""
        from ..coord_check.picture import draw

        draw({title: self}, path)

    def __str__(self) -> str:
        """A line for each quantity, and the findings."""
        lines = [f"{'quantity':<17}{'at first':>8}{'late slope':>14}   {'verdict':<10} why"]
        for quantity, found in self.verdict.items():
            first, late = self.fits[quantity, 1], self.fits[quantity, "late"]
            begin = "is 0" if math.isnan(first.slope) else f"{first.slope:+.2f}"
            lines.append(f"{quantity:<17}{begin:>8}{late.slope:>+7.2f} ± {late.margin:<4.2f}   {found:<10} {self.why[quantity]}")
        if LOGITS in self.verdict and BLOCK not in self.verdict:
            lines.append(f"{BLOCK:<17} not seen: no module of a list, as nn.Sequential, is around attention; coord_check(block=...) says which are blocks")
        lines += [f"{finding.kind}: {finding.message}" + (f" ({_some(finding.modules)})" if finding.modules else "") for finding in self.findings]
        return "\n".join(lines)


def _some(names):
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _greatest_change(first, late):
    """As a factor, of sizes [seeds][widths]: of the width where it is greatest."""
    of_widths = [(_geometric_mean(before), _geometric_mean(after)) for before, after in zip(zip(*first), zip(*late))]
    return max(max(after / before, before / after) for before, after in of_widths)


def _geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if all(x > 0 and math.isfinite(x) for x in values) else math.nan


def _sizes(rows):
    cells: dict = {}
    for row in rows:
        cells.setdefault(row["quantity"], {}).setdefault((row["t"], row["seed"], row["width"]), []).append(row["l1"])
    found = {}
    for quantity, of_quantity in cells.items():
        ts, seeds, widths = (sorted(set(entries)) for entries in zip(*of_quantity))
        mean = lambda key: sum(of_quantity[key]) / len(of_quantity[key]) if key in of_quantity else math.nan  # noqa: E731
        found[quantity] = widths, {t: [[mean((t, seed, width)) for width in widths] for seed in seeds] for t in ts}
    return found


def coord_check(
    models: Mapping[int, Callable[[], nn.Module]], batches: Iterable[Any] | Callable[[int], Iterable[Any]], *,
    optimizer: str | Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = "adam", lr: float | None = None, nsteps: int = 8, nseeds: int = 6,
    loss: Callable[[nn.Module, Any], torch.Tensor] | None = None, block: Callable[[str, nn.Module], bool] | None = None,
    max_logit: float | None = None, progress: Callable[[int, int], None] | None = None,
) -> CoordCheck:
    """Trains a model of each width for some steps, and says how what it computes depends on the width: a parametrization is one of muP if, after
    some steps, nothing does. Models are made and trained once for each seed; the numbers of a seed are the same from run to run.

    Arguments
      models     by width, a function that makes the model of that width, as mup.coord_check has it; not compiled
      batches    (inputs, targets), or dicts of what the model takes, as transformers'; the first nsteps are used, from the start again where
                 there are fewer: [batch] trains on one batch. Better a new one for each step, and better a function of the seed that gives the
                 batches of that seed: where all seeds have the same, the intervals do not hold what depends on the batches
      optimizer  "sgd", "adam" or "adamw": mup's, where the parameters have infshape, as mup.set_base_shapes() gives it, else PyTorch's; or a
                 function of the parameters
      lr         of an optimizer by name; None: 0.1 for "sgd", else 2^-8. As large as the base model stands: with a small one, or few steps,
                 queries and keys have not come to agree, and all rules look alike
      nsteps     t = 1 ... nsteps: sizes at step t are those after t - 1 updates
      nseeds     the intervals are over seeds: of one there is none, and of two or three a wide one
      loss       of (model, batch); None: what a model's output has as loss, else cross entropy with integer targets, mean squares with others
      block      block(name, module): whether a module's output is one of "block output". None: of the modules in a list (or nn.Sequential)
                 around a call of muattn's, the smallest
      max_logit  what no logit may exceed, as where QK-norm bounds them; None: nothing is said
      progress   called with the number of steps done, and of all

    Looked at are "logits" and "attention output" of every call of muattn's (record_logits()), "block output", and "network output"; rows have the
    output of every other module too.

    Returns a CoordCheck. Raises ValueError, TypeError (the message names the argument) and what models, loss and optimizer raise.
    """
    _check(models, nsteps, nseeds, block, max_logit)
    of_seed = _batches(batches, nsteps)
    make_optimizer = _optimizer(optimizer, lr)
    loss = loss or loss_of
    rows, facts, greatest = [], {}, 0.0
    steps = itertools.count(1)
    for seed in range(nseeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            chosen = of_seed(seed)
        for width in sorted(models):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                run = Run(width, seed, models[width]().train(), block)
                trained = make_optimizer(run.model)
                for t, batch in zip(range(1, nsteps + 1), itertools.cycle(chosen)):
                    found = run.forward(t, lambda: loss(run.model, batch))
                    if t < nsteps:
                        trained.zero_grad()
                        found.backward()
                        trained.step()
                    if progress is not None:
                        progress(next(steps), nseeds * len(models) * nsteps)
            rows += run.rows
            facts.setdefault(width, run.facts)
            greatest = max(greatest, run.greatest_logit)
    return CoordCheck(rows, facts, greatest, max_logit)


def _check(models, nsteps, nseeds, block, max_logit):
    if not isinstance(models, Mapping) or not all(callable(make) for make in models.values()):
        raise TypeError("models must be a dict of width to a function that makes the model")
    if len(models) < 2 or not all(isinstance(width, int) and width > 0 for width in models):
        raise ValueError(f"models must have at least two widths, positive integers, not {list(models)}")
    for name, value, least in (("nsteps", nsteps, 2), ("nseeds", nseeds, 1)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")
    if block is not None and not callable(block):
        raise TypeError("block must be a function of a module's name and the module, or None")
    if max_logit is not None and not max_logit > 0:
        raise ValueError(f"max_logit must be above 0, or None, not {max_logit!r}")


def _batches(batches, nsteps):
    """A function of the seed, to a list."""

    def take(source, name):
        try:
            found = iter(source)
        except TypeError:
            raise TypeError(f"{name} must be an iterable of batches, not {type(source).__name__}") from None
        chosen = list(itertools.islice(found, nsteps))
        if not chosen:
            raise ValueError(f"{name} is empty")
        return chosen

    if callable(batches):
        return lambda seed: take(batches(seed), f"batches({seed})")
    chosen = take(batches, "batches")
    return lambda seed: chosen


def _optimizer(optimizer, lr):
    """A function of the model."""
    if callable(optimizer):
        if lr is not None:
            raise ValueError("lr is that of an optimizer by name: give it to yours")
        return lambda model: optimizer(model.parameters())
    names = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
    if optimizer not in names:
        raise ValueError(f"optimizer must be one of {', '.join(map(repr, names))}, or a function of the parameters, not {optimizer!r}")
    rate = (0.1 if optimizer == "sgd" else 2**-8) if lr is None else lr

    def make(model):
        if not any(hasattr(p, "infshape") for p in model.parameters()):
            return getattr(torch.optim, names[optimizer])(model.parameters(), lr=rate)
        import mup

        return getattr(mup, f"Mu{names[optimizer]}")(model.parameters(), lr=rate)

    return make


def loss_of(model: nn.Module, batch: Any) -> torch.Tensor:
    """What coord_check() trains on by itself."""
    if isinstance(batch, Mapping):
        out = model(**batch)
        found = out.get("loss") if isinstance(out, Mapping) else out[0] if isinstance(out, (tuple, list)) else out
        if not isinstance(found, torch.Tensor) or found.numel() != 1:
            raise ValueError("the model's output has no loss: give loss=, or targets in the batch")
        return found
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise ValueError("batches must be (inputs, targets) or dicts; else give loss=")
    inputs, targets = batch
    out = model(inputs)
    if targets.is_floating_point():
        return nn.functional.mse_loss(out, targets)
    return nn.functional.cross_entropy(out.flatten(0, -2), targets.flatten())
