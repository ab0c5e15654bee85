"""The shapes of bench/shapes.json as arrays, and what is computed from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muattn_tools.paths import SHAPES


@dataclass
class Problem:
    operation: str  # "spatial" or "channel"
    name: str
    shape: dict
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    scale: float
    mask: np.ndarray | None = None  # as in the call of muattn: [1, H, n_q, n_k] float32 or [B, 1, 1, n_k] bool

    @property
    def causal(self) -> bool:
        return bool(self.shape.get("causal"))

    @property
    def window(self) -> int | None:
        return self.shape.get("window")

    @property
    def softcap(self) -> float | None:
        return self.shape.get("softcap")

    @property
    def normalize(self) -> bool:
        return bool(self.shape.get("normalize"))

    @property
    def channels_first(self) -> bool:
        return self.shape.get("layout") == "channels_first"

    def options(self) -> dict:
        """Of the call of muattn."""
        if self.operation == "channel":
            return {"scale": self.scale, "normalize": self.normalize, "layout": "channels_first" if self.channels_first else "channels_last"}
        window = None if self.window is None else (self.window, None)
        return {"scale": self.scale, "causal": "top_left" if self.causal else None, "window": window, "mask": self.mask, "softcap": self.softcap}

    def visible(self) -> np.ndarray | None:
        """What a peer needs as a boolean mask [n_q, n_k]: the window, which no peer has as an option."""
        if self.window is None:
            return None
        difference = np.arange(self.k.shape[2])[None, :] - np.arange(self.q.shape[2])[:, None]
        return (difference <= 0) & (difference >= -self.window)

    def score_bytes(self) -> int:
        """Size of the score matrix that a composition writes."""
        if self.operation == "channel":
            return 4 * self.q.size // self.shape["n"] * self.shape["d"]
        return 4 * self.q.shape[0] * self.q.shape[1] * self.q.shape[2] * self.k.shape[2]

    def pairs(self) -> int:
        """Of a query and a key that it sees, or of a token and a place in the map; over all heads."""
        if self.operation == "channel":
            return self.q.size * self.shape["d"]
        n_q, n_k = self.q.shape[2], self.k.shape[2]
        pairs = n_q * n_k
        if self.causal:
            window = n_k if self.window is None else self.window
            pairs = sum(min(n_k, i + 1) - max(0, i - window) for i in range(n_q))
        return self.q.shape[0] * self.q.shape[1] * pairs

    def flops(self) -> float:
        """Of the two matrix products, over the keys that a query sees."""
        if self.operation == "channel":
            return 4.0 * self.pairs()
        return 2.0 * self.pairs() * (self.q.shape[3] + self.v.shape[3])

    def backward_flops(self) -> float:
        """Of the five matrix products of the gradients of q, k and v, with the scores or the map computed again."""
        if self.operation == "channel":
            return 10.0 * self.pairs()
        return 2.0 * self.pairs() * (3 * self.q.shape[3] + 2 * self.v.shape[3])


def load(operation: str, shape: dict, rng: np.random.Generator) -> Problem:
    def random(*size: int) -> np.ndarray:
        return rng.standard_normal(size, dtype=np.float32)

    B, H, d = shape["B"], shape["H"], shape["d"]
    if operation == "channel":
        n = shape["n"]
        size = (B, H, d, n) if shape.get("layout") == "channels_first" else (B, H, n, d)
        scale = 1.0 if shape.get("normalize") else n**-0.5
        return Problem(operation, shape["name"], shape, random(*size), random(*size), random(*size), scale)
    n_q, Hk = shape["nq"], shape.get("Hk", H)
    n_k, d_v = shape.get("nk", n_q), shape.get("dv", d)
    mask = None
    if shape.get("mask") == "additive":
        mask = random(1, H, n_q, n_k)
    elif shape.get("mask") == "bool":
        mask = np.broadcast_to(np.arange(n_k) < n_k - n_k // 5, (B, 1, 1, n_k)).copy()
    q, k, v = random(B, H, n_q, d), random(B, Hk, n_k, d), random(B, Hk, n_k, d_v)
    return Problem(operation, shape["name"], shape, q, k, v, d**-0.5, mask)


def all_shapes(path: Path = SHAPES) -> list[tuple[str, dict]]:
    table = json.loads(path.read_text())
    return [(operation, shape) for operation in ("spatial", "channel") for shape in table.get(operation, [])]


def backward_shapes(path: Path = SHAPES) -> list[tuple[str, dict]]:
    """Those that gradients are timed on: all, and some that only they are."""
    more = [(shape["operation"], shape) for shape in json.loads(path.read_text()).get("backward", [])]
    return sorted(all_shapes(path) + more, key=lambda entry: entry[0] == "channel")
