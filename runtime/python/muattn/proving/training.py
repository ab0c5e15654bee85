"""A training loop."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import torch
from torch import nn


def loss_of(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy, in nats, of all predictions."""
    logits = model(inputs)
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], steps: int
) -> Iterator[float]:
    """The loss of each step, before that step."""
    for inputs, targets in itertools.islice(batches, steps):
        loss = loss_of(model, inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
