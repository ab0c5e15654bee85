"""attn_implementation="muattn" against transformers' own "eager": training, generation, and what stays with transformers."""

import inspect

import pytest
import torch

from small_transformers import (  # noqa: F401
    COMMON, DECODERS, LENGTH, WINDOW, WORDS, assert_same, check_training, decoder, padded, registered, spied, train, transformers,
)

CACHE = "cache" if "cache" in inspect.signature(transformers.LlamaModel.forward).parameters else "past_key_values"
WINDOWS = {"mistral": 2, "gemma2": 1, "gemma3": 1, "qwen3": 1, "gpt_oss": 1}  # how many layers of two


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("name", DECODERS)
def test_decoders(name, padding, monkeypatch):
    tokens, mask = padded(padding)
    model = decoder(name)
    seen = check_training(model, monkeypatch, mask, input_ids=tokens, attention_mask=mask, use_cache=False)
    assert sum(call.get("window") == (WINDOW - 1, 0) for call in seen) == WINDOWS.get(name, 0)
    for call in seen:  # no matrix
        assert call["causal"] == 0
        assert call.get("mask") is None or (padding == "left" and call["mask"].shape == (3, 1, 1, LENGTH))
        assert (call.get("key_lengths") is not None) == (padding == "right")
        assert call["softcap"] == (2.0 if name == "gemma2" else None)
        assert (call["sink"] is not None) == (name == "gpt_oss")
    if name == "gpt_oss":
        assert all(layer.self_attn.sinks.grad.abs().max() > 1e-3 for layer in model.model.layers)


def generate(model, tokens, mask, monkeypatch, cache):
    with spied(monkeypatch) as seen:
        found = model.generate(
            tokens, attention_mask=mask, max_new_tokens=9, do_sample=False, cache_implementation=cache, output_logits=True,
            return_dict_in_generate=True,
        )
    return found.sequences, torch.stack(found.logits), seen


@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize("name", DECODERS)
def test_generation(name, cache, padding, monkeypatch):
    tokens, mask = padded(padding)
    mask = torch.ones_like(tokens) if mask is None else mask
    model = decoder(name)
    theirs, their_logits, _ = generate(model, tokens, mask, monkeypatch, cache)
    model.set_attn_implementation("muattn")
    ours, our_logits, seen = generate(model, tokens, mask, monkeypatch, cache)
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(our_logits, their_logits, rtol=1e-4, atol=1e-4)
    assert len(seen) == 2 * 9
    for call in seen:  # rows, no matrix
        assert call.get("mask") is None or call["mask"].shape[1:3] == (1, 1)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
def test_several_tokens_after_a_cache(name, padding, cache, monkeypatch):
    """Where keys are more than queries, causal counts from the last."""
    tokens, mask = padded(padding)
    model = decoder(name)
    caches = {
        "dynamic": lambda: transformers.DynamicCache(config=model.config),
        "static": lambda: transformers.StaticCache(config=model.config, max_cache_len=16),
    }
    found = {}
    for kind in ("eager", "muattn"):
        model.set_attn_implementation(kind)
        past = caches[cache]()
        parts = []
        with torch.no_grad(), spied(monkeypatch) as seen:
            for first, last in ((0, 4), (4, 11), (11, 13)):
                inputs = {"input_ids": tokens[:, first:last], "attention_mask": None if mask is None else mask[:, :last]}
                parts.append(model(**inputs, **{CACHE: past}, use_cache=True).logits)
        found[kind] = {"logits": torch.cat(parts, 1)[slice(None) if mask is None else mask.bool()]}
    assert len(seen) == 6
    assert {call["causal"] for call in seen} >= {0, 4, 11 if name == "llama" else 4}
    assert_same(found["muattn"], found["eager"])


def bert(**options):
    config = transformers.BertConfig(**COMMON, hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    return transformers.BertModel(config, add_pooling_layer=False).eval()


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_bert(padding, monkeypatch):
    tokens, mask = padded(padding)
    model = bert()
    model.set_attn_implementation("eager")
    for call in check_training(model, monkeypatch, mask, input_ids=tokens, attention_mask=mask):
        assert call.get("causal") is None and call.get("window") is None
        assert (call.get("mask") is not None) == (padding == "left") and (call.get("key_lengths") is not None) == (padding == "right")


def test_vit(monkeypatch):
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=24, patch_size=8, hidden_dropout_prob=0,
        attn_implementation="eager",
    )
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    check_training(model, monkeypatch, pixel_values=torch.randn(2, 3, 24, 24))


def t5():
    config = transformers.T5Config(
        vocab_size=WORDS, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0,
        eos_token_id=None,
    )
    return transformers.T5ForConditionalGeneration._from_config(config, attn_implementation="eager").eval()


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_learned_biases_of_positions(padding, monkeypatch):
    """T5's, in its encoder, its decoder and between them."""
    tokens, mask = padded(padding)
    counts = torch.ones(3, 7, dtype=torch.int64)
    check_training(
        t5(), monkeypatch, counts, calls=6, input_ids=tokens, attention_mask=mask, decoder_input_ids=torch.randint(2, WORDS, (3, 7)), use_cache=False,
    )


@pytest.mark.parametrize("cache", [None, "static"])
def test_generation_by_an_encoder_and_a_decoder(cache, monkeypatch):
    tokens, mask = padded("right")
    model = t5()
    theirs, their_logits, _ = generate(model, tokens, mask, monkeypatch, cache)
    model.set_attn_implementation("muattn")
    ours, our_logits, seen = generate(model, tokens, mask, monkeypatch, cache)
    assert torch.equal(ours, theirs) and len(seen) == 2 + 4 * 9
    torch.testing.assert_close(our_logits, their_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize("case", ["float64", "dropout", "weights"])
def test_what_stays_with_transformers(case, padding, name, monkeypatch):
    """Bit for bit what "sdpa" gives, or "eager" where that has no softcap or sinks."""
    if case == "float64" and name == "gpt_oss":
        pytest.skip("its experts take no float64")
    tokens, mask = padded(padding)
    model = decoder(name, attention_dropout=0.5 if case == "dropout" else 0.0)
    inputs = {"input_ids": tokens, "attention_mask": mask, "use_cache": False, "output_attentions": case == "weights"}
    if case == "float64":
        model = model.double()
    if case == "dropout":
        model.train()
    found = {}
    for kind in ("sdpa" if name == "llama" and case != "weights" else "eager", "muattn"):
        model.set_attn_implementation(kind)
        torch.manual_seed(5)
        with spied(monkeypatch) as seen:
            found[kind] = train(model, mask, **inputs)
        assert not seen
        if case == "weights":
            weights = model(**inputs).attentions
            assert len(weights) == 2 and all(x.shape == (3, 4, LENGTH, LENGTH) for x in weights)
    theirs, ours = found.values()
    for key, wanted in theirs.items():
        torch.testing.assert_close(ours[key], wanted, rtol=0, atol=0, equal_nan=True)


def test_autocast(monkeypatch):
    tokens, mask = padded("left")
    model = decoder("mistral")
    found = {}
    for kind in ("sdpa", "muattn"):
        model.set_attn_implementation(kind)
        with torch.autocast("cpu", torch.bfloat16):
            found[kind] = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits[mask.bool()]
    torch.testing.assert_close(found["muattn"], found["sdpa"], rtol=0.1, atol=0.1)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant, monkeypatch):
    tokens, mask = padded("left")
    model = decoder("gpt_oss")
    theirs = train(model, mask, input_ids=tokens, attention_mask=mask, use_cache=False)
    model.set_attn_implementation("muattn")
    enable = getattr(model.train(), "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": reentrant})
    with spied(monkeypatch) as seen:
        ours = train(model, mask, input_ids=tokens, attention_mask=mask, use_cache=False)
    assert len(seen) == 4
    assert_same(ours, theirs)


@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize("whole", [True, False])
def test_compile(whole, padding, monkeypatch):
    tokens, mask = padded(padding)
    model = decoder("mistral" if whole or padding == "left" else "llama")
    theirs = train(model, mask, input_ids=tokens, attention_mask=mask, use_cache=False)
    model.set_attn_implementation("muattn")
    called = []

    def backend(graph, inputs):
        called.extend(node.target for node in graph.graph.nodes)
        return graph

    breaks = not whole and padding == "left"  # a Mask, which the layer is given, is no part of graphs
    for module in [model] if whole else model.model.layers:
        module.compile(backend=backend, fullgraph=not breaks)
    with spied(monkeypatch) as seen:
        assert_same(train(model, mask, input_ids=tokens, attention_mask=mask, use_cache=False), theirs)
    assert len(seen) == 2 if breaks else called.count(torch.ops.muattn.spatial_attention.default) == 2


def test_refusals():
    q = torch.randn(1, 2, 3, 8)
    attention, module = transformers.AttentionInterface()["muattn"], torch.nn.Module()
    with pytest.raises(NotImplementedError, match="indices=.*eager"):
        attention(module, q, q, q, None, indices=torch.zeros(1, 3, 1))
    with pytest.raises(NotImplementedError, match="Module asks for .* softcap"):
        attention(module, q, q, q, None, softcap=2.0, dropout=0.5)
    with pytest.raises(NotImplementedError, match="deepseek_v4"):
        transformers.AttentionMaskInterface()["muattn"](config=transformers.DeepseekV4Config(), batch_size=1, q_length=3, kv_length=3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
def test_16_bits(name, padding, dtype, monkeypatch):
    """As close to float32 as their own, which is "sdpa" or, with softcap or sinks, "eager"."""
    tokens, mask = padded(padding)
    inputs = {"input_ids": tokens, "attention_mask": mask, "use_cache": False}
    model = decoder(name)
    exact = train(model, mask, **inputs)
    model = model.to(dtype)
    found = {}
    for kind in ("sdpa" if name == "llama" else "eager", "muattn"):
        model.set_attn_implementation(kind)
        with spied(monkeypatch) as seen:
            found[kind] = train(model, mask, **inputs)
    theirs, ours = found.values()
    assert len(seen) == 2
    for key, wanted in exact.items():
        assert ours[key].dtype is dtype
        assert (ours[key] - wanted).norm() <= 2 * (theirs[key] - wanted).norm() + 0.01 * wanted.norm(), key
