"""Tensors of the real PyTorch, which is not among the test requirements (3 GB): ./dev test --torch runs these."""

import pathlib
import re
import subprocess
import sys

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


def spatial(x, **options):
    return muattn.spatial_attention(**{"q": x, "k": x, "v": x, **options})


def channel(x, **options):
    return muattn.channel_attention(**{"q": x, "k": x, "v": x, **options})


X = torch.randn(1, 2, 5, 8)


def requiring(*shape):
    return torch.ones(shape).requires_grad_()


@pytest.mark.parametrize("name, call", [
    *((name, lambda name=name: spatial(X, **{name: requiring(1, 2, 5, 8)})) for name in ("q", "k", "v", "out")),
    ("mask", lambda: spatial(X, mask=requiring(1, 1, 5, 5))),
    ("scale", lambda: spatial(X, scale=requiring(2))),
    ("scale[1]", lambda: spatial(X, scale=[0.5, requiring()])),
    ("softcap", lambda: spatial(X, softcap=requiring())),
    ("scale", lambda: channel(X, scale=requiring(2, 1, 1))),
    ("output_multiplier", lambda: channel(X, output_multiplier=requiring())),
    ("out", lambda: channel(X, out=requiring(1, 2, 5, 8))),
    ("out", lambda: channel(X, out=requiring(1, 2, 5, 8) * 2)),
    ("lse_a", lambda: muattn.merge(X, requiring(1, 2, 5), X, torch.ones(1, 2, 5))),
])  # fmt: skip
def test_whatever_requires_a_gradient_is_refused(name, call):
    with pytest.raises(ValueError) as refusal:
        call()
    assert str(refusal.value) == (
        f"{name} requires a gradient, and PyTorch does not record calls of muattn: call it under torch.no_grad(), pass {name}.detach(), "
        "or wrap it in a torch.autograd.Function, whose backward() calls muattn's ..._backward()"
    )
    with torch.no_grad():
        call()
    with torch.inference_mode():
        call()


def test_gradients_of_what_was_overwritten_are_errors():
    saved = requiring(1, 2, 5, 8) * 2
    loss = (saved * saved).sum()
    with torch.no_grad():
        assert spatial(X, out=saved) is saved
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_function_of_the_quick_reference():
    page = (pathlib.Path(__file__).parents[2] / "docs/quick-reference.md").read_text()
    names = {"torch": torch, "muattn": muattn}
    exec(re.search(r"<!-- example: torch -->\n```python\n(.*?)```", page, re.DOTALL).group(1), names)
    packed_here = [torch.randn(2, 30, 3, 4, 16, requires_grad=True) for _ in range(2)]
    packed_here[1].data = packed_here[0].data.clone()
    losses = []
    for attention, leaf in zip((names["Attention"].apply, lambda *x: F.scaled_dot_product_attention(*x, is_causal=True)), packed_here):
        out = attention(*leaf.permute(2, 0, 3, 1, 4).unbind(0))
        losses.append(out.sum() + (out**2).sum())
        losses[-1].backward()
    close(*losses)
    close(packed_here[0].grad, packed_here[1].grad)


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
    logits = of_torch["scale"][:, None, None] * (of_torch["q"] @ of_torch["k"].mT)
    logits = 2 * torch.tanh(logits / 2) + of_torch["mask"]
    logits = torch.cat([logits, of_torch["sink"][:, None, None].expand(2, 4, 9, 1)], -1)
    out = torch.softmax(logits, -1)[..., :-1] @ of_torch["v"]
    ((out * d_out).sum() + (torch.logsumexp(logits, -1) * d_lse).sum()).backward()
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
            close(torch.as_tensor(x).double(), of_torch[name].grad)


def test_gradients_refuse_what_calls_refuse():
    lse = torch.zeros(1, 2, 5)
    given = {"q": X, "k": X, "v": X, "out": X, "lse": lse, "d_out": X, "d_lse": lse}
    for name in given:
        with pytest.raises(ValueError, match=f"{name} requires a gradient"):
            muattn.spatial_attention_backward(**{**given, name: given[name].clone().requires_grad_()})
    maps, squares = torch.ones(1, 2, 8, 8), torch.ones(1, 2, 8)
    given = {"map": maps, "v": X, "d_out": X, "squares": (squares, squares)}
    for name, x in {"map": maps, "v": X, "d_out": X}.items():
        with pytest.raises(ValueError, match=f"{name} requires a gradient"):
            muattn.channel_apply_backward(**{**given, name: x.clone().requires_grad_()})
    with pytest.raises(ValueError, match="k_squares requires a gradient"):
        muattn.channel_apply(maps, X, squares=(squares, squares.clone().requires_grad_()))


def test_forward_mode():
    forward = torch.autograd.forward_ad
    with forward.dual_level():
        for name in ("q", "v", "out"):
            dual = forward.make_dual(torch.randn(1, 2, 5, 8), X)
            with torch.no_grad(), pytest.raises(ValueError, match=f"{name} carries a forward-mode tangent"):
                spatial(X, **{name: dual})
            spatial(X, **{name: forward.unpack_dual(dual).primal})
        spatial(X)


def test_transforms():
    for transform in (torch.func.grad, torch.func.vmap, torch.func.functionalize, lambda f: torch.func.jvp(f, (X,), (X,))):
        with pytest.raises(ValueError, match=r"q belongs to a transform of torch.func"):
            result = transform(lambda x: spatial(x).sum())
            result(X[None] if transform is torch.func.vmap else X)


def test_recorders():
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    class Model(torch.nn.Module):
        def forward(self, x):
            return spatial(x) + 1

    def in_fake_mode(x):
        with FakeTensorMode(allow_non_fake_inputs=True):
            return spatial(x)

    recorders = [lambda x: torch.jit.trace(spatial, x), lambda x: torch.export.export(Model(), (x,), strict=False), in_fake_mode]
    recorders += [make_fx(spatial, tracing_mode=mode) for mode in ("real", "fake", "symbolic")]
    for recorder in recorders:
        with pytest.raises(ValueError, match="PyTorch is recording a graph .*: leave it outside"):
            recorder(X)
    spatial(X)


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
try:
    torch.compile(model, backend="eager")(x.clone().requires_grad_())
except ValueError as error:
    assert "requires a gradient" in str(error)
else:
    raise SystemExit("a gradient was cut off")
try:
    torch.compile(lambda x: muattn.spatial_attention(x * 2, x, x), backend="eager", fullgraph=True)(x)
except torch._dynamo.exc.Unsupported as error:
    assert "muattn's kernels are no operators of PyTorch" in str(error), error
else:
    raise SystemExit("there is a graph of muattn")
from torch._dynamo.convert_frame import input_codes
seen = {code().co_name for code in input_codes.seen if code() is not None}
assert "call" in seen and not seen & {"spatial_attention", "merge", "channel_attention", "refuse", "exported", "like"}, seen
"""


@pytest.mark.parametrize("first", ["muattn", "torch"])
def test_compiled_functions_break_their_graph_in_silence(first):
    program = (f"import {first}\n" if first == "torch" else "") + COMPILED
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, timeout=1000)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_other_kinds_mix():
    q, k, v = packed(1, 9, 1, 8)
    out = muattn.spatial_attention(q, k.numpy(), v)
    assert isinstance(out, torch.Tensor)
    np.testing.assert_allclose(out.numpy(), F.scaled_dot_product_attention(q, k, v).numpy(), rtol=2e-5, atol=2e-5)
