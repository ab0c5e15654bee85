"""muattn.torch's operators against attention composed of PyTorch's own in double precision: results, all gradients, all ways to call them."""

import pytest
import torch
from close import check_like, results
from reference import channel_attention, spatial_attention

import muattn
import muattn.torch
from muattn.torch import _channel, _merge, _spatial


def randn(*shape, grad=True):
    return torch.randn(shape).requires_grad_(grad)


def qkv(B=2, H=4, H_kv=4, n_q=19, n_k=23, d=16, d_v=None):
    return {"q": randn(B, H, n_q, d), "k": randn(B, H_kv, n_k, d), "v": randn(B, H_kv, n_k, d if d_v is None else d_v)}


def spatial(**arguments):
    return muattn.torch.spatial_attention(**arguments, return_lse=True)


def both(B=2, H=4, n_q=19, d_v=16):
    return torch.randn(B, H, n_q, d_v), torch.randn(B, H, n_q)


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


def channel(**arguments):
    return muattn.torch.channel_attention(**arguments)


def tokens(n=37, d=24, first=False):
    shape = (2, 4, d, n) if first else (2, 4, n, d)
    return {"q": randn(*shape), "k": randn(*shape), "v": randn(*shape)}


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
    q, k, v = tokens().values()
    torch.testing.assert_close(
        muattn.torch.channel_attention(q, k, v, scaling="mup", d_base=6), muattn.torch.channel_attention(q, k, v, output_multiplier=6 / 24)
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
        **qkv(H_kv=2), scale=torch.rand(4).requires_grad_(), mask=randn(1, 4, 19, 23), sink=randn(4), causal="bottom_right", softcap=3.0)),
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
        torch.library.opcheck(_spatial._backward_operator, (*detached, *forward, torch.randn_like(forward[0]), None, [True] * 6))
    else:
        torch.library.opcheck(_channel._backward_operator, (*detached, torch.randn_like(forward), [True] * 5))


@pytest.mark.parametrize("which", ["spatial", "channel"])
def test_gradcheck_of_the_reference(which):
    """Finite differences in double precision, of what all else here is compared with."""
    if which == "spatial":
        inputs = [torch.randn(1, 2, 4, 3).double().requires_grad_() for _ in range(3)] + [torch.rand(2).double().requires_grad_(), torch.randn(1, 2, 4, 4).double().requires_grad_(), torch.randn(2).double().requires_grad_()]
        function = lambda q, k, v, scale, mask, sink: spatial_attention(q, k, v, scale=scale, mask=mask, sink=sink, softcap=2.0, causal="top_left")  # noqa: E731
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
    "lists": {"scale": [0.3, 0.5], "sink": (0.1, 0.2), "causal": [1, -1], "key_lengths": [3, 4]},
    "lists of tensors": {"scale": [torch.tensor(0.3), 0.5], "causal": [torch.tensor(1), -1]},
    "tensors": {"scale": torch.tensor(0.3), "causal": torch.tensor(1), "key_lengths": torch.tensor([3, 4])},
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


def test_masks_that_repeat():
    tensors = {**qkv(), "mask": randn(1, 1, 1, 1)}
    widened = lambda mask, **x: spatial(mask=mask.expand(2, 4, 19, 23), **x)  # noqa: E731
    check_like(widened, spatial_attention, tensors, {"scale": 0.3}, both())
    tensors["mask"] = randn(1, 4, 1, 23)
    check_like(lambda mask, **x: spatial(mask=mask.expand(2, 4, 19, 23), **x), spatial_attention, tensors, {"scale": 0.3}, both())


def test_autocast():
    q, k, v = (x.detach() for x in qkv().values())
    halves = [x.bfloat16().requires_grad_() for x in (q, k, v)]
    with torch.autocast("cpu", torch.bfloat16):
        out = muattn.torch.spatial_attention(*halves)
    assert out.dtype is torch.float32
    torch.testing.assert_close(out, muattn.torch.spatial_attention(*(x.float() for x in halves)))
    assert all(x.dtype is torch.bfloat16 for x in torch.autograd.grad(out.sum(), halves))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():  # the plain functions too
        assert torch.equal(muattn.spatial_attention(*halves), out)
        assert muattn.channel_attention(*halves[1:], halves[2]).dtype is torch.float32
        lse = torch.zeros(2, 4, 19, dtype=torch.bfloat16)
        assert muattn.merge(out.bfloat16(), lse, out, lse)[0].dtype is torch.float32
    with pytest.raises(ValueError, match="q.dtype must be float32, not bfloat16"):
        muattn.torch.spatial_attention(*halves)


def test_autocast_of_merge():
    out, lse = torch.randn(1, 2, 5, 4, dtype=torch.bfloat16), torch.randn(1, 2, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found = muattn.torch.merge(out, lse, out, lse)
    torch.testing.assert_close(found[0], out.float())


@pytest.mark.parametrize("function", [muattn.torch.spatial_attention, muattn.torch.channel_attention])
def test_autocast_leaves_double_precision(function):
    """As it does for PyTorch's operators: nobody asked for less."""
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match="q.dtype must be float32, not float64"):
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


@pytest.mark.parametrize("call, error, message", [
    (lambda x: muattn.torch.spatial_attention(x, x, x.double()), ValueError, "v.dtype must be float32, not float64"),
    (lambda x: muattn.torch.spatial_attention(x[0], x, x), ValueError, r"q must have 4 dimensions .*, not 3: q\[None\] where the batch is missing"),
    (lambda x: muattn.torch.spatial_attention(x, x.numpy(), x), TypeError, "k must be a torch.Tensor, not ndarray"),
    (lambda x: muattn.torch.spatial_attention(x, x[:, :1], x), ValueError, "v"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, causal=True), ValueError, "causal must be"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, causal=[0.5]), TypeError, "causal"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, scaling="mean"), ValueError, "scaling must be one of"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, scale=torch.ones(3)), ValueError, "scale"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, softcap=-1.0), ValueError, "softcap must be above 0"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, softcap=torch.ones(1).requires_grad_()), ValueError, "softcap requires a gradient"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, mask=torch.ones(5, 5)), ValueError, r"mask\[None, None\] is that of \[n_q, n_k\]"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, mask=torch.ones(2, 1, 5, 5).long()), ValueError, "give mask != 0, which is bool"),
    (lambda x: muattn.torch.spatial_attention(x.long(), x, x), ValueError, "q.dtype must be float32, not int64: convert it to float32"),
    (lambda x: muattn.torch.packed_spatial_attention(x, 2), ValueError, "packed must have 3 dimensions"),
    (lambda x: muattn.torch.packed_spatial_attention(x[0], 2), ValueError, r"packed.shape\[2\] must be a multiple of heads"),
    (lambda x: muattn.torch.packed_channel_attention(x[0], 2, layout="channels_first"), ValueError, r"packed.shape\[1\] must be a multiple"),
    (lambda x: muattn.torch.packed_spatial_attention(x[0], 1, return_lse=True), TypeError, "return_lse is no option here"),
    (lambda x: muattn.torch.spatial_attention(x, x, x, key_lengths=torch.ones(2)), TypeError, "key_lengths must be integers"),
    (lambda x: muattn.torch.channel_attention(x, x, x, scaling="mup"), ValueError, "d_base"),
    (lambda x: muattn.torch.channel_attention(x, x, x, output_multiplier=torch.ones(2)), ValueError, "output_multiplier must be one number"),
    (lambda x: muattn.torch.merge(x, x, x, x), ValueError, "lse_a must have 3 dimensions"),
])  # fmt: skip
def test_errors(call, error, message):
    x = torch.randn(2, 2, 5, 8)
    for tensor in (x, x.clone().requires_grad_()):
        if tensor.requires_grad and "numpy" in message + str(call.__code__.co_names):
            continue
        with pytest.raises(error, match=message):
            call(tensor)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types_behind_the_functions(dtype):
    """Kernels read and write float32: other tensors would be read as such, and smaller ones written beyond their end."""
    message = f"take tensors of float32, and masks of bool, not {str(dtype).removeprefix('torch.')}"
    x, other = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4, dtype=dtype)
    for function in (muattn.torch.spatial_attention, muattn.torch.channel_attention):
        traced = torch.jit.trace(lambda x, function=function: function(x, x, x), x)
        with pytest.raises(Exception, match=message):
            traced(other)
    with pytest.raises(ValueError, match=message):
        torch.ops.muattn.merge(other, other[..., 0], other, other[..., 0])
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.to(dtype), lambda saved: saved):
        loss = muattn.torch.channel_attention(x.requires_grad_(), x, x).sum()
    with pytest.raises(ValueError, match=message):
        loss.backward()


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


def test_results_lie_as_models_want_them():
    x = torch.randn(2, 5, 3 * 2 * 8)
    q, k, v = x.unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
    for out in (muattn.torch.spatial_attention(q, k, v), muattn.torch.channel_attention(q, k, v)):
        assert out.transpose(1, 2).is_contiguous()
