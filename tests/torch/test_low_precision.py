"""16-bit tensors and int8 caches: operators bit for bit against float32's, gradients against double precision, autocast, and what calls them."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from operands import qkv
from timm.models.xcit import XCA
from torch import nn

import muattn
import muattn.torch
import muattn.torch.timm
from muattn.torch import _channel, _merge, _spatial

HALVES = [torch.bfloat16, torch.float16]


def rounded(tensors, dtype):
    """Leaves of that type."""
    return {name: x.detach().to(dtype).requires_grad_() for name, x in tensors.items()}


def float32(x):
    return x.detach().float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x


def plain(result):
    """Of the plain functions, which results with autograd are compared with."""
    return {name: x.float() if isinstance(x, torch.Tensor) else x for name, x in result.items()}


def check_spatial(q, k, v, d_out, **options):
    """out and gradients are those of float32 tensors of the same numbers, rounded; the backward pass starts from the rounded out."""
    out, lse = muattn.torch.spatial_attention(q, k, v, return_lse=True, **options)
    wide = {name: float32(x) for name, x in options.items()}
    exact, exact_lse = muattn.torch.spatial_attention(*map(float32, (q, k, v)), return_lse=True, **wide)
    assert out.dtype is q.dtype and torch.equal(out, exact.to(q.dtype)) and torch.equal(lse, exact_lse)
    names = ["q", "k", "v", *(name for name in ("mask", "sink", "scale") if isinstance(options.get(name), torch.Tensor) and options[name].requires_grad)]
    inputs = {"q": q, "k": k, "v": v, **options}
    gradients = torch.autograd.grad(out, [inputs[name] for name in names], d_out)
    with torch.no_grad():
        wanted = muattn.spatial_attention_backward(*map(float32, (q, k, v, out)), lse, d_out.float(), wanted=names, **wide)
    for name, gradient in zip(names, gradients):
        assert gradient.dtype is inputs[name].dtype and torch.equal(gradient, wanted[name].to(gradient.dtype)), name


OPTIONS = {
    "plain": {},
    "causal": {"causal": "bottom_right", "window": (7, 3)},
    "softcap": {"softcap": 2.0, "scaling": "mup", "d_base": 8},
    "boolean mask": {"mask": torch.rand(2, 1, 19, 23) < 0.6},
    "lengths": {"key_lengths": [3, 20], "output_multiplier": -0.5},
    "umup": {"scaling": "umup", "causal": "top_left"},
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("case", OPTIONS)
def test_spatial_bits(case, dtype):
    check_spatial(*rounded(qkv(H_kv=2, d=17, d_v=20), dtype).values(), torch.randn(2, 4, 19, 20).to(dtype), **OPTIONS[case])


@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_of_masks_sinks_and_scales(dtype):
    numbers = rounded({"mask": torch.randn(2, 4, 1, 23), "sink": torch.randn(4), "scale": torch.rand(4)}, dtype)
    check_spatial(*rounded(qkv(), dtype).values(), torch.randn(2, 4, 19, 16).to(dtype), **numbers)
    expanded = numbers["mask"].detach().expand(2, 4, 19, 23)
    q, k, v = rounded(qkv(), dtype).values()
    assert torch.equal(muattn.torch.spatial_attention(q, k, v, mask=expanded), muattn.torch.spatial_attention(q, k, v, mask=numbers["mask"]))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("n_q", [1, 19])
def test_caches_in_16_bits(n_q, dtype):
    q, k, v = qkv(n_q=n_q, H_kv=2).values()
    check_spatial(q, *rounded({"k": k, "v": v}, dtype).values(), torch.randn(2, 4, n_q, 16), causal="bottom_right")


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("normalize", [False, True])
def test_channel_bits(normalize, layout, dtype):
    shape = (2, 3, 37, 13) if layout == "channels_last" else (2, 3, 13, 37)
    q, k, v = rounded({name: torch.randn(shape) for name in "qkv"}, dtype).values()
    scale, d_out = torch.rand(3).to(dtype).requires_grad_(), torch.randn(shape).to(dtype)
    options = {"normalize": normalize, "layout": layout}
    out = muattn.torch.channel_attention(q, k, v, scale=scale, **options)
    exact = muattn.torch.channel_attention(*map(float32, (q, k, v)), scale=scale.detach().float(), **options)
    assert out.dtype is dtype and torch.equal(out, exact.to(dtype))
    gradients = torch.autograd.grad(out, (q, k, v, scale), d_out)
    with torch.no_grad():
        wide = map(float32, (q, k, v, d_out))
        wanted = muattn.channel_attention_backward(*wide, scale=scale.float(), wanted=("q", "k", "v", "scale"), **options)
    for gradient, name in zip(gradients, wanted):
        assert gradient.dtype is dtype and torch.equal(gradient, wanted[name].to(dtype)), name


@pytest.mark.parametrize("dtype", HALVES)
def test_packed(dtype):
    packed = torch.randn(2, 11, 5 * 8).to(dtype).requires_grad_()
    d_out = torch.randn(2, 11, 24).to(dtype)
    q, k, v = (x.unflatten(-1, (-1, 8)).transpose(1, 2) for x in packed.split((24, 8, 8), -1))
    expected = muattn.torch.spatial_attention(q, k, v, causal="top_left").transpose(1, 2).flatten(2)
    out = muattn.torch.packed_spatial_attention(packed, 3, 1, causal="top_left")
    assert torch.equal(out, expected)
    assert torch.equal(*(torch.autograd.grad(x, packed, d_out)[0] for x in (out, expected)))


@pytest.mark.parametrize("dtype", HALVES)
def test_merge_of_two_halves(dtype):
    q, k, v = rounded(qkv(), dtype).values()
    parts = [muattn.torch.spatial_attention(q, k[:, :, at], v[:, :, at], return_lse=True) for at in (slice(9), slice(9, None))]
    out, lse = muattn.torch.merge(*parts[0], *parts[1])
    exact, exact_lse = muattn.torch.merge(*(x.float() for part in parts for x in part))
    assert out.dtype is dtype and torch.equal(out, exact.to(dtype)) and torch.equal(lse, exact_lse)
    whole = muattn.torch.spatial_attention(q, k, v)
    for a, b in zip(torch.autograd.grad(out.float().sum(), (q, k, v)), torch.autograd.grad(whole.float().sum(), (q, k, v))):
        assert a.dtype is dtype
        torch.testing.assert_close(a.float(), b.float(), rtol=0.05, atol=0.05)


OPERATORS = {
    "spatial": lambda dtype: (_spatial._forward_operator, _spatial.arguments(
        **rounded(qkv(H_kv=2), dtype), scale=torch.rand(4).requires_grad_(), mask=torch.randn(1, 4, 19, 23).to(dtype).requires_grad_(), sink=torch.randn(4))),
    "mixed": lambda dtype: (_spatial._forward_operator, _spatial.arguments(
        qkv()["q"], *list(rounded(qkv(), dtype).values())[1:], output_multiplier=torch.rand(1).requires_grad_())),
    "channel": lambda dtype: (_channel._forward_operator, _channel.arguments(
        **rounded({name: torch.randn(2, 3, 37, 16) for name in "qkv"}, dtype), scale=torch.rand(3).requires_grad_(), normalize=True)),
    "merge": lambda dtype: (_merge._operator, (*2 * (torch.randn(1, 2, 5, 8).to(dtype).requires_grad_(), torch.randn(1, 2, 5)),)),
}  # fmt: skip


@pytest.mark.parametrize("case", OPERATORS)
def test_opcheck(case):
    """Types of what compiled code and meta tensors are told."""
    operator, arguments = OPERATORS[case](torch.bfloat16)
    torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))


def test_compile():
    inputs = q, k, v = tuple(rounded(qkv(), torch.bfloat16).values())
    function = lambda q, k, v: muattn.torch.spatial_attention(q, k, v, causal="top_left", mask=q[..., :1] * 0)  # noqa: E731
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    ours, theirs = compiled(*inputs), function(*inputs)
    assert ours.dtype is torch.bfloat16 and torch.equal(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(x.float().sum(), inputs) for x in (ours, theirs))):
        assert torch.equal(a, b)


def test_vmap():
    x = torch.randn(3, 2, 4, 9, 16).bfloat16()
    found = torch.func.vmap(muattn.torch.spatial_attention)(x, x, x)
    assert torch.equal(found, torch.stack([muattn.torch.spatial_attention(y, y, y) for y in x]))
    of_one = lambda y: muattn.torch.channel_attention(y, y, y, scale=1.0).float().sum()  # noqa: E731
    found = torch.func.vmap(torch.func.grad(of_one))(x)
    assert found.dtype is torch.bfloat16 and found.isfinite().all()


def test_second_derivatives_are_refused():
    x = torch.randn(1, 2, 5, 8).bfloat16().requires_grad_()
    gradient = torch.autograd.grad(muattn.torch.spatial_attention(x, x, x).sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="muattn computes first derivatives alone"):
        gradient.sum().backward()


def quantized(x):
    scale = x.abs().amax(-1, keepdim=True) / 127
    return (x / scale).round().to(torch.int8), scale


def int8_call(dtype=torch.float32, n_q=1):
    q, k, v = (x.detach() for x in qkv(H_kv=2, n_q=n_q).values())
    (k, k_scale), (v, v_scale) = quantized(k), quantized(v)
    return {"q": q.to(dtype), "k": k, "v": v, "k_scale": k_scale, "v_scale": v_scale}


def widened(call):
    """The same with the float32 numbers that the cache stands for."""
    return call["q"].float(), call["k"].float() * call["k_scale"], call["v"].float() * call["v_scale"]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.01), (torch.float16, 0.002)])
@pytest.mark.parametrize("n_q", [1, 19])
def test_int8(n_q, dtype, tolerance):
    call = int8_call(dtype, n_q)
    expected, expected_lse = muattn.torch.spatial_attention(*widened(call), causal="bottom_right", return_lse=True)
    out, lse = muattn.torch.spatial_attention(**call, causal="bottom_right", return_lse=True)
    assert out.dtype is dtype and lse.dtype is torch.float32
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(lse, expected_lse)
    flat = {**call, "k_scale": call["k_scale"][..., 0], "v_scale": call["v_scale"][..., 0]}
    assert torch.equal(muattn.torch.spatial_attention(**flat, causal="bottom_right"), out)
    assert torch.equal(muattn.spatial_attention(**call, causal="bottom_right"), out)


def test_int8_in_graphs_maps_records_and_autocast():
    call = int8_call()
    expected = muattn.torch.spatial_attention(**call)
    compiled = torch.compile(lambda call: muattn.torch.spatial_attention(**call), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(call), expected)
    stacked = {name: torch.stack([x, x]) for name, x in call.items()}
    mapped = torch.func.vmap(lambda q, k, v, k_scale, v_scale: muattn.torch.spatial_attention(q, k, v, k_scale=k_scale, v_scale=v_scale))
    assert torch.equal(mapped(*stacked.values()), torch.stack([expected, expected]))
    with muattn.torch.record_logits() as record:
        muattn.torch.spatial_attention(**call)
        muattn.spatial_attention(*widened(call)[:2], widened(call)[2])
    torch.testing.assert_close(record.calls[0].stats.rms, record.calls[1].stats.rms)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(muattn.torch.spatial_attention(**call), muattn.torch.spatial_attention(**{**call, "q": call["q"].bfloat16()}))


@pytest.mark.parametrize("changes, message", [
    (lambda x: {"q": x["q"].requires_grad_()}, "q requires a gradient, and calls with int8 keys and values have none"),
    (lambda x: {"v_scale": x["v_scale"].requires_grad_()}, "v_scale requires a gradient"),
    (lambda x: {"k_scale": None}, "k_scale must be given where k is int8"),
    (lambda x: {"k_scale": x["k_scale"].half()}, "k_scale.dtype must be float32, not float16"),
    (lambda x: {"k_scale": x["k_scale"][0]}, r"k_scale must have|k_scale.shape"),
    (lambda x: {"v": x["v"].float(), "v_scale": None}, "v.dtype must be that of k: int8, not float32"),
    (lambda x: {"k": x["k"].float(), "v": x["v"].float()}, "k_scale must be null: k is not int8"),
    (lambda x: {"k": x["k"].bfloat16(), "v": x["v"].float(), "k_scale": None, "v_scale": None}, "v.dtype must be that of k: bfloat16"),
    (lambda x: {"q": x["q"].half(), "k": x["k"].float(), "v": x["v"].float(), "k_scale": None, "v_scale": None}, "k.dtype must be that of q, float16"),
    (lambda x: {"return_stats": True}, "k.dtype: int8 is not supported"),
])  # fmt: skip
def test_refusals(changes, message):
    call = int8_call()
    with pytest.raises(ValueError, match=message):
        muattn.torch.spatial_attention(**{**call, **changes(call)})


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_errors_of_gradients_against_double_precision(dtype, is_causal):
    """One rounding at the end: at most PyTorch's error, whose kernel adds up blocks in 16 bits."""
    q, k, v = rounded(qkv(B=1, H=2, H_kv=2, n_q=700, n_k=700, d=32), dtype).values()
    d_out = torch.randn(1, 2, 700, 32).to(dtype)
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    wanted = torch.autograd.grad(F.scaled_dot_product_attention(*exact, is_causal=is_causal), exact, d_out.double())
    theirs = torch.autograd.grad(F.scaled_dot_product_attention(q, k, v, is_causal=is_causal), (q, k, v), d_out)
    ours = torch.autograd.grad(muattn.torch.spatial_attention(q, k, v, causal="top_left" if is_causal else None), (q, k, v), d_out)
    error = lambda found: max((a.double() - b).norm() / b.norm() for a, b in zip(found, wanted))  # noqa: E731
    assert error(ours) < error(theirs) and error(ours) < {torch.bfloat16: 3e-3, torch.float16: 4e-4}[dtype]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 32)
        self.tokens = muattn.torch.SpatialAttention(32, 4, causal="top_left", scaling="sp")
        self.channels = muattn.torch.ChannelAttention(32, 4, normalize=True, scaling="sp")
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 11)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.tokens(self.norm(x))
        return self.head(x + self.channels(self.norm(x)))


def step(model, x, dtype=None):
    """(loss, gradients)"""
    model.zero_grad()
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("dtype", HALVES)
def test_a_model_trains_under_autocast(dtype):
    x = torch.arange(25).remainder(11).expand(8, -1) + torch.randint(3, (8, 1))
    x = x.remainder(11)
    model = Small()
    (_, found), (_, wanted) = step(model, x, dtype), step(model, x)
    for name, gradient in found.items():
        assert gradient.dtype is torch.float32
        assert (gradient - wanted[name]).norm() < 0.05 * wanted[name].norm() + 1e-4, name
    losses = []
    for each in (dtype, None):
        torch.manual_seed(1)
        trained = Small()
        optimizer = torch.optim.Adam(trained.parameters(), lr=0.01)
        for _ in range(40):
            loss, _ = step(trained, x, each)
            optimizer.step()
        losses.append(loss)
    assert losses[0] < 0.1 and abs(losses[0] - losses[1]) < 0.02, losses


@pytest.mark.parametrize("dtype", HALVES)
def test_modules(dtype):
    model, x = Small().to(dtype), torch.randint(11, (2, 9))
    loss = model(x).float().square().mean()
    loss.backward()
    assert all(p.grad.dtype is dtype and p.grad.isfinite().all() for p in model.parameters())
    wide = copy.deepcopy(model).float()
    torch.testing.assert_close(model(x).float(), wide(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("mask", [None, "boolean", "additive", "causal"])
def test_sdpa(mask, dtype, monkeypatch):
    inputs = q, k, v = tuple(rounded(qkv(n_k=19), dtype).values())
    options = {"is_causal": True} if mask == "causal" else {} if mask is None else {
        "attn_mask": torch.rand(2, 1, 19, 19) < 0.7 if mask == "boolean" else torch.randn(19, 19).to(dtype)
    }  # fmt: skip
    d_out = torch.randn(2, 4, 19, 16).to(dtype)
    train = lambda: (out := F.scaled_dot_product_attention(q, k, v, **options), *torch.autograd.grad(out, inputs, d_out))  # noqa: E731
    theirs = train()
    calls, compute = [], _spatial.compute
    monkeypatch.setattr(_spatial, "compute", lambda *arguments: calls.append(1) or compute(*arguments))
    muattn.torch.enable_sdpa()
    try:
        ours = train()
    finally:
        muattn.torch.disable_sdpa()
    assert len(calls) == 1
    for a, b in zip(ours, theirs):
        assert a.dtype is dtype
        torch.testing.assert_close(a.float(), b.float(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("make", [lambda: XCA(48, 4), lambda: timm.layers.attention.Attention(48, 4, qk_norm=True, norm_layer=nn.LayerNorm)])
def test_timm(make, monkeypatch):
    own = make().bfloat16().eval()
    patched = copy.deepcopy(own)
    muattn.torch.timm.patch(patched)
    x = torch.randn(2, 21, 48).bfloat16()
    theirs = own(x)
    monkeypatch.setattr(type(own), "forward", None)
    torch.testing.assert_close(patched(x).float(), theirs.float(), rtol=0.05, atol=0.05)
