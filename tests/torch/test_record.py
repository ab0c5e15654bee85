"""record_logits(): which calls it notes, under which names, and that the numbers are those of the logits."""

import threading

import pytest
import torch
from logit_statistics import of_channel, of_spatial
from torch import nn
from torch.utils.checkpoint import checkpoint

import muattn
import muattn.torch
from muattn.torch import ChannelAttention, SpatialAttention, record_logits


def randn(*shape, grad=False):
    return torch.randn(shape).requires_grad_(grad)


def check_stats(call, expected):
    torch.testing.assert_close(torch.stack(call.stats, -1).double(), expected, rtol=1e-5, atol=1e-5)


class Block(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.tokens = SpatialAttention(dim, 4, 2, d_base=4, causal="top_left")
        self.channels = ChannelAttention(dim, 4, normalize=True, scaling="mup_mean")

    def forward(self, x):
        return self.channels(x + self.tokens(x))


def model():
    return nn.Sequential(Block(), nn.ModuleDict({"a": Block()})["a"])


SPATIAL = {
    "plain": {},
    "rule": {"scaling": "mup", "d_base": 4},
    "scale per head": {"scale": [0.1, 0.2, 0.3, 0.4]},
    "causal": {"causal": "bottom_right"},
    "offset": {"causal": 3, "window": (4, 0)},
    "lengths": {"key_lengths": [7, 23], "causal": [1, 5]},
    "softcap": {"softcap": 0.5},
    "bool": {"mask": torch.arange(19 * 23).reshape(1, 1, 19, 23) % 3 > 0},
    "additive": {"mask": torch.linspace(-3, 3, 19 * 23).reshape(1, 1, 19, 23)},
    "sink": {"sink": [0.5, -1.0, 2.0, 0.0]},
}


def expected_of_spatial(q, k, options):
    d = q.shape[-1]
    options = {name: x for name, x in options.items() if name != "sink"}
    scale = options.pop("scale", None) or muattn.spatial_scale(options.pop("scaling", "sp"), d, options.pop("d_base", None))
    if isinstance(options.get("causal"), (int, list)):
        options["causal"] = torch.as_tensor(options["causal"])
    return of_spatial(q, k, scale=scale, **options), scale


@pytest.mark.parametrize("options", SPATIAL.values(), ids=SPATIAL)
@pytest.mark.parametrize("call", ["plain", "operator", "trained"])
def test_spatial(options, call):
    q, k, v = (randn(2, heads, n, 16, grad=call == "trained") for heads, n in ((4, 19), (2, 23), (2, 23)))
    function = muattn.spatial_attention if call == "plain" else muattn.torch.spatial_attention
    with record_logits() as record:
        out = function(q, k, v, **options)
    [found] = record.calls
    torch.testing.assert_close(found.output, out.detach().abs().mean((-2, -1)))
    expected, scale = expected_of_spatial(q, k, options)
    assert found[:2] == ("", "spatial_attention") and (found.index, found.d, found.n_q, found.n_k, found.tokens) == (0, 16, 19, 23, 23)
    assert found.scale == pytest.approx(scale)
    assert all(x.shape == (2, 4) and not x.requires_grad for x in found.stats)
    check_stats(found, expected)


CHANNEL = {
    "plain": {},
    "rule": {"scaling": "mup", "d_base": 4},
    "temperatures": {"scale": [1.0, 2.0, 3.0, 4.0], "normalize": True},
    "first": {"layout": "channels_first"},
}


@pytest.mark.parametrize("options", CHANNEL.values(), ids=CHANNEL)
@pytest.mark.parametrize("call", ["plain", "map", "operator", "trained"])
def test_channel(options, call):
    shape = (2, 4, 24, 37) if "layout" in options else (2, 4, 37, 24)
    q, k, v = (randn(*shape, grad=call == "trained") for _ in range(3))
    function = muattn.channel_attention if call in ("plain", "map") else muattn.torch.channel_attention
    with record_logits() as record:
        out = function(q, k, v, **options, **({"return_map": True} if call == "map" else {}))
    [found] = record.calls
    torch.testing.assert_close(found.output, (out[0] if call == "map" else out).detach().abs().mean((-2, -1)))
    scale = options.get("scale", 37**-0.5)
    assert (found.operation, found.d, found.n_q, found.n_k, found.tokens) == ("channel_attention", 24, 24, 24, 37)
    assert found.scale == pytest.approx(scale)
    check_stats(found, of_channel(q, k, scale=scale, **{name: x for name, x in options.items() if name in ("normalize", "layout")}))


def test_channels_without_tokens():
    """Which a call takes; the rule's scale is that of one token then."""
    q = torch.empty(2, 4, 0, 8)
    with record_logits() as record:
        muattn.channel_attention(q, q, q)
        muattn.torch.channel_attention(q, q, q)
    assert [(call.scale, call.tokens) for call in record.calls] == [(1, 0), (1, 0)]


def names(record):
    return [(call.module, call.operation, call.index) for call in record.calls]


OF_MODEL = [(f"{i}.{name}", f"{operation}_attention", 0) for i in (0, 1) for name, operation in (("tokens", "spatial"), ("channels", "channel"))]


@pytest.mark.parametrize("grad", [True, False])
def test_modules(grad):
    net, x = model(), randn(2, 11, 32)
    with torch.set_grad_enabled(grad), record_logits() as record:
        first = net(x)
        net(x)
    assert names(record) == 2 * OF_MODEL
    assert torch.equal(first, net(x)) and len(record.calls) == 8  # the same result, and nothing noted when it is over
    q, k, _ = net[0].tokens.qkv(x).split([32, 16, 16], -1)
    q, k = (y.unflatten(-1, (-1, 8)).transpose(1, 2) for y in (q, k))
    check_stats(record.calls[0], of_spatial(q.detach(), k.detach(), scale=2 / 8, causal="top_left"))
    assert record.calls[0].scale == 0.25 and record.calls[1].scale == [1, 1, 1, 1]


def test_several_calls_of_a_module():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.hidden = Block(), [Block()]  # hidden is no child

        def forward(self, x):
            q = x.unflatten(-1, (4, -1)).transpose(1, 2)
            muattn.torch.spatial_attention(q, q, q)
            self.inner(self.inner(x))
            return self.hidden[0](x)

    with record_logits() as record:
        nn.ModuleDict({"a": Twice()})["a"](randn(1, 5, 32))
        q = randn(1, 2, 5, 4)
        muattn.torch.spatial_attention(q, q, q)
        muattn.spatial_attention(q, q, q)
    spatial, channel = "spatial_attention", "channel_attention"
    assert names(record) == [
        ("", spatial, 0), ("inner.tokens", spatial, 0), ("inner.channels", channel, 0), ("inner.tokens", spatial, 1), ("inner.channels", channel, 1),
        ("", spatial, 1), ("", channel, 2), ("", spatial, 0), ("", spatial, 1),
    ]  # fmt: skip


def test_records_in_records_and_errors():
    net, x = model(), randn(2, 11, 32)
    with record_logits() as outer:
        net(x)
        with pytest.raises(ZeroDivisionError), record_logits() as inner:
            net[0].channels(x)
            1 / 0
        with pytest.raises(ValueError):
            net[1](randn(2, 11, 31))  # in the middle of modules' forwards
        net[0](x)
    assert names(outer) == OF_MODEL + [("", "channel_attention", 0), ("tokens", "spatial_attention", 0), ("channels", "channel_attention", 0)]
    assert names(inner) == [("", "channel_attention", 0)]
    hooks = torch.nn.modules.module
    assert not hooks._global_forward_hooks and not hooks._global_forward_pre_hooks and muattn._torch.recorder is None


def test_threads():
    net, x, failures = model(), randn(2, 11, 32), []

    def run():
        with record_logits() as mine:
            for _ in range(5):
                net(x)
        if len(mine.calls) < 20:
            failures.append(len(mine.calls))

    with record_logits() as record:
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    assert sorted(names(record)) == sorted(20 * OF_MODEL)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_are_noted_once(reentrant):
    net, x = model(), randn(2, 11, 32, grad=True)
    with record_logits() as record:
        checkpoint(net, x, use_reentrant=reentrant).sum().backward()
    assert names(record) == OF_MODEL


def test_vmap():
    q = randn(3, 2, 4, 9, 8)
    with record_logits() as record:
        torch.func.vmap(lambda x: muattn.torch.spatial_attention(x, x, x))(q)
        torch.func.vmap(lambda x, n: muattn.torch.spatial_attention(x, x, x, key_lengths=n))(q, torch.tensor([[9, 9], [5, 6], [3, 4]]))
        torch.func.grad(lambda x: muattn.torch.channel_attention(x, x, x).sum())(q[0])
    folded, *entries, channel = record.calls
    assert folded.stats.rms.shape == (2, 12) and len(entries) == 3 and channel.operation == "channel_attention"
    check_stats(folded, of_spatial(q.transpose(0, 1).flatten(1, 2), q.transpose(0, 1).flatten(1, 2), scale=8**-0.5))
    check_stats(entries[1], of_spatial(q[1], q[1], scale=8**-0.5, key_lengths=[5, 6]))


@pytest.mark.filterwarnings("ignore:Using `torch.compile")
def test_compiled():
    net, x = model(), randn(2, 11, 32)
    with record_logits() as eager:
        net(x)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    with record_logits() as first:  # the graph is made here
        compiled(x).sum().backward()
    with record_logits() as second:
        compiled(x)
    with torch.compiler.set_stance("force_eager"), record_logits() as forced:
        compiled(x)
    for record in (first, second):
        assert [(call.module, call.operation) for call in record.calls] == [("", operation) for _, operation, _ in OF_MODEL]
        for ours, theirs in zip(record.calls, eager.calls):
            torch.testing.assert_close(torch.stack(ours.stats), torch.stack(theirs.stats))
    assert names(forced) == names(eager) == OF_MODEL


@pytest.mark.filterwarnings("ignore:Using `torch.compile")
def test_compiled_part():
    net, x = model(), randn(2, 11, 32)
    net[1] = torch.compile(net[1], backend="aot_eager")
    with record_logits() as record:
        net(x)
    assert [call.module for call in record.calls] == ["0.tokens", "0.channels", "1", "1"]


def test_sdpa_and_modules_of_pytorch():
    muattn.torch.enable_sdpa()
    try:
        layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False)
        with record_logits() as record:
            layer(randn(2, 7, 32))
            q = randn(1, 2, 5, 8, grad=True)
            nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True, scale=0.5).sum().backward()
    finally:
        muattn.torch.disable_sdpa()
    assert names(record) == [(name, "spatial_attention", 0) for name in ("layers.0.self_attn", "layers.1.self_attn", "")]
    check_stats(record.calls[-1], of_spatial(q.detach(), q.detach(), scale=0.5, causal="top_left"))


def test_timm():
    timm = pytest.importorskip("timm")
    net = timm.create_model("xcit_nano_12_p16_224", img_size=32, depth=2).eval()
    muattn.torch.timm.patch(net)
    with record_logits() as record:
        net(randn(1, 3, 32, 32))
    assert names(record)[:2] == [("blocks.0.attn", "channel_attention", 0), ("blocks.1.attn", "channel_attention", 0)]


def test_transformers():
    transformers = pytest.importorskip("transformers")
    muattn.torch.transformers.register()
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, **heads)
    net = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="muattn")
    with record_logits() as record:
        net(torch.randint(61, (2, 9)))
    assert names(record) == [(f"model.layers.{i}.self_attn", "spatial_attention", 0) for i in (0, 1)]
    assert record.calls[0].scale == pytest.approx(8**-0.5)


def test_restormer_and_monai():
    pytest.importorskip("monai")
    from monai.networks.blocks.cablock import CABlock

    block = CABlock(2, dim=16, num_heads=4, bias=False)
    assert muattn.torch.monai.patch(block) == 1
    with record_logits() as record:
        nn.Sequential(block, muattn.torch.restormer.MDTA(16, 4))(randn(1, 16, 6, 5))
    assert names(record) == [("0", "channel_attention", 0), ("1", "channel_attention", 0)]


def test_autocast_and_modes():
    q = randn(2, 4, 9, 8)
    with record_logits() as record:
        with torch.autocast("cpu", torch.bfloat16):
            muattn.torch.spatial_attention(q.bfloat16(), q.bfloat16(), q.bfloat16())
        with torch.inference_mode():
            muattn.torch.spatial_attention(q, q, q)
        with torch.utils.flop_counter.FlopCounterMode(display=False):
            muattn.torch.spatial_attention(q, q, q)
        with torch._subclasses.FakeTensorMode() as mode:
            muattn.torch.spatial_attention(*3 * [mode.from_tensor(q)])  # computes nothing
    assert len(record.calls) == 3
