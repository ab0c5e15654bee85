"""Real data that packages ship: the text of Python's help, and scikit-learn's handwritten digits. Nothing is downloaded."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pydoc_data import topics

import torch

LENGTH = 128  # characters of a text
PATCH = 2  # pixels of a side; a digit has 8 x 8 pixels
BATCH = {"spatial": 16, "channel": 128}  # texts, digits


# On the CPU, whatever device a model is made on: what is kept serves all.
@functools.cache
def text() -> tuple[torch.Tensor, str]:
    """All characters, as places in the vocabulary, and the vocabulary."""
    whole = "".join(topics.topics.values())
    vocabulary = "".join(sorted(set(whole)))
    places = {character: i for i, character in enumerate(vocabulary)}
    return torch.tensor([places[character] for character in whole], device="cpu"), vocabulary


@functools.cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Patches of all digits, [1797, tokens, pixels of a patch], in -1..1, and the labels 0..9."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images, dtype=torch.float32, device="cpu").reshape(-1, 8, 8) / 8 - 1
    patches = pixels.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).flatten(3).flatten(1, 2)
    return patches.contiguous(), torch.tensor(labels, device="cpu")


def batches(operation: str, seed: int, batch: int | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and targets without end, the same for every model: for spatial attention texts and the next characters, [batch, LENGTH] each; for
    channel attention patches of digits [batch, tokens, pixels] and labels [batch]."""
    generator = torch.Generator().manual_seed(seed)
    batch = batch or BATCH[operation]
    return _texts(generator, batch) if operation == "spatial" else _digits(generator, batch)


def _texts(generator, batch):
    data, _ = text()
    places = torch.arange(LENGTH + 1)
    while True:
        starts = torch.randint(len(data) - LENGTH, (batch, 1), generator=generator)
        chosen = data[starts + places]
        yield chosen[:, :-1], chosen[:, 1:]


def _digits(generator, batch):
    patches, labels = digits()
    while True:
        chosen = torch.randint(len(labels), (batch,), generator=generator)
        yield patches[chosen], labels[chosen]
