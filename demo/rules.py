"""The scaling rules: what the library is asked for, and the formula by which it is checked.
Source: Yang et al., "Tensor Programs V" (arXiv:2203.03466); microsoft/mup, issues 17 and 18."""

from dataclasses import dataclass, field
from typing import Callable

D_BASE = 64
D_PER_HEAD = 32  # where heads grow


@dataclass(frozen=True)
class Rule:
    operator: str  # "spatial" or "channel"
    name: str
    s: str  # the formulas in words
    o: str
    options: dict  # of the library's call
    scale: Callable[[int, int], float]  # s(d, n)
    multiplier: Callable[[int], float] = field(default=lambda d: 1.0)  # o(d)
    heads_grow: bool = False

    def shape(self, width):
        """(heads, d) of a layer of this width."""
        return (width // D_PER_HEAD, D_PER_HEAD) if self.heads_grow else (1, width)


def _spatial(name, s, options, scale, **more):
    return Rule("spatial", name, s, "", options, lambda d, n: scale(d), **more)


def _channel(name, o, options, **more):
    return Rule("channel", name, "1/√n", o, options, lambda d, n: n**-0.5, **more)


MUP = {"scaling": "mup", "d_base": D_BASE}
RULES = [
    _spatial("SP", "1/√d", {"scaling": "sp"}, lambda d: d**-0.5),
    _spatial("muP", "1/d", {"scaling": "mup"}, lambda d: 1 / d),
    _spatial(f"muP, d_base {D_BASE}", f"√{D_BASE}/d", MUP, lambda d: D_BASE**0.5 / d),
    _spatial("muP, heads grow", "1/√d", {"scaling": "mup_heads"}, lambda d: d**-0.5, heads_grow=True),
    _channel("SP", "1", {"scaling": "sp"}),
    _channel(f"muP, d_base {D_BASE}", f"{D_BASE}/d", MUP, multiplier=lambda d: D_BASE / d),
    _channel("muP, mean", "1", {"scaling": "mup_mean"}),
    _channel("muP, heads grow", "1", {"scaling": "mup_heads"}, heads_grow=True),
]
