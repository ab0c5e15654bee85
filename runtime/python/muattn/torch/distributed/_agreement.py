"""Whether all ranks call the same: a rank that went on alone would wait for the others until the group's time-out."""

from __future__ import annotations

import hashlib
import json

import torch

from .._tensors import is_eager
from ._group import exchanging, gather


def agree(what, group, prepare):
    """prepare() checks this rank's arguments and returns (call, description, counts): whatever the caller wants, what must be the same on all
    ranks, by name, and two numbers of its own. Returns call and all ranks' counts, as two lists.

    Raises on every rank where one rank's prepare() has raised, or descriptions differ. A call that is right sends 5 numbers."""
    call, error, counts = None, None, (0, 0)
    try:
        call, description, counts = prepare()
    except Exception as found:
        error, description = found, {"error": str(found)}
    text = json.dumps({"function": what, **description}).encode()
    header = torch.tensor([_fingerprint(text), error is not None, len(text), *counts])
    with exchanging(what):
        headers = gather(group, header)
        fingerprints, failed, lengths, *of_ranks = headers.T.tolist()
        differ = any(failed) or len(set(fingerprints)) > 1
        if differ:
            padded = torch.frombuffer(bytearray(text.ljust(max(lengths))), dtype=torch.uint8)
            texts = [json.loads(bytes(x.tolist())) for x in gather(group, padded)]
    if error is not None:
        raise error
    if differ:
        raise ValueError(f"{what}: {_difference(texts)}")
    return call, of_ranks


def _fingerprint(text):
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little", signed=True)


def _difference(texts):
    for rank, text in enumerate(texts):
        if "error" in text:
            return f"rank {rank} of the group has called {text['function']} with a wrong argument: {text['error']}"
    first = texts[0]
    for rank, text in enumerate(texts):
        for name in (*first, *text):
            if first.get(name) != text.get(name):
                return f"the ranks' {name} must be the same: rank 0 has {_shown(first, name)}, rank {rank} has {_shown(text, name)}"
    raise AssertionError("fingerprints differ, texts do not")


def _shown(text, name):
    return json.dumps(text[name]) if name in text else "none"


def require_eager(*tensors):
    """What a transform, or a graph that is being recorded, would make of the exchange with other ranks, nobody knows."""
    if not is_eager(*tensors):
        raise ValueError(
            "calls of muattn.torch.distributed cannot be part of torch.func's transforms or of a graph (torch.export, make_fx, FakeTensorMode): "
            "leave them outside"
        )


def wanted_of(**tensors):
    """The names of those by which gradients are wanted: ranks must agree, as all of them take part in the backward pass."""
    return [name for name, x in tensors.items() if x is not None and x.requires_grad and torch.is_grad_enabled()]
