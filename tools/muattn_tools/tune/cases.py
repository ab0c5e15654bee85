"""What a candidate has to compute right: small problems at odd sizes that reach every kernel, and the timed shapes
themselves. References are those of the tests, in double precision."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Callable

import numpy as np

from muattn_tools import reference
from muattn_tools.problems import load

SAMPLED_ROWS = 16  # of a timed shape
TOLERANCE = 1e-5  # of the largest entry of the output, or of 1


@dataclass
class Case:
    name: str
    operation: str  # "spatial" or "channel"
    arrays: dict[str, np.ndarray]  # q, k, v, out and, if asked for, lse
    options: dict  # of the call
    expected: Callable[[], dict[str, np.ndarray]]  # of out and lse, or of a part of out
    part: tuple = ()  # index of that part
    wide: bool = False  # the largest d: what a thread keeps is looked at

    def errors(self) -> dict[str, float]:
        """Largest error of each output, relative to its largest entry or to 1. NaN for a NaN that should not be there."""
        found = {}
        for name, expected in self.expected().items():
            result = self.arrays[name][self.part] if name == "out" else self.arrays[name][..., 0]
            with np.errstate(invalid="ignore"):
                error = np.where(result == expected, 0, np.abs(result - expected)).max(initial=0)
            found[name] = float(error / max(1, np.abs(expected[np.isfinite(expected)]).max(initial=0)))
        return found


def timed(operation: str, shape: dict, rng: np.random.Generator) -> Case:
    """A shape of the table. Expected are some rows of the last key/value head, or the last head of channel attention."""
    problem = load(operation, shape, rng)
    arrays = {"q": problem.q, "k": problem.k, "v": problem.v}
    arrays["out"] = np.empty((*problem.q.shape[:3], problem.v.shape[3]), np.float32)
    options = problem.options()
    name = f"{operation}/{shape['name']}"
    q, k, v = (arrays[name][-1:] for name in "qkv")
    if operation == "channel":
        last = [x[:, -1:] for x in (q, k, v)]
        return Case(name, operation, arrays, options, lambda: {"out": _channel(*last, options)}, np.s_[-1:, -1:])
    heads, n_q = q.shape[1] // k.shape[1], q.shape[2]
    rows = np.unique(np.linspace(0, n_q - 1, SAMPLED_ROWS).astype(int))
    part = np.s_[-1:, -heads:, rows]

    def expected() -> dict[str, np.ndarray]:
        mask = _mask_of_rows(rows, k.shape[2], heads, options)
        return {"out": reference.spatial(q[:, -heads:, rows], k[:, -1:], v[:, -1:], options["scale"], mask=mask)[0]}

    return Case(name, operation, arrays, options, expected, part)


def _mask_of_rows(rows: np.ndarray, n_k: int, heads: int, options: dict) -> np.ndarray | None:
    """What some queries of the last heads see, as a mask."""
    if options["mask"] is not None:
        mask = options["mask"][-1:, -heads:]
        return mask[:, :, rows] if mask.shape[2] > 1 else mask
    if options["causal"] is None:
        return None
    offset = np.arange(n_k) - rows[:, None]
    return (offset <= 0) & (offset >= -(n_k if options["window"] is None else options["window"][0]))


def _channel(q: np.ndarray, k: np.ndarray, v: np.ndarray, options: dict) -> np.ndarray:
    first = options["layout"] == "channels_first"
    q, k, v = (x.swapaxes(-1, -2) if first else x for x in (q, k, v))
    out = reference.channel(q, k, v, options["scale"], normalize=options["normalize"])
    return out.swapaxes(-1, -2) if first else out


def small(operation: str) -> list[Case]:
    rng = np.random.default_rng(2)
    return [*(_small_channel(rng) if operation == "channel" else _small_spatial(rng))]


def _small_spatial(rng: np.random.Generator):
    # (n_q, n_k): tiles of queries; few queries; few keys. Sizes past the edges of tiles, d and d_v past whole vectors.
    for (n_q, n_k), mask, softcap, lse in itertools.product(
        [(75, 603), (2, 603), (49, 77)], [None, "additive", "bool", "hidden"], [None, 5.0], [False, True]
    ):
        yield _spatial(rng, (2, 4, 2, n_q, n_k, 37, 29), lse, mask=mask, softcap=softcap)
    for n_q, n_k, options in [
        (300, 300, {"causal": "top_left"}),
        (530, 700, {"causal": "bottom_right"}),
        (700, 530, {"causal": "top_left", "window": (70, None)}),
        (150, 1100, {"key_lengths": [1, 1100]}),
        (1, 1100, {"key_lengths": [0, 1000]}),
        (1, 1, {}),
        (200, 300, {"window": (5, 9)}),
    ]:
        yield _spatial(rng, (2, 2, 1, n_q, n_k, 64, 64), False, **options)
    for n_q, n_k in [(600, 600), (2, 2000), (400, 500)]:
        yield _spatial(rng, (1, 2, 2, n_q, n_k, 1024, 1024), False, wide=True)


def _spatial(rng, shape, lse, mask=None, wide=False, **options) -> Case:
    B, H, Hk, n_q, n_k, d, d_v = shape

    def random(*size: int) -> np.ndarray:
        return rng.standard_normal(size, dtype=np.float32)

    q, k, v = random(B, H, n_q, d), random(B, Hk, n_k, d), random(B, Hk, n_k, d_v)
    options["scale"] = d**-0.5
    hidden = np.arange(n_k) % 5 == 3
    if mask == "additive":
        options["mask"] = random(1, H, n_q, n_k)
    elif mask is not None:
        options["mask"] = np.broadcast_to(~hidden, (B, 1, 1, n_k)).copy()
    arrays = {"q": q, "k": k, "v": v, "out": np.empty((B, H, n_q, d_v), np.float32)}
    if lse:
        arrays["lse"] = np.empty((B, H, n_q, 1), np.float32)
    if mask == "hidden":
        arrays["v"] = np.where(hidden[:, None], np.float32(np.nan), v)
    called = [f"{name}={value}" for name, value in options.items() if name not in ("scale", "mask")]
    name = " ".join([f"{B}x{H}/{Hk}x{n_q}x{n_k} d={d} d_v={d_v}", *called, *([f"mask={mask}"] if mask else [])])

    def expected() -> dict[str, np.ndarray]:
        out, logsum = reference.spatial(q, k, v, **options)
        return {"out": out, "lse": logsum} if lse else {"out": out}

    return Case(name + " lse" * lse, "spatial", arrays, options, expected, np.s_[:], wide)


def _small_channel(rng: np.random.Generator):
    shapes = [(1, 24), (150, 37), (149, 48), (300, 64), (9, 133), (270, 200)]
    for (n, d), layout, normalize in itertools.product(
        [*shapes, (300, 1024)], ["channels_last", "channels_first"], [False, True]
    ):
        size = (2, 2, d, n) if layout == "channels_first" else (2, 2, n, d)
        q, k, v = (rng.standard_normal(size, dtype=np.float32) for _ in range(3))
        options = {"scale": 4.0 if normalize else n**-0.5, "normalize": normalize, "layout": layout}
        arrays = {"q": q, "k": k, "v": v, "out": np.empty(size, np.float32)}
        name = f"2x2x{n}x{d} {layout}" + " normalize" * normalize
        expected = functools.partial(_channel, q, k, v, options)
        yield Case(name, "channel", arrays, options, lambda expected=expected: {"out": expected()}, np.s_[:], d == 1024)
