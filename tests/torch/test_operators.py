"""muattn.torch's operators against attention composed of PyTorch's own in double precision: results and all gradients."""

import pytest
import torch
from close import check_like
from operands import both, channel, qkv, randn, spatial, tokens
from reference import channel_attention, spatial_attention

import muattn.torch
from muattn.torch import _channel, _merge, _spatial


SPATIAL = {
    "plain": (qkv(), {"scale": 0.3}),
    "grouped": (qkv(H_kv=2), {"scale": 0.3, "causal": "bottom_right"}),
    "other width": (qkv(d_v=9), {"scale": 0.3, "causal": "top_left"}),
    "one scale": ({**qkv(), "scale": torch.tensor(0.4, requires_grad=True)}, {}),
    "scales": ({**qkv(), "scale": torch.rand(4, 1, 1).requires_grad_()}, {}),
    "mask": ({**qkv(), "mask": randn(2, 4, 19, 23)}, {"scale": 0.3}),
    "mask of heads": ({**qkv(), "mask": randn(1, 4, 19, 23)}, {"scale": 0.3, "softcap": 2.0}),
    "mask of keys": ({**qkv(), "mask": randn(2, 1, 1, 23)}, {"scale": 0.3}),
    "boolean mask": ({**qkv(), "mask": torch.rand(2, 1, 19, 23) < 0.5}, {"scale": 0.3}),
    "multiplier": ({**qkv(H_kv=2), "output_multiplier": torch.tensor(-0.7, requires_grad=True)}, {"scale": 0.3, "causal": 3}),
    "multiplier of 0": ({**qkv(H_kv=2), "output_multiplier": torch.zeros(1, requires_grad=True)}, {"scale": 0.3, "causal": -3}),
    "multiplying number": ({**qkv(), "sink": randn(4)}, {"scale": 0.3, "output_multiplier": 2.5}),
    "sink": ({**qkv(), "sink": randn(4)}, {"scale": 0.3, "window": (5, 2)}),
    "softcap": (qkv(), {"scale": 1.0, "softcap": 1.5, "causal": 2}),
    "lengths": (qkv(), {"scale": 0.3, "key_lengths": torch.tensor([7, 23]), "causal": "bottom_right"}),
    "offsets": (qkv(), {"scale": 0.3, "causal": torch.tensor([3, -2]), "window": (None, 4)}),
}


@pytest.mark.parametrize("case", SPATIAL)
def test_spatial(case):
    tensors, options = SPATIAL[case]
    check_like(spatial, spatial_attention, tensors, options, both(d_v=tensors["v"].shape[-1]))


@pytest.mark.parametrize("gradients", [(True, False), (False, True)])
def test_spatial_with_a_gradient_of_one_result(gradients):
    d_results = [d if given else None for d, given in zip(both(), gradients)]
    check_like(spatial, spatial_attention, qkv(), {"scale": 0.3}, d_results)


CHANNEL = {
    "plain": (tokens(), {"scale": 0.2}),
    "first": (tokens(first=True), {"scale": 0.2, "layout": "channels_first"}),
    "normalised": ({**tokens(), "scale": torch.rand(4, 1, 1).requires_grad_()}, {"normalize": True}),
    "one scale": ({**tokens(first=True), "scale": torch.rand(1).requires_grad_()}, {"normalize": True, "layout": "channels_first"}),
    "multiplier": ({**tokens(), "output_multiplier": torch.tensor(0.7, requires_grad=True)}, {"scale": 0.2}),
    "number": (tokens(), {"scale": 0.2, "output_multiplier": 0.5}),
}


@pytest.mark.parametrize("case", CHANNEL)
def test_channel(case):
    tensors, options = CHANNEL[case]
    check_like(channel, channel_attention, tensors, options, [torch.randn(tensors["v"].shape)])


def test_rules():
    q, k, v = qkv().values()
    torch.testing.assert_close(
        muattn.torch.spatial_attention(q, k, v, scaling="mup", d_base=4), muattn.torch.spatial_attention(q, k, v, scale=2 / 16)
    )
    for rule, scale in (({"scaling": "mup", "power": 0.5, "alpha": 3}, 0.75), ({"scaling": "sp", "alpha": torch.tensor(2.0)}, 0.5)):
        torch.testing.assert_close(muattn.torch.spatial_attention(q, k, v, **rule), muattn.torch.spatial_attention(q, k, v, scale=scale))
    q, k, v = tokens().values()
    torch.testing.assert_close(
        muattn.torch.channel_attention(q, k, v, scaling="mup", d_base=6), muattn.torch.channel_attention(q, k, v, output_multiplier=6 / 24)
    )
    torch.testing.assert_close(
        muattn.torch.channel_attention(q, k, v, alpha=2), muattn.torch.channel_attention(q, k, v, scale=2 / 37**0.5)
    )


def test_merge():
    def attend(q, k, v, merge, attention):
        halves = [attention(q=q, k=k[:, :, part], v=v[:, :, part], scale=0.3) for part in (slice(9), slice(9, None))]
        return merge(*halves[0], *halves[1])

    def merge_composed(out_a, lse_a, out_b, lse_b):
        lse = torch.logaddexp(lse_a, lse_b)
        return out_a * torch.exp(lse_a - lse)[..., None] + out_b * torch.exp(lse_b - lse)[..., None], lse

    ours = lambda **x: attend(**x, merge=muattn.torch.merge, attention=spatial)  # noqa: E731
    check_like(ours, lambda **x: attend(**x, merge=merge_composed, attention=spatial_attention), qkv(), {}, both())


def test_merge_with_rows_that_count_for_nothing():
    out_a, out_b, lse_a, lse_b = randn(1, 1, 3, 4), randn(1, 1, 3, 4), torch.zeros(1, 1, 3), torch.zeros(1, 1, 3)
    with torch.no_grad():
        out_a[0, 0, 0], lse_a[0, 0, 0], lse_a[0, 0, 1], lse_b[0, 0, 1] = torch.nan, -torch.inf, -torch.inf, -torch.inf
    out, lse = muattn.torch.merge(out_a, lse_a.requires_grad_(), out_b, lse_b.requires_grad_())
    assert torch.equal(out[0, 0, 0], out_b[0, 0, 0])
    for gradient in torch.autograd.grad(out[:, :, 0].sum() + out[:, :, 2].sum() + lse[:, :, 2].sum(), (out_a, lse_a, out_b, lse_b)):
        assert gradient.isfinite().all()


OPERATORS = {
    "spatial": lambda: (_spatial._forward_operator, _spatial.arguments(
        **qkv(H_kv=2), scale=torch.rand(4).requires_grad_(), mask=randn(1, 4, 19, 23), sink=randn(4), causal="bottom_right", softcap=3.0,
        output_multiplier=torch.rand(1).requires_grad_())),
    "spatial, umup": lambda: (_spatial._forward_operator, _spatial.arguments(**qkv(), scaling="umup", alpha=2.0, causal="top_left")),
    "spatial, lengths": lambda: (_spatial._forward_operator, _spatial.arguments(
        **qkv(), causal=[1, 2], key_lengths=[3, 9], window=(3, None), mask=torch.rand(2, 1, 19, 23) < 0.5)),
    "channel": lambda: (_channel._forward_operator, _channel.arguments(
        **tokens(), scale=torch.rand(4).requires_grad_(), output_multiplier=torch.rand(1).requires_grad_(), normalize=True)),
    "channel, first": lambda: (_channel._forward_operator, _channel.arguments(**tokens(first=True), scale=0.2, layout="channels_first")),
    "merge": lambda: (_merge._operator, (randn(1, 2, 5, 8), randn(1, 2, 5), randn(1, 2, 5, 8), randn(1, 2, 5))),
}  # fmt: skip


@pytest.mark.parametrize("case", OPERATORS)
def test_opcheck(case):
    operator, arguments = OPERATORS[case]()
    torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize("case", ["spatial", "channel"])
def test_opcheck_of_backward(case):
    operator, arguments = OPERATORS[case]()
    detached = [x.detach() if isinstance(x, torch.Tensor) else x for x in arguments]
    forward = operator(*detached)
    if case == "spatial":
        torch.library.opcheck(_spatial._backward_operator, (*detached, *forward, torch.randn_like(forward[0]), None, [True] * 7))
    else:
        torch.library.opcheck(_channel._backward_operator, (*detached, torch.randn_like(forward), [True] * 5))


@pytest.mark.parametrize("which", ["spatial", "channel"])
def test_gradcheck_of_the_reference(which):
    """Finite differences in double precision, of what all else here is compared with."""
    if which == "spatial":
        inputs = [torch.randn(1, 2, 4, 3).double().requires_grad_() for _ in range(3)] + [torch.rand(2).double().requires_grad_(), torch.randn(1, 2, 4, 4).double().requires_grad_(), torch.randn(2).double().requires_grad_(), torch.rand(1).double().requires_grad_()]
        function = lambda q, k, v, scale, mask, sink, o: spatial_attention(q, k, v, scale=scale, output_multiplier=o, mask=mask, sink=sink, softcap=2.0, causal="top_left")  # noqa: E731
    else:
        inputs = [torch.randn(1, 2, 5, 3).double().requires_grad_() for _ in range(3)] + [torch.rand(2).double().requires_grad_(), torch.rand(1).double().requires_grad_()]
        function = lambda q, k, v, scale, o: channel_attention(q, k, v, scale=scale, output_multiplier=o, normalize=True)  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs)


GRADCHECK = {"plain": {}, "causal": {"causal": "top_left"}, "softcap": {"softcap": 2.0}, "window": {"window": (1, 1)}, "lengths": {"key_lengths": [3]}}


@pytest.mark.parametrize("case", GRADCHECK)
def test_gradcheck_in_float32(case):
    inputs = [randn(1, 2, 4, 4) for _ in range(3)]
    function = lambda *x: muattn.torch.spatial_attention(*x, scale=0.5, **GRADCHECK[case])  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs, eps=1e-2, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("normalize", [False, True])
def test_gradcheck_of_channels_in_float32(normalize):
    inputs = [randn(1, 2, 5, 4) for _ in range(3)]
    function = lambda *x: muattn.torch.channel_attention(*x, scale=0.5, normalize=normalize)  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs, eps=1e-2, atol=2e-3, rtol=2e-3)


def test_masks_that_repeat():
    tensors = {**qkv(), "mask": randn(1, 1, 1, 1)}
    widened = lambda mask, **x: spatial(mask=mask.expand(2, 4, 19, 23), **x)  # noqa: E731
    check_like(widened, spatial_attention, tensors, {"scale": 0.3}, both())
    tensors["mask"] = randn(1, 4, 1, 23)
    check_like(lambda mask, **x: spatial(mask=mask.expand(2, 4, 19, 23), **x), spatial_attention, tensors, {"scale": 0.3}, both())


def test_numbers_of_heads_in_any_form():
    q, k, v = qkv().values()
    scales = torch.tensor([0.1, 0.2, 0.3, 0.4], requires_grad=True)
    expected = muattn.torch.spatial_attention(q, k, v, scale=scales, sink=scales)
    for form in ([0.1, 0.2, 0.3, 0.4], scales.detach().numpy(), list(scales), tuple(scales), scales.double()):
        assert torch.equal(muattn.torch.spatial_attention(q, k, v, scale=form, sink=form), expected)
    out = muattn.torch.spatial_attention(q, k, v, scale=list(scales))
    assert torch.autograd.grad(out.sum(), scales)[0].abs().max() > 0


def test_empty():
    for shape in ((0, 2, 5, 8), (2, 2, 0, 8)):
        x = randn(*shape)
        out, lse = muattn.torch.spatial_attention(x, x, x, return_lse=True)
        assert out.shape == shape and torch.autograd.grad(out.sum() + lse.sum(), x)[0].shape == shape
        assert torch.autograd.grad(muattn.torch.channel_attention(x, x, x, scale=1.0).sum(), x)[0].shape == shape
    q, k = randn(1, 2, 5, 8), randn(1, 2, 0, 8)
    out = muattn.torch.spatial_attention(q, k, k)
    assert not out.any() and not torch.autograd.grad(out.sum(), q)[0].any()


@pytest.mark.parametrize("number", [0.0, -0.6])
def test_multipliers_of_packed_calls(number):
    packed = randn(2, 11, 5 * 8)
    o = torch.tensor(number, requires_grad=True)
    apart = [x.unflatten(-1, (-1, 8)).transpose(1, 2) for x in packed.split((24, 8, 8), -1)]
    d_out = torch.randn(2, 11, 24)
    ours = torch.autograd.grad(muattn.torch.packed_spatial_attention(packed, 3, 1, output_multiplier=o), (packed, o), d_out)
    theirs = torch.autograd.grad(spatial_attention(*apart, scale=8**-0.5, output_multiplier=o)[0].transpose(1, 2).flatten(2), (packed, o), d_out)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_results_lie_as_models_want_them():
    x = torch.randn(2, 5, 3 * 2 * 8)
    q, k, v = x.unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
    for out in (muattn.torch.spatial_attention(q, k, v), muattn.torch.channel_attention(q, k, v)):
        assert out.transpose(1, 2).is_contiguous()
