"""return_stats=True of muattn.torch: what the plain functions give, without gradients, in graphs and under vmap."""

import pytest
import torch
from operands import qkv, tokens

import muattn
import muattn.torch

SPATIAL = {"scaling": "mup", "d_base": 4, "softcap": 2.0, "causal": "bottom_right"}
CHANNEL = {"normalize": True, "scale": 3.0}


def plain(function, tensors, options):
    """Of NumPy's arrays."""
    *_, stats = function(*(x.detach().numpy() for x in tensors), **options, return_stats=True)
    return stats


def same(stats, wanted):
    assert isinstance(stats, muattn.LogitStats)
    for got, number in zip(stats, wanted):
        assert not got.requires_grad
        torch.testing.assert_close(got, torch.as_tensor(number), rtol=0, atol=0)


def spatial(q, k, v):
    return muattn.torch.spatial_attention(q, k, v, **SPATIAL, return_stats=True)


def channel(q, k, v):
    return muattn.torch.channel_attention(q, k, v, **CHANNEL, return_stats=True)


CASES = {
    "spatial": (spatial, muattn.spatial_attention, qkv(H_kv=2), SPATIAL),
    "channel": (channel, muattn.channel_attention, tokens(), CHANNEL),
}


@pytest.mark.parametrize("case", CASES)
def test_with_and_without_gradients(case):
    function, of_arrays, tensors, options = CASES[case]
    tensors = list(tensors.values())
    wanted = plain(of_arrays, tensors, options)
    out, stats = function(*tensors)
    assert out.requires_grad
    same(stats, wanted)
    with torch.no_grad():
        same(function(*tensors)[1], wanted)
    out, stats = of_arrays(*tensors, **options, return_stats=True)  # which hands over
    assert out.requires_grad
    same(stats, wanted)


def test_with_lse():
    q, k, v = qkv().values()
    out, lse, stats = muattn.torch.spatial_attention(q, k, v, return_lse=True, return_stats=True)
    assert lse.shape == (2, 4, 19) and stats.entropy.shape == (2, 4)


@pytest.mark.parametrize("case", CASES)
def test_in_a_graph(case):
    function, _, tensors, _ = CASES[case]
    tensors = list(tensors.values())
    out, stats = torch.compile(function, fullgraph=True)(*tensors)
    torch.testing.assert_close(out, function(*tensors)[0])
    same(stats, function(*tensors)[1])
    out.sum().backward()


@pytest.mark.parametrize("case", CASES)
def test_mapped(case):
    function, _, tensors, _ = CASES[case]
    mapped = [torch.stack([x.detach(), 2 * x.detach()]) for x in tensors.values()]
    _, stats = torch.func.vmap(function)(*mapped)
    for i in range(2):
        for got, wanted in zip(stats, function(*(x[i] for x in mapped))[1]):
            torch.testing.assert_close(got[i], wanted, rtol=0, atol=0)
