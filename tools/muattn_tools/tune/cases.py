"""What a candidate has to compute right: a call of the library with what is expected of it, and the timed shapes as such calls.
References are those of the tests, in double precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from muattn_tools import reference, reference_gradients
from muattn_tools.c_library import Library
from muattn_tools.problems import load

SAMPLED = 16  # queries, or keys, of a timed shape
TOLERANCE = 1e-5  # of the largest entry of an output
LEAST_SCALE = {"forward": 1.0, "backward": 0.01}  # taken for the largest entry where that is smaller
OUTPUTS = {"forward": ("out", "lse"), "backward": ("d_q", "d_k", "d_v", "d_mask")}


@dataclass
class Case:
    name: str
    operation: str  # "spatial" or "channel"
    direction: str
    arrays: dict[str, np.ndarray]  # of the call, and of the forward call before it
    options: dict  # of the call
    expected: Callable[[], dict[str, np.ndarray]]  # of the outputs or of parts of them, once the forward call has been made
    parts: dict[str, tuple] = field(default_factory=dict)  # index of the part, for outputs of which not all is expected
    wide: bool = False  # the largest d: what a thread keeps is looked at

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        return {name: self.arrays[name] for name in OUTPUTS[self.direction] if name in self.arrays}

    def prepare(self, library: Library) -> bool:
        """The forward call, of which gradients take out and lse, or the attention map; False where there is none to make."""
        if self.direction == "forward":
            return False
        if "attention_map" in self.arrays:
            library.channel_with_map(self.arrays, self.options)()
            return True
        if self.operation == "spatial":
            library.call(self.operation, self.arrays, self.options)()
            return True
        return False

    def call(self, library: Library) -> Callable[[], None]:
        call = library.call if self.direction == "forward" else library.backward
        return call(self.operation, self.arrays, self.options)

    def errors(self) -> dict[str, float]:
        return {name: self.error(self.arrays[name][self.parts.get(name, ...)], expected) for name, expected in self.expected().items()}

    def error(self, result: np.ndarray, expected: np.ndarray) -> float:
        """The largest, relative to the largest entry. NaN for a NaN that should not be there."""
        with np.errstate(invalid="ignore"):
            error = np.where(result == expected, 0, np.abs(result - expected)).max(initial=0)
        return float(error / max(LEAST_SCALE[self.direction], np.abs(expected[np.isfinite(expected)]).max(initial=0)))


def arrays_of(
    operation: str, direction: str, inputs: dict[str, np.ndarray], rng: np.random.Generator, lse: bool = False, map_columns: int = 0
) -> dict[str, np.ndarray]:
    """q, k and v with the call's other arrays. map_columns: of the forward call's attention map, if the gradients take that."""
    q, v = inputs["q"], inputs["v"]

    def empty(*size: int) -> np.ndarray:
        return np.empty(size, np.float32)

    arrays = {**inputs, "out": empty(*q.shape[:3], v.shape[3])}
    if operation == "spatial" and (lse or direction == "backward"):
        arrays["lse"] = empty(*q.shape[:3], 1)
    if direction == "backward":
        arrays["d_out"] = rng.standard_normal(arrays["out"].shape, dtype=np.float32)
        arrays |= {f"d_{name}": np.empty_like(inputs[name]) for name in "qkv"}
    if map_columns:
        arrays |= {name: empty(*q.shape[:2], map_columns, map_columns) for name in ("logits", "attention_map")}
    return arrays


def timed(operation: str, direction: str, shape: dict, rng: np.random.Generator) -> Case:
    """A shape of the table. Expected are some queries, or some keys, of the last key/value head, or the last head of channel attention."""
    problem = load(operation, shape, rng)
    arrays = arrays_of(operation, direction, {"q": problem.q, "k": problem.k, "v": problem.v}, rng)
    name = f"{operation}/{shape['name']}" + " backward" * (direction == "backward")
    expect = _last_channel_head if operation == "channel" else _some_queries_and_keys
    expected, parts = expect(direction, arrays, problem.options())
    return Case(name, operation, direction, arrays, problem.options(), expected, parts)


def _last_channel_head(direction: str, arrays: dict, options: dict):
    last = {name: array[-1:, -1:] for name, array in arrays.items()}
    return lambda: channel_expected(direction, last, options), dict.fromkeys(OUTPUTS[direction], np.s_[-1:, -1:])


def channel_expected(direction: str, arrays: dict, options: dict) -> dict[str, np.ndarray]:
    def tokens_first(x: np.ndarray) -> np.ndarray:
        return x.swapaxes(-1, -2) if options["layout"] == "channels_first" else x

    inputs = [tokens_first(arrays[name]) for name in ("q", "k", "v")]
    if direction == "forward":
        return {"out": tokens_first(reference.channel(*inputs, options["scale"], normalize=options["normalize"]))}
    d_out = tokens_first(arrays["d_out"])
    gradients = reference_gradients.channel(*inputs, d_out, options["scale"], normalize=options["normalize"])
    return {f"d_{name}": tokens_first(gradients[name]) for name in "qkv"}


def _some_queries_and_keys(direction: str, arrays: dict, options: dict):
    heads, n_q, n_k = arrays["q"].shape[1] // arrays["k"].shape[1], arrays["q"].shape[2], arrays["k"].shape[2]
    rows, keys = (np.unique(np.linspace(0, n - 1, SAMPLED).astype(int)) for n in (n_q, n_k))
    of_queries, of_keys = np.s_[-1:, -heads:, rows], np.s_[-1:, -1:, keys]

    def part(rows: np.ndarray, keys: np.ndarray) -> dict[str, np.ndarray]:
        """Of the call with some queries and some keys of that head."""
        inputs = [arrays["q"][-1:, -heads:, rows], *(arrays[name][-1:, -1:, keys] for name in "kv")]
        others = {"mask": _mask_of(rows, keys, heads, options), "softcap": options["softcap"]}
        if direction == "forward":
            return {"out": reference.spatial(*inputs, options["scale"], **others)[0]}
        d_out, out, lse = (arrays[name][-1:, -heads:, rows] for name in ("d_out", "out", "lse"))
        gradients = reference_gradients.spatial(*inputs, d_out, options["scale"], out_and_lse=(out, lse[..., 0]), **others)
        return {f"d_{name}": gradients[name] for name in "qkv"}

    def expected() -> dict[str, np.ndarray]:
        of_rows = part(rows, np.arange(n_k))
        if direction == "forward":
            return of_rows
        return part(np.arange(n_q), keys) | {"d_q": of_rows["d_q"]}

    return expected, {"out": of_queries, "d_q": of_queries, "d_k": of_keys, "d_v": of_keys}


def _mask_of(rows: np.ndarray, keys: np.ndarray, heads: int, options: dict) -> np.ndarray | None:
    """What some queries of the last heads see of some keys, as a mask."""
    if options["mask"] is not None:
        mask = options["mask"][-1:, -heads:]
        return (mask[:, :, rows] if mask.shape[2] > 1 else mask)[..., keys]
    if options["causal"] is None:
        return None
    offset = keys - rows[:, None]
    return (offset <= 0) & (offset >= -(np.inf if options["window"] is None else options["window"][0]))
