"""scaling="umup" against unit_scaling's own function: results and gradients."""

import pytest
import torch
from close import check_like
from operands import randn
from unit_scaling.functional import scaled_dot_product_attention

import muattn
import muattn.torch


@pytest.mark.parametrize("mult", [0.25, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("n, d", [(2, 1), (7, 64), (130, 16), (600, 32)])
def test_equal_to_unit_scaling(mult, is_causal, n, d):
    options = {"scaling": "umup", "alpha": mult, "causal": "top_left" if is_causal else None}
    theirs = lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=is_causal, mult=mult)  # noqa: E731
    inputs, d_results = {name: randn(2, 3, n, d) for name in "qkv"}, [torch.randn(2, 3, n, d)]
    check_like(lambda **x: muattn.torch.spatial_attention(**x, **options), theirs, inputs, {}, d_results)
    with torch.no_grad():
        plain = {name: x.detach() for name, x in inputs.items()}
        assert torch.equal(muattn.spatial_attention(**plain, **options), muattn.torch.spatial_attention(**plain, **options))


def test_masks():
    """Which do not change its sigma."""
    q, k, v = (torch.randn(2, 3, 40, 16) for _ in range(3))
    mask = torch.rand(2, 3, 40, 40) < 0.7
    mask[..., 0] = True
    theirs = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(muattn.torch.spatial_attention(q, k, v, scaling="umup", mask=mask), theirs, rtol=1e-4, atol=1e-5)


def test_outputs_are_of_size_1():
    """Of random inputs, which is what sigma is for."""
    for causal in (None, "top_left"):
        q, k, v = (torch.randn(4, 4, 256, 64) for _ in range(3))
        assert 0.8 < muattn.torch.spatial_attention(q, k, v, scaling="umup", causal=causal).std() < 1.25


def test_in_a_compiled_function():
    q, k, v = (torch.randn(2, 3, 40, 16, requires_grad=True) for _ in range(3))
    attention = lambda *x: muattn.torch.spatial_attention(*x, scaling="umup", alpha=2.0, causal="top_left")  # noqa: E731
    compiled, plain = torch.compile(attention, fullgraph=True)(q, k, v), attention(q, k, v)
    assert torch.equal(compiled, plain)
    for a, b in zip(torch.autograd.grad(compiled.sum(), (q, k, v)), torch.autograd.grad(plain.sum(), (q, k, v))):
        assert torch.equal(a, b)
