"""Calls on PyTorch's tensors that several files test."""

import torch

import muattn

torch.manual_seed(0)
X = torch.randn(1, 2, 5, 8)
WITHOUT_OUT = "leave out= and return_map= out: PyTorch then takes the call as an operator"


def close(a, b):
    return torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-5)


def spatial(x, **options):
    return muattn.spatial_attention(**{"q": x, "k": x, "v": x, **options})


def channel(x, **options):
    return muattn.channel_attention(**{"q": x, "k": x, "v": x, **options})


def requiring(*shape):
    return torch.ones(shape).requires_grad_()


def composed(q, k, v, scale, mask=0.0, sink=None, softcap=None):
    """(out, lse), of PyTorch's own operators. scale and sink: a tensor of one number or of one per head."""
    logits = scale.reshape(-1, 1, 1) * (q @ k.mT)
    logits = (logits if softcap is None else softcap * torch.tanh(logits / softcap)) + mask
    n = logits.shape[-1]
    if sink is not None:
        logits = torch.cat([logits, sink.reshape(-1, 1, 1).expand(*logits.shape[:3], 1)], -1)
    return torch.softmax(logits, -1)[..., :n] @ v, torch.logsumexp(logits, -1)
