"""The operators in all ways to call them: compiled, exported, mapped, cast, on any view that PyTorch makes; and derivatives that are refused."""

import pytest
import torch
from operands import qkv, randn, tokens

import muattn
import muattn.torch


def train(function, x):
    out = function(x)
    (gradient,) = torch.autograd.grad((out * out).sum(), x)
    return out, gradient


def spatial_of(x):
    q, k, v = x.unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    out, lse = muattn.torch.spatial_attention(q, k, v, scaling="mup", d_base=4, causal="bottom_right", return_lse=True)
    return out.transpose(1, 2).flatten(2) + lse.mean()


def channel_of(x):
    q, k, v = x.unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return muattn.torch.channel_attention(q, k, v, normalize=True, scale=x.mean()).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("function", [spatial_of, channel_of])
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(function, dynamic):
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic)
    for n in (5, 9, 12):
        x = randn(2, n, 48)
        for ours, theirs in zip(train(compiled, x), train(function, x)):
            torch.testing.assert_close(ours, theirs)


OPTIONS = {
    "numbers": {"scale": 0.3, "softcap": 2.0, "causal": 2},
    "a rule": {"scaling": "mup", "d_base": 4, "window": (2, None)},
    "powers": {"scaling": "mup", "power": 0.5, "alpha": 2.5, "output_multiplier": -3.0},
    "umup": {"scaling": "umup", "alpha": 2, "causal": "top_left"},
    "lists": {"scale": [0.3, 0.5], "sink": (0.1, 0.2), "causal": [1, -1], "key_lengths": [3, 4]},
    "lists of tensors": {"scale": [torch.tensor(0.3), 0.5], "causal": [torch.tensor(1), -1]},
    "tensors": {"scale": torch.tensor(0.3), "output_multiplier": torch.tensor(0.7), "causal": torch.tensor(1), "key_lengths": torch.tensor([3, 4])},
}


@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_with_options(case, dynamic):
    """dynamic=True makes symbols of numbers too."""
    torch._dynamo.reset()
    function = lambda x: muattn.torch.spatial_attention(x, x, x, **OPTIONS[case])  # noqa: E731
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for n in (5, 7):
        x = randn(2, 2, n, 8)
        for ours, theirs in zip(train(compiled, x), train(function, x)):
            torch.testing.assert_close(ours, theirs)


def test_compile_with_options_that_depend_on_shapes():
    torch._dynamo.reset()
    function = lambda x: muattn.torch.spatial_attention(  # noqa: E731
        x, x, x, window=(x.shape[2] // 2, 0), causal=x.shape[2] - 4, scaling="mup", d_base=x.shape[3] // 2, softcap=x.shape[2] / 3
    )
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (5, 7, 9):
        x = torch.randn(2, 2, n, 8)
        torch.testing.assert_close(compiled(x), function(x))


@pytest.mark.parametrize("function", [spatial_of, channel_of])
def test_export(function):
    class Model(torch.nn.Module):
        def forward(self, x):
            return function(x)

    n = torch.export.Dim("n", min=2, max=100)
    program = torch.export.export(Model(), (torch.randn(2, 7, 48),), dynamic_shapes={"x": {1: n}})
    for length in (3, 7, 20):
        x = torch.randn(2, length, 48)
        torch.testing.assert_close(program.module()(x), function(x))


def test_torch_func():
    x = torch.randn(3, 2, 7, 48)
    torch.testing.assert_close(torch.func.vmap(spatial_of)(x), torch.stack([spatial_of(y) for y in x]))
    torch.testing.assert_close(torch.func.vmap(channel_of)(x), torch.stack([channel_of(y) for y in x]))
    for function in (spatial_of, channel_of):
        loss = lambda y: (function(y) ** 2).sum()  # noqa: E731, B023
        one_by_one = torch.stack([train(function, y.clone().requires_grad_())[1] for y in x])
        torch.testing.assert_close(torch.stack([torch.func.grad(loss)(y) for y in x]), one_by_one, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), one_by_one, rtol=1e-4, atol=1e-4)


def test_vmap_of_each_argument():
    arguments = {**{name: x.detach() for name, x in qkv(B=1).items()}, "scale": torch.rand(4), "mask": torch.randn(1, 1, 19, 23), "sink": torch.randn(4)}
    arguments["output_multiplier"] = torch.rand(1)
    for name, x in arguments.items():
        many = torch.stack([x, x + 0.3, x - 0.2])
        function = lambda y: muattn.torch.spatial_attention(**{**arguments, name: y})  # noqa: E731, B023
        torch.testing.assert_close(torch.func.vmap(function)(many), torch.stack([function(y) for y in many]))


def test_lengths_and_offsets_that_change_before_the_backward_pass():
    """As where a cache grows: the call's own count, in either form of the backward pass."""
    q = torch.randn(2, 3, 6, 4, requires_grad=True)
    packed = torch.randn(2, 6, 36, requires_grad=True)
    for function, x in ((lambda q, **options: muattn.torch.spatial_attention(q, q, q, **options), q),
                        (lambda x, **options: muattn.torch.packed_spatial_attention(x, 3, **options), packed)):  # fmt: skip
        for name in ("key_lengths", "causal"):
            numbers = torch.tensor([2, 4])
            loss = (function(x, **{name: numbers}) ** 2).sum()
            (expected,) = torch.autograd.grad(loss, x, retain_graph=True)
            numbers += 1
            for create_graph in (False, True):
                (found,) = torch.autograd.grad(loss, x, retain_graph=True, create_graph=create_graph)
                torch.testing.assert_close(found.detach(), expected)


def test_second_derivatives_are_refused():
    for function in (spatial_of, channel_of, torch.compile(spatial_of, fullgraph=True, backend="aot_eager")):
        x = randn(2, 5, 48)
        with pytest.raises(RuntimeError):
            (gradient,) = torch.autograd.grad((function(x) ** 2).sum(), x, create_graph=True)
            gradient.sum().backward()


@pytest.mark.parametrize("function, shape", [
    (lambda x: muattn.torch.spatial_attention(x, x, x), (1, 2, 5, 8)),
    (lambda x: muattn.torch.channel_attention(x, x, x), (1, 2, 5, 8)),
    (lambda x: muattn.torch.packed_spatial_attention(x, 2), (2, 5, 48)),
    (lambda x: muattn.torch.packed_channel_attention(x, 2), (2, 5, 48)),
    (lambda x: muattn.torch.packed_channel_attention(x, 2, layout="channels_first"), (2, 48, 5)),
])  # fmt: skip
@pytest.mark.parametrize("loss", [lambda out: out.sum(), lambda out: (out**2).sum()])
def test_gradient_penalties_are_refused(function, shape, loss):
    """Where the gradient by out is a constant, too: the penalty's gradient would be missing, and the rest of the loss have one."""
    x = randn(*shape)
    value = loss(function(x))
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    torch.testing.assert_close(gradient.detach(), torch.autograd.grad(loss(function(x)), x)[0])
    with pytest.raises(RuntimeError, match="_attention_backward has no derivative: muattn computes first derivatives alone"):
        (value + (gradient**2).sum()).backward()


def test_forward_mode_is_refused():
    x = torch.randn(2, 5, 48)
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.func.jvp(spatial_of, (x,), (x,))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="q carries a forward-mode tangent"):
        spatial_of(torch.autograd.forward_ad.make_dual(x, x))
    x, one = torch.randn(1, 2, 5, 8), torch.ones(2)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(one, one)
        for function, name, value in (
            (muattn.torch.spatial_attention, "scale", dual), (muattn.torch.spatial_attention, "sink", dual), (muattn.torch.spatial_attention, "softcap", dual[0]),
            (muattn.torch.spatial_attention, "output_multiplier", dual[0]), (muattn.torch.spatial_attention, "alpha", dual[0]),
            (muattn.torch.channel_attention, "scale", dual), (muattn.torch.channel_attention, "output_multiplier", dual[0]),
        ):  # fmt: skip
            with pytest.raises(NotImplementedError, match=f"{name} carries a forward-mode tangent"):
                function(x, x, x, **{name: value})


def test_any_view_that_autograd_makes():
    x = randn(2, 5, 48)
    out = spatial_of(x)
    out.sum().backward()  # d_out has strides 0
    expected = x.grad.clone()
    for d_out in (torch.ones(2, 5, 16), torch.ones(2, 16, 5).transpose(1, 2), torch._neg_view(-torch.ones(2, 5, 16)), torch.ones(1, 1, 1).expand(2, 5, 16)):
        torch.testing.assert_close(torch.autograd.grad(spatial_of(x), x, d_out)[0], expected)
    q = torch.randn(1, 1, 1, 8).requires_grad_()
    wide = q.expand(2, 3, 6, 8)
    ours = torch.autograd.grad(muattn.torch.spatial_attention(wide, wide, wide).sum(), q)[0]
    torch.testing.assert_close(ours, torch.full_like(q, 36.0))
    negative = torch._neg_view(-torch.randn(2, 3, 6, 8))
    torch.testing.assert_close(muattn.torch.spatial_attention(negative, negative, negative), muattn.torch.spatial_attention(*[negative.resolve_neg()] * 3))
    columns = torch.randn(2, 3, 8, 6).transpose(-2, -1)
    torch.testing.assert_close(muattn.torch.spatial_attention(columns, columns, columns), muattn.torch.spatial_attention(*[columns.contiguous()] * 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    """As PyTorch's own attention: in the type of the region, gradients in the types of the tensors."""
    inputs = q, k, v = tuple(qkv().values())
    halves = [x.detach().to(dtype).requires_grad_() for x in inputs]
    expected = muattn.torch.spatial_attention(*halves)
    with torch.autocast("cpu", dtype):
        assert torch.nn.functional.scaled_dot_product_attention(q, k, v).dtype is dtype
        out, lse = muattn.torch.spatial_attention(q, k.to(dtype), v, return_lse=True)
        assert torch.equal(muattn.torch.spatial_attention(*halves), expected)
    assert out.dtype is dtype and lse.dtype is torch.float32 and torch.equal(out, expected)
    ours = torch.autograd.grad(out.float().sum(), inputs)
    assert [x.dtype for x in ours] == 3 * [torch.float32]
    for a, b in zip(ours, torch.autograd.grad(expected.float().sum(), halves)):
        assert torch.equal(a, b.float())
    with torch.autocast("cpu", dtype), torch.no_grad():  # the plain functions too, and operators in graphs that were made outside
        assert torch.equal(muattn.spatial_attention(q, k, v), expected)
        assert muattn.channel_attention(q, q, q).dtype is dtype
        assert torch.ops.muattn.channel_attention(q, q.to(dtype), q, None, None, "sp", 0, None, None, False, "channels_last", 0.0).dtype is dtype


def test_autocast_of_merge():
    """It stores no more than it is given, and loses nothing of what is float32."""
    out, lse = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5)
    half = out.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = muattn.torch.merge(half, lse, out, lse)
        assert torch.equal(torch.ops.muattn.merge(half, lse, out, lse)[0], found[0])
        assert muattn.torch.merge(half, lse, half, lse)[0].dtype is torch.bfloat16
    assert torch.equal(found[0], muattn.torch.merge(half.float(), lse, out, lse)[0]) and found[1].dtype is torch.float32
    with pytest.raises(ValueError, match="out_b.dtype must be that of out_a: bfloat16, not float32"):
        muattn.torch.merge(half, lse, out, lse)


@pytest.mark.parametrize("function", [muattn.torch.spatial_attention, muattn.torch.channel_attention])
def test_autocast_leaves_double_precision(function):
    """As it does for PyTorch's operators: nobody asked for less."""
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match="q.dtype must be float32, float16 or bfloat16, not float64"):
        function(x, x, x)


def test_the_plain_functions_hand_over():
    q, k, v = qkv().values()
    out, lse = muattn.spatial_attention(q, k, v, causal="top_left", return_lse=True)
    assert out.requires_grad and lse.requires_grad
    assert torch.equal(out, muattn.torch.spatial_attention(q, k, v, causal="top_left"))
    assert muattn.merge(out, lse, out, lse)[0].requires_grad
    assert not muattn.spatial_attention(q.detach(), k.detach(), v.detach()).requires_grad
    q, k, v = tokens().values()
    assert torch.equal(muattn.channel_attention(q, k, v, normalize=True), muattn.torch.channel_attention(q, k, v, normalize=True))
    assert muattn.channel_attention(q, k, v).requires_grad
    torch.testing.assert_close(torch.func.vmap(muattn.channel_attention)(q[None], k[None], v[None])[0], muattn.channel_attention(q, k, v))
