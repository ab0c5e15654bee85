"""How a size changes with width: slopes and their confidence intervals."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Fit(NamedTuple):
    """log size = slope log width + a constant, by least squares for each seed; slope is the mean of the seeds' slopes. low, high: its 95 %
    confidence interval, by the t distribution over seeds. Not from how far sizes lie from the lines: what a seed's batches and initial values do
    to all widths in common turns its line as a whole, so slopes differ by more than those distances say. NaN: it has none, as some size is 0 or
    not finite, or there are too few."""

    slope: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        return (self.high - self.low) / 2


NO_FIT = Fit(math.nan, math.nan, math.nan)


def fit(widths: Sequence[float], sizes) -> Fit:
    """Of sizes [seeds, widths]."""
    sizes = np.asarray(sizes, dtype=float)
    if len(widths) < 2 or not (np.isfinite(sizes) & (sizes > 0)).all():
        return NO_FIT
    x = np.log(np.asarray(widths, dtype=float))
    x -= x.mean()
    slopes = np.log(sizes) @ x / (x @ x)
    slope = slopes.mean()
    if len(slopes) < 2:
        return Fit(float(slope), math.nan, math.nan)
    margin = t_quantile(len(slopes) - 1) * slopes.std(ddof=1) / math.sqrt(len(slopes))
    return Fit(float(slope), float(slope - margin), float(slope + margin))


@functools.cache
def t_quantile(freedom: int) -> float:
    """Of Student's t, at 97.5 %: with t = sqrt(freedom) tan(angle) its density is one of the angle, cos(angle)^(freedom - 1)."""
    angles = np.linspace(0, math.pi / 2, 100_001)
    density = np.cos(angles) ** (freedom - 1)
    below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(freedom) * math.tan(np.interp(0.475, below / below[-1] / 2, angles))
