"""scaled_dot_product_attention on muattn's kernels, alone and in what calls it, against PyTorch's own."""

import contextlib

import pytest
import torch
import torch.nn.functional as F

import muattn
import muattn.torch


@contextlib.contextmanager
def sdpa():
    muattn.torch.enable_sdpa()
    try:
        yield
    finally:
        muattn.torch.disable_sdpa()


@contextlib.contextmanager
def counted(monkeypatch):
    """How many calls reached muattn's kernels, both ways."""
    from muattn.torch import _spatial

    calls = {"compute": 0, "compute_gradients": 0}

    def counting(name):
        function = getattr(_spatial, name)

        def call(*arguments):
            calls[name] += 1
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in calls:
            patch.setattr(_spatial, name, counting(name))
        yield calls


def qkv(H_kv=4, n_q=19, n_k=23, d=16):
    return [torch.randn(2, 4, n_q, d, requires_grad=True), *(torch.randn(2, H_kv, n_k, d, requires_grad=True) for _ in range(2))]


def both_ways(function, inputs, monkeypatch, expected_calls):
    """Results and gradients with muattn and without."""
    theirs = train(function, inputs)
    with sdpa(), counted(monkeypatch) as calls:
        ours = train(function, inputs)
    assert (calls["compute"], calls["compute_gradients"]) == expected_calls
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def train(function, inputs):
    out = function(*inputs)
    weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out.dtype)
    return out, *torch.autograd.grad((out * weights).sum(), inputs)


CASES = {
    "plain": ({}, {}),
    "causal": ({}, {"is_causal": True}),
    "grouped": ({"H_kv": 2}, {"enable_gqa": True}),
    "scale": ({}, {"scale": 0.7}),
    "boolean mask": ({}, {"attn_mask": torch.rand(2, 1, 19, 23) < 0.6}),
    "mask": ({}, {"attn_mask": torch.randn(2, 4, 19, 23)}),
    "mask of two dimensions": ({}, {"attn_mask": torch.randn(19, 23)}),
    "one query": ({"n_q": 1}, {}),
    "d = 1": ({"d": 1}, {}),
    "large d": ({"d": 320}, {"is_causal": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_sdpa(case, monkeypatch):
    shape, options = CASES[case]
    both_ways(lambda *x: F.scaled_dot_product_attention(*x, **options), qkv(**shape), monkeypatch, (1, 1))


def test_a_row_that_sees_nothing(monkeypatch):
    seen = torch.rand(2, 1, 19, 23) < 0.5
    seen[:, :, 3] = False
    both_ways(lambda *x: F.scaled_dot_product_attention(*x, attn_mask=seen), qkv(), monkeypatch, (1, 1))


LEFT = {
    "float64": lambda *x: F.scaled_dot_product_attention(*(y.double() for y in x)),
    "v is wider": lambda q, k, v: F.scaled_dot_product_attention(q, k, torch.cat([v, v], -1)),
    "mask with a gradient": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=q.sum(-1, keepdim=True).expand(2, 4, 19, 23)),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_stays_with_pytorch(case, monkeypatch):
    both_ways(LEFT[case], qkv(), monkeypatch, (0, 0))


def test_dropout_stays_with_pytorch(monkeypatch):
    with sdpa(), counted(monkeypatch) as calls:
        F.scaled_dot_product_attention(*qkv(), dropout_p=0.5).sum().backward()
    assert calls == {"compute": 0, "compute_gradients": 0}


@pytest.mark.parametrize("mask", [None, "causal"])
def test_multihead_attention(mask, monkeypatch):
    layer = torch.nn.MultiheadAttention(32, 4, batch_first=True)
    allowed = None if mask is None else torch.nn.Transformer.generate_square_subsequent_mask(9)
    both_ways(
        lambda x: layer(x, x, x, need_weights=False, attn_mask=allowed, is_causal=mask is not None)[0], [torch.randn(2, 9, 32, requires_grad=True)],
        monkeypatch, (1, 1),
    )


def test_compile(monkeypatch):
    with sdpa(), counted(monkeypatch) as calls:
        compiled = torch.compile(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), fullgraph=True)
        inputs = qkv()
        ours = train(compiled, inputs)
    assert calls["compute"] and calls["compute_gradients"]
    for a, b in zip(ours, train(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), inputs)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_vmap(monkeypatch):
    x = torch.randn(3, 2, 4, 9, 16)
    expected = F.scaled_dot_product_attention(x, x, x)
    with sdpa(), pytest.warns(UserWarning, match="batching rule"):
        torch.testing.assert_close(torch.vmap(F.scaled_dot_product_attention)(x, x, x), expected)


def test_threads_of_one_process_take_turns():
    """Enabled and disabled again and again, and twice in a row."""
    x = torch.randn(1, 2, 5, 8)
    expected = F.scaled_dot_product_attention(x, x, x)
    for _ in range(3):
        muattn.torch.enable_sdpa()
        muattn.torch.enable_sdpa()
        assert muattn.last_kernel() is not None
        torch.testing.assert_close(F.scaled_dot_product_attention(x, x, x), expected)
        muattn.torch.disable_sdpa()
        muattn.torch.disable_sdpa()
        assert torch.equal(F.scaled_dot_product_attention(x, x, x), expected)


def of_module(module, shape, forward, monkeypatch, calls):
    """Results and gradients of a module of another package, by its input and by all parameters that have one, with muattn and without."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    x = torch.randn(shape, requires_grad=True)
    used = torch.autograd.grad(forward(module, x).sum(), [x, *module.parameters()], allow_unused=True)
    parameters = [p for p, gradient in zip(module.parameters(), used[1:]) if gradient is not None]
    assert parameters
    both_ways(lambda *_: forward(module, x), [x, *parameters], monkeypatch, calls)


def timm_attention():
    timm_layers = pytest.importorskip("timm.layers.attention")
    layer = timm_layers.Attention(32, 4, qkv_bias=True)
    assert layer.fused_attn
    return layer, (2, 9, 32), lambda module, x: module(x), 1


def diffusers_attention():
    processor = pytest.importorskip("diffusers.models.attention_processor")
    layer = processor.Attention(32, heads=4, dim_head=8, bias=True)
    assert type(layer.processor) is processor.AttnProcessor2_0
    return layer, (2, 9, 32), lambda module, x: module(x), 1


def diffusers_cross_attention():
    """With a mask of keys, one row for all queries."""
    processor = pytest.importorskip("diffusers.models.attention_processor")
    layer = processor.Attention(32, cross_attention_dim=24, heads=4, dim_head=8)
    context, mask = torch.randn(2, 7, 24), torch.zeros(2, 1, 7).masked_fill(torch.rand(2, 1, 7) < 0.4, -10000.0)
    return layer, (2, 9, 32), lambda module, x: module(x, encoder_hidden_states=context, attention_mask=mask), 1


def diffusers_images():
    """A block of a Transformer that denoises images, self and cross attention in each of two layers."""
    models = pytest.importorskip("diffusers.models")
    model = models.Transformer2DModel(num_attention_heads=2, attention_head_dim=8, in_channels=32, num_layers=2, cross_attention_dim=24, norm_num_groups=4)
    context = torch.randn(2, 7, 24)
    return model, (2, 32, 4, 4), lambda module, x: module(x, encoder_hidden_states=context, return_dict=False)[0], 4


def transformers_model(name, **options):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, name + "Config")(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, attn_implementation="sdpa", **options
    )
    model = getattr(transformers, name + "Model")(config).eval()  # without dropout
    assert model.config._attn_implementation == "sdpa"
    seen = torch.ones(2, 9, dtype=torch.long)
    seen[1, 5:] = 0
    return model, (2, 9, 32), lambda module, x: module(inputs_embeds=x, attention_mask=seen).last_hidden_state[seen.bool()], 2


MODULES = {
    "timm": timm_attention,
    "diffusers": diffusers_attention,
    "diffusers, across": diffusers_cross_attention,
    "diffusers, a model": diffusers_images,
    "transformers, a decoder": lambda: transformers_model("Llama", num_key_value_heads=2),
    "transformers, an encoder": lambda: transformers_model("Bert"),
}


@pytest.mark.parametrize("case", MODULES)
def test_what_calls_it(case, monkeypatch):
    module, shape, forward, layers = MODULES[case]()
    of_module(module, shape, forward, monkeypatch, (layers, layers))


@pytest.mark.skipif(not hasattr(torch.nn.attention, "restore_flash_attention_impl"), reason="this PyTorch has no registry that ends")
def test_the_registry_of_pytorch(monkeypatch):
    x = torch.randn(1, 2, 5, 8)
    assert "muattn" in torch.nn.attention.list_flash_attention_impls()
    torch.nn.attention.activate_flash_attention_impl("muattn")
    try:
        with counted(monkeypatch) as calls:
            F.scaled_dot_product_attention(x, x, x)
        assert calls["compute"] == 1
    finally:
        torch.nn.attention.restore_flash_attention_impl()
    with counted(monkeypatch) as calls:
        F.scaled_dot_product_attention(x, x, x)
    assert calls["compute"] == 0


@pytest.mark.skipif(not hasattr(torch.nn.attention, "activate_flash_attention_impl"), reason="this PyTorch has no registry")
@pytest.mark.parametrize("registry_first", [True, False])
def test_both_ways_at_once(registry_first, monkeypatch):
    """The kernels are there until both are undone, whichever is first, and PyTorch's own are found behind them."""
    ways = [
        (lambda: torch.nn.attention.activate_flash_attention_impl("muattn"), torch.nn.attention.restore_flash_attention_impl),
        (muattn.torch.enable_sdpa, muattn.torch.disable_sdpa),
    ]
    (begin_a, end_a), (begin_b, end_b) = ways if registry_first else ways[::-1]
    x = torch.randn(1, 2, 5, 8)
    expected = F.scaled_dot_product_attention(x.double(), x.double(), x.double())
    for step, count in ((begin_a, 1), (begin_b, 1), (end_a, 1), (end_b, 0)):
        step()
        with counted(monkeypatch) as calls:
            F.scaled_dot_product_attention(x, x, x)
            assert torch.equal(F.scaled_dot_product_attention(x.double(), x.double(), x.double()), expected)
        assert calls["compute"] == count
