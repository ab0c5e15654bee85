"""Forward and backward calls of muattn through its C interface, on arrays that are there before."""

from __future__ import annotations

from typing import Callable

import numpy as np

from muattn_tools.c_library import Library

Call = Callable[[], None]


class Gradients:
    """Arrays for both calls, and the calls. with_map: the forward call keeps the attention map, and the backward call takes it."""

    def __init__(self, library: Library, operation: str, inputs: dict[str, np.ndarray], options: dict, with_map: bool = False):
        q, v = inputs["q"], inputs["v"]
        self.arrays = {**inputs, "out": np.empty((*q.shape[:3], v.shape[3]), np.float32)}
        backward = {**inputs, **{f"d_{name}": np.empty_like(inputs[name]) for name in "qkv"}}
        if operation == "spatial":
            self.arrays["lse"] = np.empty((*q.shape[:3], 1), np.float32)
            backward |= {name: self.arrays[name] for name in ("out", "lse")}
        if with_map:
            d = q.shape[2 if options["layout"] == "channels_first" else 3]
            for name in ("logits", "attention_map"):
                self.arrays[name] = np.empty((*q.shape[:2], d, d), np.float32)
            backward["attention_map"] = self.arrays["attention_map"]
        rng = np.random.default_rng(2)
        self.d_out = backward["d_out"] = rng.standard_normal(self.arrays["out"].shape, dtype=np.float32)
        self.results = [backward[f"d_{name}"] for name in "qkv"]
        self.forward: Call = (
            library.channel_with_map(self.arrays, options) if with_map else library.call(operation, self.arrays, options)
        )
        self.backward: Call = library.backward(operation, backward, options)
