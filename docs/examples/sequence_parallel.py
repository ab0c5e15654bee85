"""A small GPT whose tokens are spread over processes: torchrun --nproc-per-node 2 docs/examples/sequence_parallel.py [STEPS]

The losses are those of one process. The lines with a comment at their end are what spreading the tokens takes."""

import sys
from pydoc_data import topics

import torch
import torch.distributed as dist
from torch import nn

from muattn.torch import SpatialAttention
from muattn.torch.distributed import ring_attention, shard

text = "".join(topics.topics.values())
characters = sorted(set(text))
data = torch.tensor([characters.index(c) for c in text[:20000]])
LENGTH, BATCH, WIDTH = 256, 2, 64


class RingAttention(SpatialAttention):
    def forward(self, x):
        heads = self.qkv(x).unflatten(-1, (3, self.heads, self.head_dim))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        out = ring_attention(q, k, v, balance="zigzag", causal=self.causal, scaling=self.scaling, d_base=self.d_base)  # over all ranks' tokens
        return self.out(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        attention = RingAttention(WIDTH, heads=4, causal="top_left", d_base=16)
        self.attention = nn.Sequential(nn.LayerNorm(WIDTH), attention)
        self.mlp = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(len(characters), WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(Block(), Block(), nn.LayerNorm(WIDTH))
        self.readout = nn.Linear(WIDTH, len(characters))

    def forward(self, x):
        places = shard(self.places.weight, dim=0, balance="zigzag")  # of this rank's tokens
        return self.readout(self.blocks(self.tokens(x) + places))


def train(steps):
    torch.manual_seed(0)  # the same parameters and batches on every rank
    model = GPT()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        starts = torch.randint(len(data) - LENGTH - 1, (BATCH,))
        batch = torch.stack([data[i : i + LENGTH + 1] for i in starts])
        x, y = (shard(z, dim=1, balance="zigzag") for z in (batch[:, :-1], batch[:, 1:]))  # this rank's tokens
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum") / (BATCH * LENGTH)  # its share of the mean
        optimizer.zero_grad()
        loss.backward()
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)  # shares add up
        optimizer.step()
        loss = loss.detach()
        dist.all_reduce(loss)  # so do losses
        if dist.get_rank() == 0:
            print(f"step {step}: loss {loss.item():.7f}", flush=True)


if __name__ == "__main__":
    # Before the group is: optimizers import it, and then it keeps the group beyond destroy_process_group(). gloo's threads would go on while
    # Python ends, which aborts the process now and then (PyTorch's pull request 179291).
    import torch._dynamo

    dist.init_process_group("gloo")
    train(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
    dist.destroy_process_group()
