"""What the operators are called with, and how."""

import torch

import muattn.torch


def randn(*shape, grad=True):
    return torch.randn(shape).requires_grad_(grad)


def qkv(B=2, H=4, H_kv=4, n_q=19, n_k=23, d=16, d_v=None):
    return {"q": randn(B, H, n_q, d), "k": randn(B, H_kv, n_k, d), "v": randn(B, H_kv, n_k, d if d_v is None else d_v)}


def spatial(**arguments):
    return muattn.torch.spatial_attention(**arguments, return_lse=True)


def both(B=2, H=4, n_q=19, d_v=16):
    return torch.randn(B, H, n_q, d_v), torch.randn(B, H, n_q)


def channel(**arguments):
    return muattn.torch.channel_attention(**arguments)


def tokens(n=37, d=24, first=False):
    shape = (2, 4, d, n) if first else (2, 4, n, d)
    return {"q": randn(*shape), "k": randn(*shape), "v": randn(*shape)}
