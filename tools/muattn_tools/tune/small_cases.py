"""Small problems at odd sizes that reach every kernel, with all of what is expected of them."""

from __future__ import annotations

import itertools
from typing import Iterator

import numpy as np

from muattn_tools import reference, reference_gradients
from muattn_tools.tune.cases import Case, arrays_of, channel_expected


def small(operation: str, direction: str) -> list[Case]:
    rng = np.random.default_rng(2)
    return [*(_small_channel if operation == "channel" else _small_spatial)(direction, rng)]


def _small_spatial(direction: str, rng: np.random.Generator) -> Iterator[Case]:
    # (n_q, n_k): tiles of queries; few queries; few keys. Sizes past the edges of tiles, d and d_v past whole vectors.
    for (n_q, n_k), mask, softcap, more in itertools.product(
        [(75, 603), (2, 603), (49, 77)], [None, "additive", "bool", "hidden"], [None, 5.0], [False, True]
    ):
        if direction == "forward":
            yield _spatial(direction, rng, (2, 4, 2, n_q, n_k, 37, 29), lse=more, mask=mask, softcap=softcap)
        elif mask == "additive" or not more:
            yield _spatial(direction, rng, (2, 4, 2, n_q, n_k, 37, 29), d_mask=more, mask=mask, softcap=softcap)
    for n_q, n_k, options in [
        (300, 300, {"causal": "top_left"}),
        (530, 700, {"causal": "bottom_right"}),
        (700, 530, {"causal": "top_left", "window": (70, None)}),
        (150, 1100, {"key_lengths": [9, 1100]}),
        (1, 1100, {"key_lengths": [0, 1000]}),
        (1, 1, {}),
        (1, 2, {}),
        (200, 300, {"window": (5, 9)}),
    ]:
        if direction == "backward" and n_k == 1:
            continue  # its weight is 1 for any query: the gradients are 0, and what a kernel gives is rounding
        yield _spatial(direction, rng, (2, 2, 1, n_q, n_k, 64, 64), **options)
    for n_q, n_k in [(600, 600), (2, 2000), (400, 500)]:
        yield _spatial(direction, rng, (1, 2, 2, n_q, n_k, 1024, 1024), wide=True)


def _spatial(direction, rng, shape, lse=False, d_mask=False, mask=None, wide=False, **options) -> Case:
    B, H, Hk, n_q, n_k, d, d_v = shape

    def random(*size: int) -> np.ndarray:
        return rng.standard_normal(size, dtype=np.float32)

    inputs = {"q": random(B, H, n_q, d), "k": random(B, Hk, n_k, d), "v": random(B, Hk, n_k, d_v)}
    options["scale"] = d**-0.5
    hidden = np.arange(n_k) % 5 == 3
    if mask == "additive":
        options["mask"] = random(1, H, n_q, n_k)
    elif mask is not None:
        options["mask"] = np.broadcast_to(~hidden, (B, 1, 1, n_k)).copy()
    arrays = arrays_of("spatial", direction, inputs, rng, lse)
    if d_mask:
        arrays["d_mask"] = np.empty_like(options["mask"])
    if mask == "hidden":
        arrays |= {name: np.where(hidden[:, None], np.float32(np.nan), arrays[name]) for name in "kv"}
    called = [f"{name}={value}" for name, value in options.items() if name not in ("scale", "mask")]
    called += [f"mask={mask}"] if mask else []
    name = " ".join([f"{B}x{H}/{Hk}x{n_q}x{n_k} d={d} d_v={d_v}", *called]) + " lse" * lse + " d_mask" * d_mask

    def expected() -> dict[str, np.ndarray]:
        if direction == "forward":
            out, sums = reference.spatial(**inputs, **options)
            results = {"out": out, "lse": sums[..., None]}
        else:
            out_and_lse = arrays["out"], arrays["lse"][..., 0]
            gradients = reference_gradients.spatial(**inputs, d_out=arrays["d_out"], out_and_lse=out_and_lse, **options)
            results = {f"d_{name}": gradient for name, gradient in gradients.items()}
        return {name: result for name, result in results.items() if name in arrays}

    return Case(name, "spatial", direction, arrays, options, expected, wide=wide)


def _small_channel(direction: str, rng: np.random.Generator) -> Iterator[Case]:
    shapes = [(1, 24), (150, 37), (149, 48), (300, 64), (9, 133), (270, 200), (300, 1024)]
    for (n, d), layout, normalize, with_map in itertools.product(
        shapes, ["channels_last", "channels_first"], [False, True], [False, True]
    ):
        if with_map and (direction == "forward" or normalize or d == 1024):
            continue
        if direction == "backward" and normalize and n == 1:
            continue  # each channel becomes 1 or -1, whatever it is: as above
        size = (2, 2, d, n) if layout == "channels_first" else (2, 2, n, d)
        inputs = {name: rng.standard_normal(size, dtype=np.float32) for name in "qkv"}
        options = {"scale": 4.0 if normalize else n**-0.5, "normalize": normalize, "layout": layout}
        arrays = arrays_of("channel", direction, inputs, rng, map_columns=d if with_map else 0)
        name = f"2x2x{n}x{d} {layout}" + " normalize" * normalize + " attention_map" * with_map

        def expected(arrays=arrays, options=options) -> dict[str, np.ndarray]:
            return channel_expected(direction, arrays, options)

        yield Case(name, "channel", direction, arrays, options, expected, wide=d == 1024)
