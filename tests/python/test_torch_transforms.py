"""Plain calls under what PyTorch transforms, records and compiles."""

import re
import subprocess
import sys

import pytest

import muattn

torch = pytest.importorskip("torch")
import muattn.torch  # noqa: E402

from torch_calls import WITHOUT_OUT, X, channel, close, spatial  # noqa: E402


def test_forward_mode():
    forward = torch.autograd.forward_ad
    with forward.dual_level():
        for name in ("q", "v", "out"):
            dual = forward.make_dual(torch.randn(1, 2, 5, 8), X)
            with torch.no_grad(), pytest.raises(ValueError, match=f"{name} carries a forward-mode tangent"):
                spatial(X, **{name: dual})
            spatial(X, **{name: forward.unpack_dual(dual).primal})
        spatial(X)
    with forward.dual_level():
        for name, x in {"scale": torch.ones(2), "sink": torch.ones(2), "softcap": torch.ones(())}.items():
            dual = forward.make_dual(x, x)
            for options in ({name: dual}, {name: [dual[0], dual[1]]}) if name != "softcap" else ({name: dual},):
                with pytest.raises(ValueError, match=f"{name}.* carries a forward-mode tangent"):
                    spatial(X, **options)
                with pytest.raises(NotImplementedError, match=f"{name}.* carries a forward-mode tangent"):
                    spatial(X.clone().requires_grad_(), **options)
        dual = forward.make_dual(torch.ones(()), torch.ones(()))
        with pytest.raises(NotImplementedError, match="output_multiplier carries a forward-mode tangent"):
            channel(X.clone().requires_grad_(), output_multiplier=dual)


def test_forward_mode_of_torch_func():
    for function, x in (
        (spatial, X), (channel, X), (lambda s: spatial(X, scale=s), torch.ones(2)), (lambda s: spatial(X, scale=[s, s]), torch.ones(())),
        (lambda s: spatial(X, sink=s), torch.ones(2)), (lambda c: spatial(X, softcap=c), torch.ones(())), (lambda s: channel(X, scale=s), torch.ones(2)),
        (lambda lse: muattn.merge(X, lse, X, lse), torch.zeros(1, 2, 5)),
    ):  # fmt: skip
        for transform in (torch.func.jvp, torch.func.linearize, lambda f, x, t: torch.func.jacfwd(f)(x[0])):
            with pytest.raises(NotImplementedError, match="carries a forward-mode tangent: muattn has derivatives in reverse mode alone|jvp"):
                transform(function, (x,), (x,)) if transform is not torch.func.linearize else transform(function, x)


def test_transforms():
    many = torch.stack([X, 2 * X, -X])
    for function in (spatial, channel, lambda x: muattn.merge(x, x[..., 0], 2 * x, x[..., 1])[0]):
        loss = lambda x: (function(x) ** 2).sum()  # noqa: E731, B023
        leaf = X.clone().requires_grad_()
        expected = torch.autograd.grad(loss(leaf), leaf)[0]
        close(torch.func.grad(loss)(X), expected)
        close(torch.func.vjp(loss, X)[1](torch.tensor(1.0))[0], expected)
        close(torch.func.vmap(function)(many), torch.stack([function(x) for x in many]))
        close(torch.func.vmap(torch.func.grad(loss))(many)[0], expected)
        close(torch.func.vmap(function, in_dims=1, out_dims=1)(many.transpose(0, 1)), torch.stack([function(x) for x in many], 1))
    for transform in (torch.func.hessian, lambda f: torch.func.grad(lambda x: (torch.func.grad(f)(x) ** 2).sum())):
        for function in (spatial, channel):
            with pytest.raises((NotImplementedError, RuntimeError), match="muattn computes first derivatives alone|reverse mode alone|jvp"):
                transform(lambda x: function(x).sum())(X)  # noqa: B023
    with pytest.raises(RuntimeError, match="Functionalize rule"):
        torch.func.functionalize(spatial)(X)


def test_transforms_of_options():
    lengths = torch.tensor([[5], [3]])
    mapped = torch.func.vmap(lambda n: spatial(X, key_lengths=n))(lengths)
    close(mapped, torch.stack([spatial(X, key_lengths=n) for n in lengths]))
    close(torch.func.vmap(lambda n: spatial(X, key_lengths=[n]))(lengths[:, 0]), mapped)
    scales = torch.tensor([0.3, 0.7])
    close(torch.func.vmap(lambda s: spatial(X, scale=[s, 0.5]))(scales), torch.stack([spatial(X, scale=[s, 0.5]) for s in scales]))
    with pytest.raises(RuntimeError, match=r"\.item\(\)"):
        torch.func.vmap(lambda c: spatial(X, softcap=c))(scales)
    with pytest.raises(ValueError, match="softcap requires a gradient"):
        torch.func.grad(lambda c: spatial(X, softcap=c).sum())(scales[0])


def test_transforms_do_not_see_out():
    for transform in (torch.func.grad, torch.func.vmap):
        for function in (lambda x: spatial(x, out=torch.empty_like(X)), lambda x: channel(x, return_map=True)[0]):
            with pytest.raises(ValueError) as refusal:
                transform(lambda x: function(x).sum())(X[None] if transform is torch.func.vmap else X)  # noqa: B023
            assert str(refusal.value) == (
                "q belongs to a transform of torch.func (grad, jvp, vmap, ...), and this call cannot be part of one: leave it outside, or "
                + WITHOUT_OUT
            )
    escaped = []
    torch.func.vmap(lambda x: escaped.append(x) or x)(X[None])
    for function in (spatial, muattn.torch.spatial_attention):
        with pytest.raises((ValueError, RuntimeError), match="q belongs to a transform|escaped from inside a function being vmapped"):
            function(*escaped * (1 if function is spatial else 3))


def recorders():
    from torch.fx.experimental.proxy_tensor import make_fx

    class Model(torch.nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, *inputs):
            return self.function(*inputs) + 0

    yield torch.jit.trace
    yield lambda function, inputs: torch.export.export(Model(function), inputs, strict=False).module()
    for mode in ("real", "fake", "symbolic"):
        yield lambda function, inputs, mode=mode: make_fx(function, tracing_mode=mode)(*inputs)


def test_recorders():
    """What was recorded computes with the inputs that it is given later."""
    gradient = torch.func.grad(lambda x: (spatial(x) ** 2).sum())

    def inner_gradient(x):
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad((channel(leaf) ** 2).sum(), leaf)[0]

    cases = [
        (spatial, (X,), (2 * X,)), (channel, (X,), (2 * X,)), (lambda x: muattn.merge(x, x[..., 0], x, x[..., 1])[0], (X,), (2 * X,)),
        (lambda x, n: spatial(x, key_lengths=n), (X, torch.tensor([5])), (X, torch.tensor([2]))),
        (lambda x, n: spatial(x, key_lengths=[n]), (X, torch.tensor(5)), (X, torch.tensor(2))),
        (lambda x, o: spatial(x, causal=o), (X, torch.tensor(1)), (X, torch.tensor(-1))),
        (lambda x, s: spatial(x, scale=[s, 0.5], sink=[0.5, s]), (X, torch.tensor(0.2)), (X, torch.tensor(0.9))),
    ]  # fmt: skip
    for i, record in enumerate(recorders()):
        for function, first, then in [*cases, *([] if i < 2 else [(gradient, (X,), (2 * X,)), (inner_gradient, (X,), (2 * X,))])]:
            close(record(function, first)(*then), function(*then))
        leaf = X.clone().requires_grad_()
        expected = torch.autograd.grad((spatial(leaf) ** 2).sum(), leaf)[0]
        close(torch.autograd.grad((record(spatial, (X,))(leaf) ** 2).sum(), leaf)[0], expected)
        with pytest.raises(ValueError) as refusal:
            record(lambda x: spatial(x, out=torch.empty_like(x)), (X,))
        assert str(refusal.value) == (
            "PyTorch is recording a graph (torch.jit.trace, torch.export, make_fx, FakeTensorMode), and this call cannot be part of one: leave it "
            f"outside, or {WITHOUT_OUT}"
        )
    spatial(X)


def test_recorders_and_options_that_are_no_tensors():
    """They are inputs of the graph, or an error, or PyTorch warns that they are constants of it."""
    cases = [
        (lambda x, n: spatial(x, window=(n, 1)), torch.tensor(1), torch.tensor(0)),
        (lambda x, n: spatial(x, window=n), torch.tensor([1, 1]), torch.tensor([0, 0])),
        (lambda x, c: spatial(x, softcap=c), torch.tensor(2.0), torch.tensor(0.1)),
        (lambda x, d: spatial(x, scaling="mup", d_base=d), torch.tensor(4), torch.tensor(1)),
    ]
    errors = "tracing tensor|guard on data-dependent expression|Could not extract specialized integer"
    for i, record in enumerate(recorders()):
        for function, value, other in cases:
            if i == 0:
                with pytest.warns(torch.jit.TracerWarning):
                    record(function, (X, value))
                continue
            try:
                recorded = record(function, (X, value))
            except Exception as error:
                assert re.search(errors, str(error)), error
            else:
                close(recorded(X, other), function(X, other))


def test_modes_of_the_dispatcher_see_the_calls():
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Listener(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    with Listener():
        out = spatial(X)
    assert torch.ops.muattn.spatial_attention.default in seen and torch.equal(out, spatial(X))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert type(spatial(X)) is FakeTensor
        fake = mode.from_tensor(X)
    with pytest.raises(ValueError, match="q is a FakeTensor, .* or call what muattn.torch has, if it can be part of operators"):
        spatial(fake)
    assert type(muattn.torch.spatial_attention(fake, fake, fake)) is FakeTensor
    assert spatial(X.to("meta")).is_meta and channel(X.to("meta").requires_grad_()).is_meta


def test_distributed_tensors(tmp_path):
    distributed = pytest.importorskip("torch.distributed.tensor")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = distributed.init_device_mesh("cpu", (1,))
        for x in (X, X.clone().requires_grad_()):
            sharded = distributed.DTensor.from_local(x, mesh, [distributed.Shard(1)])
            with pytest.raises((ValueError, NotImplementedError), match="q is a DTensor|sharding strategy"):
                spatial(sharded)
            assert torch.equal(spatial(sharded.to_local()), spatial(x))
    finally:
        torch.distributed.destroy_process_group()


COMPILED = """
import muattn
from muattn import channel_attention as channel, merge, spatial_attention as spatial
import torch

@torch.compile(backend="eager")
def compiled(x, **options):
    out, lse = muattn.spatial_attention(x * 2, x, x, return_lse=True, **options)
    return muattn.merge(out, lse, out, lse)[0] + muattn.channel_attention(x + 1, x, x)

def eager(x, **options):
    out, lse = spatial(x * 2, x, x, return_lse=True, **options)
    return merge(out, lse, out, lse)[0] + channel(x + 1, x, x)

for n in range(4, 24, 2):
    x = torch.randn(1, 2, n, 8)
    for options in ({}, {"causal": "top_left"}, {"mask": torch.rand(1, 1, n, n) > 0.3}):
        torch.testing.assert_close(compiled(x, **options), eager(x, **options))

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)
    def forward(self, x):
        return self.linear(muattn.spatial_attention(x, x, x))

model = Model()
torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x))
def trained(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad((function(x) ** 2).sum(), x)[0]

for function in (model, lambda x: merge(*spatial(x, x, x, return_lse=True), x, x[..., 0])[0] + channel(x * 2, x, x)):
    for backend in ("eager", "aot_eager"):
        torch.testing.assert_close(trained(torch.compile(function, backend=backend), x), trained(function, x))
with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
    leaf = x.clone().requires_grad_()
    (model(leaf) ** 2).sum().backward()
torch.testing.assert_close(leaf.grad, trained(model, x))
try:
    torch.compile(lambda x: muattn.spatial_attention(x * 2, x, x), backend="eager", fullgraph=True)(x)
except torch._dynamo.exc.Unsupported as error:
    assert "muattn's plain functions are no operators of PyTorch: those of muattn.torch are" in str(error), error
else:
    raise SystemExit("there is a graph of muattn")
from torch._dynamo.convert_frame import input_codes
seen = {code().co_name for code in input_codes.seen if code() is not None}
assert "call" in seen and not seen & {"spatial_attention", "merge", "channel_attention", "refuse", "exported", "like", "needs_operator"}, seen
"""


@pytest.mark.parametrize("first", ["muattn", "torch"])
def test_compiled_functions_break_their_graph_in_silence(first):
    program = (f"import {first}\n" if first == "torch" else "") + COMPILED
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, timeout=1000)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
