"""Trains models of several widths for some steps, and notes how large what they compute is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from ..torch._record import record_logits

LOGITS, ATTENTION, BLOCK, NETWORK, MODULE = "logits", "attention output", "block output", "network output", "module output"
QUANTITIES = (LOGITS, ATTENTION, BLOCK, NETWORK)


class Facts(NamedTuple):
    """What the diagnosis needs of an attention module, at initialisation of the first seed.

    scale       of its first call; of several heads the geometric mean
    scaling, d_base, alpha  of a module of muattn's
    width_mult  by how much mup says that it is wider than in the base model
    idle_norms  its norms of queries and keys that nothing called
    """

    operation: str
    d: int
    scale: float
    scaling: Any
    d_base: int | None
    alpha: float | None
    width_mult: float | None
    idle_norms: tuple[str, ...]


class Run:
    """Rows of one seed and width."""

    def __init__(self, width, seed, model, is_block):
        if any(hasattr(module, "_orig_mod") for module in model.modules()):
            raise ValueError("models must not be compiled: torch.compile hides what modules compute")
        self.width, self.seed, self.model, self.is_block = width, seed, model, is_block
        self.rows = []
        self.greatest_logit = 0.0
        self.facts: dict[str, Facts] = {}

    def forward(self, t: int, loss: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The loss, noting what all modules return on the way."""
        outputs = []
        handles = [
            module.register_forward_hook(lambda module, inputs, output, name=name: outputs.extend(_sizes(name, output)))
            for name, module in self.model.named_modules()
        ]
        try:
            with record_logits() as record:
                found = loss()
        finally:
            for handle in handles:
                handle.remove()
        modules = dict(self.model.named_modules())
        for call in record.calls:
            if call.module not in modules:  # names are within the outermost module whose forward runs
                raise ValueError(f"loss must call the model itself: '{call.module}', which called muattn, is no module of it")
        blocks = {self._block_of(call.module) for call in record.calls}
        for call in record.calls:
            self._add_call(t, call)
        network = _of_network([label for label, name, _ in outputs if name == ""])
        for label, name, size in outputs:
            self._add(t, label, size, NETWORK if label == network else BLOCK if name in blocks else MODULE)
        if t == 1:
            self.facts = _facts(modules, record.calls, {id(modules[name]) for _, name, _ in outputs})
        return found

    def _add(self, t, label, size, quantity, **more):
        self.rows.append({"width": self.width, "module": label, "t": t, "l1": size, "seed": self.seed, "quantity": quantity, **more})

    def _add_call(self, t, call):
        stats, which = call.stats, f"[{call.index}]" if call.index else ""
        self.greatest_logit = max(self.greatest_logit, stats.max.max().item())
        more = {"max": stats.max.max().item(), "entropy": stats.entropy.mean().item()}
        self._add(t, f"{call.module}:{LOGITS}{which}", stats.mean_abs.mean().item(), LOGITS, **more)
        self._add(t, f"{call.module}:attention{which}", call.output.mean().item(), ATTENTION)

    def _block_of(self, attention):
        """The smallest module around an attention that is an entry of a list of modules, as the blocks of most models are."""
        parts = attention.split(".")
        for end in range(len(parts) - 1, 0, -1):
            name = ".".join(parts[:end])
            if self.is_block(name, self.model.get_submodule(name)) if self.is_block else parts[end - 1].isdecimal():
                return name
        return None


def _sizes(name, output):
    """(label, name, mean |coordinate|) of each tensor of floats in a module's output, labelled as mup does."""
    if isinstance(output, torch.Tensor):
        if output.is_floating_point() and output.numel():
            yield name, name, output.detach().abs().mean(dtype=torch.float32).item()
    elif isinstance(output, Mapping):
        for key, entry in output.items():
            yield from ((f"{name}:out[{key}]", name, size) for _, _, size in _sizes(name, entry))
    elif isinstance(output, (tuple, list)):
        for i, entry in enumerate(output):
            yield from ((f"{name}:out[{i}]", name, size) for _, _, size in _sizes(name, entry))


def _of_network(labels):
    """The label of what the network predicts: logits where there are such, as in transformers' outputs, whose loss comes first."""
    return next((label for label in labels if label.endswith("[logits]")), labels[0] if labels else None)


_OF_QUERIES_AND_KEYS = re.compile(r"(^|_)(q|k|qk|query|key)(_|$)|norm_?[qk]$|^[qk]norm$|^(query|key)norm", re.IGNORECASE)


def _facts(modules, calls, called):
    """By attention module. called: ids of modules."""
    found = {}
    for call in calls:
        if call.module in found:
            continue
        module = modules[call.module]
        scales = torch.tensor(call.scale, dtype=torch.float64).reshape(-1)
        idle = tuple(
            name for name, inner in module.named_modules()
            if "norm" in type(inner).__name__.lower() and _OF_QUERIES_AND_KEYS.search(name.rpartition(".")[2]) and id(inner) not in called
        )  # fmt: skip
        found[call.module] = Facts(
            call.operation, call.d, scales.log().mean().exp().item() if (scales > 0).all() else 0.0, getattr(module, "scaling", None),
            getattr(module, "d_base", None), getattr(module, "alpha", None), _width_mult(module), idle,
        )  # fmt: skip
    return found


def _width_mult(module):
    found = [p.infshape.width_mult() for p in module.parameters() if hasattr(p, "infshape") and p.infshape.ninf() == 2]
    return max(found, default=None)
