"""A small GPT in the maximal update parametrization, on the text of Python's own help: python docs/examples/nanogpt.py [WIDTH [STEPS]]"""

import sys
from pydoc_data import topics

import mup
import torch
from torch import nn

from muattn.torch import SpatialAttention, set_base

text = "".join(topics.topics.values())
characters = sorted(set(text))
data = torch.tensor([characters.index(c) for c in text])


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), SpatialAttention(width, heads=4, causal="top_left"))
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


class GPT(nn.Module):
    def __init__(self, width, length=128, depth=2):
        super().__init__()
        self.tokens, self.places = nn.Embedding(len(characters), width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)), nn.LayerNorm(width))
        self.readout = mup.MuReadout(width, len(characters), readout_zero_init=True)

    def forward(self, x):
        return self.readout(self.blocks(self.tokens(x) + self.places.weight[: x.shape[1]]))


def make(width, base_width=32):
    """The three lines that make it muP: the base model's shapes, its head dimension, and below mup's optimizer."""
    model, base, delta = GPT(width), GPT(base_width), GPT(2 * base_width)
    mup.set_base_shapes(model, base, delta=delta)
    return set_base(model, base)


def train(width, steps, length=128, batch=16):
    torch.manual_seed(0)
    model = make(width)
    optimizer = mup.MuAdam(model.parameters(), lr=1e-2)
    for step in range(steps):
        starts = torch.randint(len(data) - length - 1, (batch,))
        x = torch.stack([data[i : i + length + 1] for i in starts])
        loss = nn.functional.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return loss.item()


if __name__ == "__main__":
    train(int(sys.argv[1]) if len(sys.argv) > 1 else 128, int(sys.argv[2]) if len(sys.argv) > 2 else 200)
