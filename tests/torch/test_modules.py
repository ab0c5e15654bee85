"""The modules, alone and with the real mup."""

import copy
import io
import subprocess
import sys

import mup
import pytest
import torch
from close import check_like
from reference import channel_attention, spatial_attention
from torch import nn

import muattn.torch
from muattn.torch import ChannelAttention, SpatialAttention, packed_channel_attention, packed_spatial_attention


def of_functions(module, x, attention, kv_heads, **options):
    """What the module computes, composed from PyTorch's operators."""
    d, H = module.head_dim, module.heads
    packed = nn.functional.linear(x, module.qkv.weight.to(x.dtype), None if module.qkv.bias is None else module.qkv.bias.to(x.dtype))
    q, k, v = (part.unflatten(-1, (-1, d)).transpose(1, 2) for part in packed.split((H * d, kv_heads * d, kv_heads * d), -1))
    out = attention(q, k, v, **options)
    out = out[0] if isinstance(out, tuple) else out
    return nn.functional.linear(out.transpose(1, 2).flatten(2), module.out.weight.to(x.dtype), module.out.bias.to(x.dtype))


@pytest.mark.parametrize("kv_heads", [None, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_spatial(kv_heads, bias):
    layer = SpatialAttention(32, 4, kv_heads, d_base=4, causal="top_left", qkv_bias=bias)
    expected = lambda x: of_functions(layer, x, spatial_attention, kv_heads or 4, scale=2 / 8, causal="top_left")  # noqa: E731
    check_like(layer, expected, {"x": torch.randn(2, 11, 32, requires_grad=True)}, {}, [torch.randn(2, 11, 32)])


@pytest.mark.parametrize("options, scale, multiplier", [
    ({"d_base": 4, "power": 0.5}, 2 / 8**0.5, 1),
    ({"scaling": "sp", "alpha": 2.0}, 2 / 8**0.5, 1),
    ({"scaling": "umup", "d_base": 4, "alpha": 3.0}, 3 / 8, muattn.spatial_output_multiplier("umup", 8, 11, causal=True, alpha=3.0)),
])  # fmt: skip
def test_rules(options, scale, multiplier):
    layer = SpatialAttention(32, 4, causal="top_left", **options)
    expected = lambda x: of_functions(layer, x, spatial_attention, 4, scale=scale, output_multiplier=multiplier, causal="top_left")  # noqa: E731
    check_like(layer, expected, {"x": torch.randn(2, 11, 32, requires_grad=True)}, {}, [torch.randn(2, 11, 32)])


def test_gradients_of_parameters():
    layer = SpatialAttention(32, 4, 2, scaling="sp", qkv_bias=True)
    x = torch.randn(2, 11, 32)
    mask = torch.randn(1, 4, 11, 11, requires_grad=True)
    parameters = [mask, *layer.parameters()]
    ours = torch.autograd.grad((layer(x, mask=mask) ** 2).sum(), parameters)
    theirs = torch.autograd.grad((of_functions(layer, x, spatial_attention, 2, scale=8**-0.5, mask=mask) ** 2).sum(), parameters)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("normalize", [False, True])
def test_channel(layout, normalize):
    layer = ChannelAttention(32, 4, d_base=4, normalize=normalize, layout=layout, qkv_bias=True)
    x = torch.randn(2, 11, 32)
    scale = layer.temperature if normalize else 11**-0.5
    expected = of_functions(layer, x, channel_attention, 4, scale=scale, output_multiplier=0.5, normalize=normalize)
    given = x if layout == "channels_last" else x.transpose(1, 2)
    out = layer(given)
    assert out.shape == given.shape
    torch.testing.assert_close(out if layout == "channels_last" else out.transpose(1, 2), expected)
    parameters = list(layer.parameters())
    for a, b in zip(torch.autograd.grad((out**2).sum(), parameters), torch.autograd.grad((expected**2).sum(), parameters)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_channels_with_alpha():
    layer = ChannelAttention(32, 4, scaling="sp", alpha=3.0)
    x = torch.randn(2, 11, 32)
    torch.testing.assert_close(layer(x), of_functions(layer, x, channel_attention, 4, scale=3 * 11**-0.5))


def test_images():
    layer = ChannelAttention(16, 2, scaling="sp", layout="channels_first")
    x = torch.randn(2, 16, 5, 7)
    torch.testing.assert_close(layer(x).flatten(2), layer(x.flatten(2)))


def test_state_dict():
    assert {name: tuple(x.shape) for name, x in SpatialAttention(32, 4, 2, qkv_bias=True).state_dict().items()} == {
        "qkv.weight": (64, 32), "qkv.bias": (64,), "out.weight": (32, 32), "out.bias": (32,),
    }
    assert {name: tuple(x.shape) for name, x in ChannelAttention(32, 4, normalize=True).state_dict().items()} == {
        "temperature": (4,), "qkv.weight": (96, 32), "out.weight": (32, 32), "out.bias": (32,),
    }
    layer = SpatialAttention(32, 4)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = SpatialAttention(32, 4)
    other.load_state_dict(torch.load(buffer))
    x = torch.randn(1, 5, 32)
    assert torch.equal(layer(x), other(x)) and torch.equal(copy.deepcopy(layer)(x), layer(x))


@pytest.mark.parametrize("function, options", [
    (packed_spatial_attention, {}), (packed_channel_attention, {}), (packed_channel_attention, {"layout": "channels_first"}),
])  # fmt: skip
def test_packed_results_in_place(function, options):
    """They can be changed so; a backward pass that needs what was there says that it is gone."""
    packed = torch.randn(2, 24, 24).requires_grad_()
    (expected,) = torch.autograd.grad((2 * function(packed, 2, **options)).sum(), packed)
    out = function(packed, 2, **options)
    out.mul_(2)
    if function is packed_channel_attention:
        assert torch.equal(torch.autograd.grad(out.sum(), packed)[0], expected)
    else:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


@pytest.mark.parametrize("make, message", [
    (lambda: SpatialAttention(30, 4), "dim \\(30\\) must be a multiple of heads"),
    (lambda: SpatialAttention(32, 4, 3), "heads \\(4\\) must be a multiple of kv_heads"),
    (lambda: SpatialAttention(32, 4, scaling="mup_mean"), "scaling must be one of"),
    (lambda: SpatialAttention(32, 4, scaling="sp", power=2), "power: only scaling='mup' has one, not 'sp'"),
    (lambda: SpatialAttention(32, 4, alpha=0), "alpha must be above 0, not 0"),
    (lambda: ChannelAttention(32, 4, scaling="umup"), "scaling must be one of"),
    (lambda: ChannelAttention(32, 4, normalize=True, alpha=2), "alpha: not where a temperature is learned"),
    (lambda: ChannelAttention(32, 4, layout="last"), "layout must be one of"),
    (lambda: SpatialAttention(0, 4), "dim must be an integer of at least 1"),
    (lambda: SpatialAttention(32, 4, causal=True), "causal must be .*'top_left'$"),
    (lambda: SpatialAttention(32, 4, d_base=0), "d_base must be at least 1"),
    (lambda: SpatialAttention(32, 4)(torch.randn(5, 32)), r"x must be \[B, n, 32\], not \[5, 32\]"),
    (lambda: ChannelAttention(32, 4, scaling="sp", layout="channels_first")(torch.randn(2, 5, 32)), r"x must be \[B, 32, ...\], not \[2, 5, 32\]"),
    (lambda: SpatialAttention(32, 4)(torch.randn(2, 5, 32).double()), "x.dtype must be float32, float16 or bfloat16, not float64"),
])  # fmt: skip
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Model(nn.Module):
    def __init__(self, width, heads=4):
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        self.spatial = SpatialAttention(width, heads, causal="top_left")
        self.channel = ChannelAttention(width, heads, normalize=True)
        self.readout = mup.MuReadout(width, 11)

    def forward(self, tokens):
        x = self.embedding(tokens)
        x = x + self.spatial(x)
        return self.readout(x + self.channel(x))


def test_set_base():
    model = muattn.torch.set_base(Model(64), Model(32))
    assert (model.spatial.d_base, model.channel.d_base) == (8, 8)
    with pytest.raises(ValueError, match="'spatial' has 8 heads, and 4 in base"):
        muattn.torch.set_base(Model(64, 8), Model(32))
    with pytest.raises(ValueError, match="base has no SpatialAttention named 'spatial'"):
        muattn.torch.set_base(Model(64), nn.Linear(3, 3))
    with pytest.raises(ValueError, match="base has no SpatialAttention named 'the model itself'"):
        muattn.torch.set_base(SpatialAttention(32, 4), nn.Linear(3, 3))
    with pytest.raises(ValueError, match="model has no SpatialAttention and no ChannelAttention"):
        muattn.torch.set_base(nn.Linear(3, 3), Model(32))
    with pytest.raises(TypeError, match="not Model and NoneType"):
        muattn.torch.set_base(Model(64), None)


def test_drop_ins_are_imported_when_asked_for():
    code = "import muattn.torch, sys\nassert 'timm' not in sys.modules\nmuattn.torch.timm.patch\nassert not hasattr(muattn.torch, 'jax')"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("optimizer", [mup.MuAdam, mup.MuSGD])
def test_mup(optimizer):
    model, base, delta = Model(64), Model(16), Model(32)
    mup.set_base_shapes(model, base, delta=delta)
    muattn.torch.set_base(model, base)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "readout" not in name:
            mup.init.normal_(parameter, std=0.1)
    steps = optimizer(model.parameters(), lr=0.02)
    tokens = torch.randint(0, 11, (4, 12), generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_compile():
    model = Model(32)
    mup.set_base_shapes(model, Model(16), delta=Model(32))
    muattn.torch.set_base(model, Model(16))
    tokens = torch.randint(0, 11, (2, 9))
    loss = lambda f: (f(tokens) ** 2).sum()  # noqa: E731
    ours = torch.autograd.grad(loss(torch.compile(model, fullgraph=True)), list(model.parameters()))
    for a, b in zip(ours, torch.autograd.grad(loss(model), list(model.parameters()))):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
