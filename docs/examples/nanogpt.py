"""A small GPT in the maximal update parametrization, on the text of Python's own help: python docs/examples/nanogpt.py [WIDTH [STEPS]]

200 steps of width 128 take about a minute on two processors, and end near a loss of 2.4. The ten lines with a comment at their end are what makes an ordinary GPT one of muattn and muP."""

import sys
from pydoc_data import topics

import mup  # muP's shapes, readout and optimizer
import torch
from torch import nn

from muattn.torch import SpatialAttention, set_base  # attention with muP's scale

text = "".join(topics.topics.values())
characters = sorted(set(text))
data = torch.tensor([characters.index(c) for c in text])
LENGTH, BATCH, BASE = 128, 16, 32


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        attention = SpatialAttention(width, heads=4, causal="top_left", scaling="mup")  # heads stay, their width grows
        self.attention = nn.Sequential(nn.LayerNorm(width), attention)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


class GPT(nn.Module):
    def __init__(self, width, depth=2):
        super().__init__()
        self.tokens, self.places = nn.Embedding(len(characters), width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)), nn.LayerNorm(width))
        self.readout = mup.MuReadout(width, len(characters), readout_zero_init=True)  # divides by the width's growth

    def forward(self, x):
        return self.readout(self.blocks(self.tokens(x) + self.places.weight[: x.shape[1]]))


def train(width, steps):
    torch.manual_seed(0)
    model = GPT(width)
    base, delta = GPT(BASE), GPT(2 * BASE)  # the model that is tuned, and one that tells which dimensions grow
    mup.set_base_shapes(model, base, delta=delta)  # of parameters
    for parameter in model.blocks.parameters():  # begin as mup has them
        if parameter.dim() > 1:
            mup.init.normal_(parameter, std=0.05)  # times what the width asks for
    set_base(model, base)  # of attention
    optimizer = mup.MuAdam(model.parameters(), lr=1e-2)  # a learning rate that holds at every width
    for step in range(steps):
        starts = torch.randint(len(data) - LENGTH - 1, (BATCH,))
        x = torch.stack([data[i : i + LENGTH + 1] for i in starts])
        loss = nn.functional.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)


if __name__ == "__main__":
    train(int(sys.argv[1]) if len(sys.argv) > 1 else 128, int(sys.argv[2]) if len(sys.argv) > 2 else 200)
