"""From a width and a rule to a model and its optimizer.

At the base width every rule but umup is the same model, with the same numbers, as PyTorch's own parametrization. What muP changes at others:
  - Adam's learning rate of matrices from width to width is divided by width / base width (mup.MuAdam);
  - so are the inputs of the last layer (mup.MuReadout);
  - attention's scale, or the multiplier of its output, follows muattn's rule, by d / d_base (muattn.torch.set_base).
Initial values stay PyTorch's: those of its layers have the variance that muP asks for, after mup.set_base_shapes() has made biases of linear
layers independent of width. A model that draws weights by itself has to do so by mup.init.
"""

from __future__ import annotations

import dataclasses
import functools

import mup
import torch
from torch import nn

from ..torch import set_base
from . import data
from .models import DigitsModel, TextModel

OPERATIONS = ("spatial", "channel")


@dataclasses.dataclass(frozen=True)
class Rule:
    name: str
    mup: bool  # all of muP but attention; False: PyTorch's own parametrization
    scaling: str  # attention's rule, as muattn has it
    operations: tuple[str, ...] = OPERATIONS
    grow: str = "head_dim"  # what grows with the width in models that the rule is for: "head_dim", of as many heads, or "heads", of the same size


RULES = {
    rule.name: rule
    for rule in (
        Rule("sp", False, "sp"),
        Rule("mup", True, "mup"),
        Rule("mup_sqrt", True, "sp", ("spatial",)),  # the commonest mistake: 1/sqrt(d) is left in
        Rule("mup_mean", True, "mup_mean", ("channel",)),
        Rule("mup_heads", True, "mup_heads", grow="heads"),
        Rule("umup", True, "umup", ("spatial",)),  # attention alone is u-muP's: neither its unit-scaled layers nor its optimizer
    )
}  # fmt: skip


def rule_named(name: str, operation: str) -> Rule:
    if operation not in OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, not {operation!r}")
    known = [rule.name for rule in RULES.values() if operation in rule.operations]
    if name not in known:
        raise ValueError(f"rule of {operation} attention must be one of {', '.join(known)}, not {name!r}")
    return RULES[name]


def make_model(
    operation: str, rule: str, width: int, *, seed: int = 0, grow: str | None = None, base_width: int = 32, base_heads: int = 4, depth: int = 2,
    normalize: bool = True,
) -> nn.Module:
    """A model of that width under a rule. grow: "head_dim" or "heads" grow with the width; None: what the rule is for. The base model has base_width
    channels in base_heads heads. normalize is of channel attention. Same seed, same numbers."""
    chosen = rule_named(rule, operation)
    grow = grow or chosen.grow
    if grow not in ("head_dim", "heads"):
        raise ValueError(f"grow must be 'head_dim' or 'heads', not {grow!r}")
    step = base_heads if grow == "head_dim" else base_width // base_heads
    if base_width % base_heads or width < step or width % step:
        raise ValueError(f"width ({width}) must be a multiple of {step}, and base_width ({base_width}) of base_heads ({base_heads})")
    build = functools.partial(_build, operation, chosen, grow, base_width, base_heads, depth, normalize)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(width)
    if chosen.mup:
        with torch.device("meta"):  # of these only shapes are read
            base, delta = build(base_width), build(2 * base_width)
        mup.set_base_shapes(model, base, delta=delta)
        set_base(model, base)
    return model


def _build(operation, rule, grow, base_width, base_heads, depth, normalize, width):
    options = {
        "heads": base_heads if grow == "head_dim" else base_heads * width // base_width,
        "scaling": rule.scaling, "depth": depth, "last_layer": mup.MuReadout if rule.mup else nn.Linear,
    }  # fmt: skip
    if operation == "spatial":
        return TextModel(width, characters=len(data.text()[1]), length=data.LENGTH, **options)
    _, tokens, pixels = data.digits()[0].shape
    return DigitsModel(width, tokens=tokens, pixels=pixels, normalize=normalize, **options)


def make_optimizer(model: nn.Module, rule: str, lr: float) -> torch.optim.Optimizer:
    """Adam, without weight decay. Under muP lr is that of the base model."""
    if RULES[rule].mup:
        return mup.MuAdam(model.parameters(), lr=lr)
    return torch.optim.Adam(model.parameters(), lr=lr)
