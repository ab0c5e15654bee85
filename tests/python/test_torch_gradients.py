"""Plain calls on tensors that require a gradient: PyTorch records them, or they are refused."""

import collections

import numpy as np
import pytest

import muattn

torch = pytest.importorskip("torch")

from torch_calls import WITHOUT_OUT, X, channel, close, composed, requiring, spatial  # noqa: E402


def composed_channel(q, k, v, scale, output_multiplier):
    return output_multiplier * (v @ torch.softmax(scale.reshape(-1, 1, 1) * (q.mT @ k), -1).mT)


def composed_merge(out_a, lse_a, out_b, lse_b):
    lse = torch.logaddexp(lse_a, lse_b)
    return torch.exp(lse_a - lse)[..., None] * out_a + torch.exp(lse_b - lse)[..., None] * out_b, lse


def with_lse(**arguments):
    return muattn.spatial_attention(**arguments, return_lse=True)


def parts(n_q, n_k):
    return {"q": torch.randn(2, 4, n_q, 16), "k": torch.randn(2, 4, n_k, 16), "v": torch.randn(2, 4, n_k, 16)}


RECORDED = {
    "spatial": (
        with_lse, composed,
        {**parts(9, 30), "scale": torch.rand(4), "mask": torch.randn(1, 4, 9, 30), "sink": torch.randn(4)}, {"softcap": 2.0},
    ),
    "channel": (muattn.channel_attention, composed_channel, {**parts(20, 20), "scale": torch.rand(4, 1, 1), "output_multiplier": torch.tensor(0.7)}, {}),
    "merge": (
        muattn.merge, composed_merge,
        {name: torch.randn(2, 4, 9, 16)[(..., 0) if "lse" in name else ...] for name in ("out_a", "lse_a", "out_b", "lse_b")}, {},
    ),
}  # fmt: skip


def trained(function, tensors, options, wanted):
    """Results, and gradients by `wanted`."""
    tensors = {name: x.clone().requires_grad_(name in wanted) for name, x in tensors.items()}
    results = function(**tensors, **options)
    results = results if isinstance(results, tuple) else (results,)
    weights = [torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape) for x in results]
    loss = sum((x * weight).sum() for x, weight in zip(results, weights))
    return [*results, *torch.autograd.grad(loss, [tensors[name] for name in wanted])]


@pytest.mark.parametrize("operation, name", [(operation, name) for operation, case in RECORDED.items() for name in [*case[2], None]])
def test_gradients_by_each_argument_and_by_all(operation, name):
    """A gradient of one argument alone is enough for PyTorch to record the call."""
    function, reference, tensors, options = RECORDED[operation]
    wanted = list(tensors) if name is None else [name]
    ours = trained(function, tensors, options, wanted)
    theirs = trained(reference, {key: x.double() for key, x in tensors.items()}, options, wanted)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        plain = function(**tensors, **options)
        torch.testing.assert_close(plain if isinstance(plain, torch.Tensor) else plain[0], ours[0].detach())


Pair = collections.namedtuple("Pair", "a b")


def objects(a, b):
    array = np.empty(2, object)
    array[0], array[1] = a, b
    return array


@pytest.mark.parametrize("kind", [lambda *x: list(x), lambda *x: x, Pair, lambda *x: collections.UserList(x), objects])
def test_gradients_by_numbers_in_whatever_holds_them(kind):
    a = torch.tensor(0.3, requires_grad=True)
    joined = torch.stack([a, torch.tensor(0.5)])
    for name in ("scale", "sink"):
        gradient = torch.autograd.grad((spatial(X, **{name: kind(a, 0.5)}) ** 2).sum(), a)[0]
        close(gradient, torch.autograd.grad((spatial(X, **{name: joined}) ** 2).sum(), a, retain_graph=True)[0])
        assert gradient.abs() > 1e-4
        with pytest.raises(ValueError, match=rf"{name}\[0\] requires a gradient"):
            spatial(X, out=torch.empty_like(X), **{name: kind(a, 0.5)})
    gradient = torch.autograd.grad((channel(X, scale=kind(a, 0.5)) ** 2).sum(), a)[0]
    close(gradient, torch.autograd.grad((channel(X, scale=joined) ** 2).sum(), a)[0])
    with pytest.raises(TypeError, match=r"scale\[1\] must be a number, not a tensor of 2"):
        spatial(X, scale=kind(a, torch.ones(2)))


def test_options_mean_the_same_where_a_call_is_recorded():
    x = torch.randn(2, 2, 5, 8)
    for options in (
        {"causal": 1}, {"causal": np.int64(1)}, {"causal": np.array(1)}, {"causal": torch.tensor(1)}, {"causal": [1, -1]},
        {"causal": collections.UserList([1, -1])}, {"causal": torch.tensor([1, -1])}, {"causal": [torch.tensor(1), -1]},
        {"window": (1, None)}, {"window": torch.tensor([1, 0])}, {"window": (torch.tensor(1), np.int64(0))},
        {"key_lengths": [3, 5]}, {"key_lengths": torch.tensor([3, 5], dtype=torch.int32)}, {"key_lengths": np.array([3, 5])},
        {"key_lengths": (torch.tensor(3), 5)}, {"softcap": torch.tensor(2.0)}, {"softcap": np.float32(2)}, {"softcap": 2},
        {"scaling": "mup", "d_base": torch.tensor(4)}, {"mask": torch.rand(1, 1, 5, 5) > 0.3},
    ):  # fmt: skip
        recorded = spatial(x.clone().requires_grad_(), **options)
        assert recorded.requires_grad
        close(recorded.detach(), spatial(x, **options))


@pytest.mark.parametrize("name, call", [
    *((name, lambda x, name=name: spatial(X, **{"out": torch.empty_like(X), name: x})) for name in ("q", "k", "v", "out")),
    ("mask", lambda x: spatial(X, mask=x[:, :1, :, :5], out=torch.empty_like(X))),
    ("scale", lambda x: spatial(X, scale=x[0, :, 0, 0], out=torch.empty_like(X))),
    ("scale[1]", lambda x: spatial(X, scale=[0.5, x[0, 0, 0, 0]], out=torch.empty_like(X))),
    ("sink", lambda x: spatial(X, sink=x[0, :, 0, 0], out=torch.empty_like(X))),
    *((name, lambda x, name=name: channel(X, **{"out": torch.empty_like(X), name: x})) for name in ("q", "k", "v", "out")),
    *((name, lambda x, name=name: channel(X, return_map=True, **{name: x})) for name in ("q", "k", "v")),
    ("scale", lambda x: channel(X, scale=x[0, :, :1, :1], return_map=True)),
    ("output_multiplier", lambda x: channel(X, output_multiplier=x[0, 0, 0, 0], return_map=True)),
    ("out", lambda x: channel(X, out=x * 2)),
])  # fmt: skip
def test_with_out_and_with_the_map_nothing_is_recorded(name, call):
    with pytest.raises(ValueError) as refusal:
        call(requiring(1, 2, 5, 8))
    assert str(refusal.value) == (
        f"{name} requires a gradient, and PyTorch does not record this call: call it under torch.no_grad(), pass {name}.detach(), or {WITHOUT_OUT}"
    )
    with torch.no_grad():
        call(requiring(1, 2, 5, 8))
    with torch.inference_mode():
        call(requiring(1, 2, 5, 8))


def test_a_softcap_has_no_gradient():
    softcap = requiring()
    for x in (X, X.clone().requires_grad_()):
        for options in ({}, {"out": torch.empty_like(X)}):
            with pytest.raises(ValueError, match=r"softcap requires a gradient, and muattn has none by it: pass softcap.item\(\)" if not x.requires_grad or not options else "q requires a gradient"):
                spatial(x, softcap=softcap, **options)
        spatial(x, softcap=softcap.item())
    with torch.no_grad():
        spatial(X, softcap=softcap)


def test_second_derivatives_are_errors():
    """Also of a loss whose gradient by the result is a constant, and where the rest of the loss has a second derivative."""
    for function in (spatial, channel):
        for loss in (torch.sum, lambda out: (out**2).sum()):
            x = X.clone().requires_grad_()
            value = loss(function(x))
            gradient = torch.autograd.grad(value, x, create_graph=True)[0]
            close(gradient.detach(), torch.autograd.grad(loss(function(x)), x)[0])
            with pytest.raises(RuntimeError, match="_attention_backward has no derivative: muattn computes first derivatives alone"):
                (value + (gradient**2).sum()).backward()
        for twice in (torch.autograd.functional.hvp, torch.autograd.functional.jvp):
            with pytest.raises(RuntimeError, match="has no derivative"):
                twice(lambda y: function(y).sum(), X, X if twice is torch.autograd.functional.hvp else X)  # noqa: B023


def test_second_derivatives_of_merge():
    """Its backward pass is made of PyTorch's operators, and so has them."""
    _, _, tensors, _ = RECORDED["merge"]
    found = []
    for function, dtype in ((muattn.merge, torch.float32), (composed_merge, torch.float64)):
        leaves = [x.to(dtype, copy=True).requires_grad_() for x in tensors.values()]
        out, lse = function(*leaves)
        gradients = torch.autograd.grad((out**2).sum() + (lse * out.sum(-1)).sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum((x**2).sum() for x in gradients), leaves))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_gradients_of_several_losses_at_once():
    x = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="Batching rule not implemented for muattn::spatial_attention_backward"):
        torch.autograd.grad(spatial(x), x, torch.randn(3, *X.shape), is_grads_batched=True)
    row = lambda y: spatial(y)[0, 0, 0]  # noqa: E731
    close(torch.func.jacrev(row)(X), torch.autograd.functional.jacobian(row, X))


def test_saved_tensors():
    x = X.clone().requires_grad_()
    expected = torch.autograd.grad((spatial(x) ** 2).sum(), x)[0]
    for reentrant in (True, False):
        out = torch.utils.checkpoint.checkpoint(spatial, x, use_reentrant=reentrant)
        (gradient,) = torch.autograd.grad((out**2).sum(), x) if not reentrant else ((out**2).sum().backward(), (x.grad,))[1]
        close(gradient, expected)
    with torch.autograd.graph.save_on_cpu():
        close(torch.autograd.grad((spatial(x) ** 2).sum(), x)[0], expected)
    changed = X.clone().requires_grad_() * 1
    loss = spatial(changed).sum()
    with torch.no_grad():
        spatial(X, out=changed)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_has_no_operator_is_refused():
    lse, maps, squares = torch.zeros(1, 2, 5), torch.ones(1, 2, 8, 8), torch.ones(1, 2, 8)
    forward = "let PyTorch differentiate what muattn.torch has"
    halves = r"call muattn.torch.channel_attention\(\), which is both halves"
    of_channel = {"q": X, "k": X, "v": X, "d_out": X}
    calls = [
        (muattn.spatial_attention_backward, {"q": X, "k": X, "v": X, "out": X, "lse": lse, "d_out": X, "d_lse": lse, "scale": torch.ones(2)}, forward),
        (muattn.channel_attention_backward, {**of_channel, "scale": torch.ones(2), "output_multiplier": torch.ones(())}, forward),
        (muattn.channel_apply_backward, {"map": maps, "v": X, "d_out": X, "scale": torch.ones(2)}, forward),
        (muattn.channel_map_backward, {"q": X, "k": X, "map": maps, "d_attention_map": maps}, forward),
        (muattn.channel_map, {"q": X, "k": X}, halves),
        (muattn.channel_apply, {"map": maps, "v": X, "scale": torch.ones(2), "output_multiplier": torch.ones(())}, halves),
    ]
    for function, given, instead in calls:
        for name, x in given.items():
            leaf = x.clone().requires_grad_()
            with pytest.raises(ValueError, match=rf"{name} requires a gradient, .* pass {name}.detach\(\), or {instead}"):
                function(**{**given, name: leaf})
            with torch.no_grad():
                function(**{**given, name: leaf})
            with pytest.raises(ValueError, match=f"{name} belongs to a transform of torch.func .*leave it outside, or {instead}"):
                torch.func.vmap(lambda y: function(**{**given, name: y}))(x[None])  # noqa: B023
            with pytest.raises(ValueError, match=f"PyTorch is recording a graph .*leave it outside, or {instead}"):
                torch.jit.trace(lambda y: function(**{**given, name: y}), x)  # noqa: B023
    with pytest.raises(ValueError, match="k_squares requires a gradient"):
        muattn.channel_apply(maps, X, squares=(squares, squares.clone().requires_grad_()))
