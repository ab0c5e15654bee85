"""Tensors of the real PyTorch, which is not among the test requirements (3 GB): ./dev test --torch runs these, and test_torch_*.py."""

import numpy as np
import pytest

import muattn

torch = pytest.importorskip("torch")
F = torch.nn.functional

from torch_calls import X, channel, close, composed, requiring, spatial  # noqa: E402


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


def test_without_a_gradient_nothing_is_recorded():
    q, k, v = packed(1, 5, 1, 8)
    q = q.clone().requires_grad_()
    with torch.no_grad():
        close(muattn.spatial_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
    with torch.inference_mode():
        close(muattn.spatial_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
    assert not muattn.spatial_attention(q.detach(), k, v).requires_grad


def test_gradients_of_what_was_overwritten_are_errors():
    saved = requiring(1, 2, 5, 8) * 2
    loss = (saved * saved).sum()
    with torch.no_grad():
        assert spatial(X, out=saved) is saved
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


CASES = {
    "plain": ({}, {}),
    "causal": ({"causal": "top_left"}, {"is_causal": True}),
    "scale": ({"scale": 0.3}, {"scale": 0.3}),
    "grouped": ({}, {"enable_gqa": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_autograd(case):
    options, of_torch = CASES[case]
    q, k, v = packed(2, 50, 3, 16) if case != "grouped" else (torch.randn(2, h, n, 16) for h, n in ((6, 50), (2, 70), (2, 70)))
    leaves = [x.double().requires_grad_() for x in (q, k, v)]
    expected = F.scaled_dot_product_attention(*leaves, **of_torch)
    d_out = torch.randn(q.shape)
    expected.backward(d_out.double())
    out, lse = muattn.spatial_attention(q, k, v, return_lse=True, **options)
    result = muattn.spatial_attention_backward(q, k, v, out, lse, d_out, **options)
    for x, leaf in zip(result.values(), leaves):
        assert type(x) is torch.Tensor and not x.requires_grad
        close(x.double(), leaf.grad)


def test_gradients_by_mask_scale_and_sink_are_those_of_autograd():
    q, k, v, d_out = torch.randn(2, 4, 9, 16), torch.randn(2, 4, 30, 16), torch.randn(2, 4, 30, 16), torch.randn(2, 4, 9, 16)
    mask, scale, sink, d_lse = torch.randn(1, 4, 9, 30), torch.rand(4), torch.randn(4), torch.randn(2, 4, 9)
    leaves = {"q": q, "k": k, "v": v, "scale": scale, "mask": mask, "sink": sink}
    of_torch = {name: x.double().requires_grad_() for name, x in leaves.items()}
    out, lse = composed(**of_torch, softcap=2.0)
    ((out * d_out).sum() + (lse * d_lse).sum()).backward()
    options = {"scale": scale, "mask": mask, "sink": sink, "softcap": 2.0}
    out, lse = muattn.spatial_attention(q, k, v, return_lse=True, **options)
    result = muattn.spatial_attention_backward(q, k, v, out, lse, d_out, d_lse=d_lse, wanted=list(leaves), **options)
    for name, x in result.items():
        close(x.double(), of_torch[name].grad)


@pytest.mark.parametrize("normalize", [False, True])
def test_channel_gradients_are_those_of_autograd(normalize):
    q, k, v = packed(2, 60, 3, 24)
    scale, multiplier, d_out = torch.rand(3) + 0.1, torch.tensor(0.7), torch.randn(2, 3, 60, 24)
    leaves = {"q": q, "k": k, "v": v, "scale": scale, "output_multiplier": multiplier}
    of_torch = {name: x.double().requires_grad_() for name, x in leaves.items()}
    x, y = (F.normalize(of_torch[name], dim=2) if normalize else of_torch[name] for name in "qk")
    attention_map = torch.softmax(of_torch["scale"][:, None, None] * (x.mT @ y), -1)
    (of_torch["output_multiplier"] * (of_torch["v"] @ attention_map.mT)).backward(d_out.double())
    options = {"scale": scale, "output_multiplier": multiplier, "normalize": normalize}
    out, returned = muattn.channel_attention(q, k, v, return_map=True, **options)
    assert type(out) is type(returned) is torch.Tensor
    close(returned.double(), attention_map.detach())
    saved = {} if normalize else {"attention_map": returned}
    for more in ({}, saved):
        for name, x in muattn.channel_attention_backward(q, k, v, d_out, wanted=list(leaves), **options, **more).items():
            # By scale: a sum of thousands of products, where PyTorch's own float32 is off by as much.
            torch.testing.assert_close(torch.as_tensor(x).double(), of_torch[name].grad, rtol=2e-5, atol=5e-4 if name == "scale" else 2e-5)


def test_lazy_signs():
    negative = torch._neg_view(X)
    with pytest.raises(ValueError, match=r"q has PyTorch's negative bit set.*: pass q.resolve_neg\(\)"):
        spatial(X, q=negative)
    assert torch.equal(spatial(X, q=negative.resolve_neg()), spatial(X, q=-X))
    imaginary = torch.randn(1, 2, 5, 8, dtype=torch.complex64).conj().imag
    with pytest.raises(ValueError, match="v has PyTorch's negative bit set"):
        channel(X, v=imaginary)


def test_tensors_that_are_more_than_their_memory():
    masked = torch.masked.masked_tensor(X, X > 0)
    with pytest.raises(TypeError, match="MaskedTensor"):
        spatial(X, k=torch.masked.masked_tensor(X, X > 0, requires_grad=True))
    with pytest.raises(ValueError, match="k is a MaskedTensor, a tensor that is more than the memory"):
        spatial(X, k=masked)
    nested = torch.nested.nested_tensor([X[0], X[0, :, :3]])
    with pytest.raises(ValueError, match=r"k is a nested tensor: pass k.to_padded_tensor\(0\), and its lengths as key_lengths="):
        spatial(torch.cat([X, X]), k=nested)


class Mine(torch.Tensor):
    pass


@pytest.mark.parametrize("wrap", [lambda x: torch.nn.Parameter(x, requires_grad=False), lambda x: x.as_subclass(Mine)])
def test_subclasses_give_plain_tensors(wrap):
    out, lse = spatial(wrap(X), return_lse=True)
    assert type(out) is type(lse) is type(channel(wrap(X))) is torch.Tensor
    assert torch.equal(out, spatial(X))


def test_bools_are_no_numbers():
    yes = torch.tensor(True)
    for options in ({"d_base": yes}, {"scale": yes}, {"softcap": yes}, {"window": (yes, 1)}, {"key_lengths": yes[None]}):
        with pytest.raises(TypeError, match=f"{next(iter(options))}.* must be an? (integer|number), not"):
            spatial(X, **options)
    close(spatial(X, scale=torch.tensor([0.5, 0.5]), key_lengths=torch.tensor([5]), window=torch.tensor([9, 9])), spatial(X, scale=0.5))


def test_other_kinds_mix():
    q, k, v = packed(1, 9, 1, 8)
    out = muattn.spatial_attention(q, k.numpy(), v)
    assert isinstance(out, torch.Tensor)
    np.testing.assert_allclose(out.numpy(), F.scaled_dot_product_attention(q, k, v).numpy(), rtol=2e-5, atol=2e-5)
