"""Runs a compiled kernel on the photograph, checks it and times it."""

import time
from dataclasses import dataclass

import formulas
import muattn
import numpy as np
from rules import Rule

# The largest error, relative to the largest output. Measured: 3e-6, for SP at d = 1024, where a logit of about 30 carries its
# rounding error into the exponential; a scale that is off by 1 % gives more than 1e-3.
TOLERANCE = 2e-5


@dataclass
class Measurement:
    rule: Rule
    width: int
    heads: int
    d: int
    n: int
    error: float
    seconds: float
    gflops: float
    logit: float  # mean |s q.k|
    output: float  # mean |out|

    @property
    def wrong(self):
        return not self.error <= TOLERANCE  # also where the error is NaN


def _call(rule):
    operator = muattn.spatial_attention if rule.operator == "spatial" else muattn.channel_attention
    return lambda q, k, v, out=None: operator(q, k, v, out=out, **rule.options)


def _best_time(call, seconds=0.05, at_least=2):
    """Best of as many calls as fit."""
    times = []
    while len(times) < at_least or sum(times) < seconds:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def measure(photograph, rule, width):
    heads, d = rule.shape(width)
    n = photograph.n
    call = _call(rule)
    if rule.operator == "spatial":
        q, k, v = photograph.spatial_qkv(heads, d)
        expected, logit = formulas.spatial(q, k, v, rule.scale(d, n))
        flops = 4 * heads * n * n * d
    else:
        q, k, v = photograph.channel_qkv(heads, d)
        expected, logit = formulas.channel(q, k, v, rule.scale(d, n), rule.multiplier(d))
        flops = 4 * heads * n * d * d
    out = call(q, k, v)
    error = np.abs(out - expected).max() / np.abs(expected).max()
    seconds = _best_time(lambda: call(q, k, v, out))
    return Measurement(
        rule, width, heads, d, n, error, seconds, flops / seconds / 1e9, logit, np.abs(out).mean(dtype=np.float64)
    )
