"""Tensors of the real PyTorch, which is not among the test requirements (3 GB): ./dev test --torch runs these."""

import numpy as np
import pytest

import muattn

torch = pytest.importorskip("torch")
F = torch.nn.functional


def close(a, b):
    return torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-5)


def packed(B, n, H, d):
    """q, k, v as views of one [B, n, 3, H, d] array, as models have them."""
    return torch.randn(B, n, 3, H, d).permute(2, 0, 3, 1, 4).unbind(0)


@pytest.mark.parametrize("causal", [False, True])
def test_scaled_dot_product_attention(causal):
    q, k, v = packed(2, 50, 3, 16)
    out = muattn.spatial_attention(q, k, v, causal="top_left" if causal else None)
    assert isinstance(out, torch.Tensor)
    close(out, F.scaled_dot_product_attention(q, k, v, is_causal=causal))


def test_masks():
    q, k, v = packed(2, 37, 3, 16)
    allowed = torch.rand(2, 1, 37, 37) < 0.7
    allowed[..., 0] = True
    close(muattn.spatial_attention(q, k, v, mask=allowed), F.scaled_dot_product_attention(q, k, v, attn_mask=allowed))
    bias = torch.randn(1, 3, 37, 37)
    close(muattn.spatial_attention(q, k, v, mask=bias), F.scaled_dot_product_attention(q, k, v, attn_mask=bias))


def test_decoding_over_a_cache():
    q, k, v = torch.randn(2, 8, 1, 64), torch.randn(2, 2, 700, 64), torch.randn(2, 2, 700, 64)
    expected = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    close(muattn.spatial_attention(q, k, v, causal="bottom_right"), expected)


@pytest.mark.parametrize("normalize", [False, True])
def test_channel_attention(normalize):
    q, k, v = packed(2, 60, 3, 24)
    q_t, k_t, v_t = (x.transpose(-2, -1) for x in (q, k, v))
    if normalize:
        q_t, k_t = F.normalize(q_t, dim=-1), F.normalize(k_t, dim=-1)
    expected = (torch.softmax(q_t @ k_t.transpose(-2, -1) * 0.3, -1) @ v_t).transpose(-2, -1)
    close(muattn.channel_attention(q, k, v, scale=0.3, normalize=normalize), expected)


def test_out_is_written_in_place():
    q, k, v = packed(1, 20, 2, 8)
    out = torch.full((1, 2, 20, 8), torch.nan)
    assert muattn.spatial_attention(q, k, v, out=out) is out
    close(out, F.scaled_dot_product_attention(q, k, v))


def test_a_tensor_that_requires_grad_is_refused():
    q, k, v = packed(1, 5, 1, 8)
    q = q.clone().requires_grad_()
    with pytest.raises(ValueError, match="q requires a gradient"):
        muattn.spatial_attention(q, k, v)
    with pytest.raises(ValueError, match="v requires a gradient"):
        muattn.channel_attention(k, k, q)
    with torch.no_grad():
        close(muattn.spatial_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
    assert not muattn.spatial_attention(q.detach(), k, v).requires_grad


def test_other_kinds_mix():
    q, k, v = packed(1, 9, 1, 8)
    out = muattn.spatial_attention(q, k.numpy(), v)
    assert isinstance(out, torch.Tensor)
    np.testing.assert_allclose(out.numpy(), F.scaled_dot_product_attention(q, k, v).numpy(), rtol=2e-5, atol=2e-5)
