"""Small models of transformers with random weights, and how they train with muattn and without."""

import contextlib

import pytest
import torch

transformers = pytest.importorskip("transformers")

import muattn.torch.transformers  # noqa: E402: transformers first

WORDS, WINDOW, LENGTH = 61, 5, 13
COMMON = {
    "vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None,
}
GROUPED = {**COMMON, "num_key_value_heads": 2, "head_dim": 12}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
DECODERS = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2, bos_token_id=1, eos_token_id=None, pad_token_id=0,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, scale_attn_by_inverse_layer_idx=True,
    ),
    "llama": lambda: transformers.LlamaConfig(**GROUPED),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, sliding_window=WINDOW),
    "gemma2": lambda: transformers.Gemma2Config(**GROUPED, **MIXED, attn_logit_softcapping=2.0, query_pre_attn_scalar=5),
    "gemma3": lambda: transformers.Gemma3TextConfig(**GROUPED, **MIXED),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, **MIXED, use_sliding_window=True),
    "gpt_oss": lambda: transformers.GptOssConfig(**GROUPED, **MIXED, num_local_experts=2, num_experts_per_tok=1),
    "granite": lambda: transformers.GraniteConfig(**GROUPED, attention_multiplier=0.6),
}


@pytest.fixture(autouse=True, scope="module")
def registered():
    """On one thread: PyTorch's wait for each other longer than such models take, where others want the cores."""
    muattn.torch.transformers.register()
    muattn.torch.transformers.register()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@contextlib.contextmanager
def spied(monkeypatch):
    """The arguments of each call of muattn's."""
    calls, function = [], muattn.torch.transformers.spatial_attention

    def call(*arguments, **options):
        calls.append(options)
        return function(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(muattn.torch.transformers, "spatial_attention", call)
        yield calls


def decoder(name, **changes):
    torch.manual_seed(1)
    config = DECODERS[name]()
    for key, value in changes.items():
        setattr(config, key, value)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "sinks" in key:
                parameter.normal_()
    return model.eval()


def padded(padding, batch=3):
    """(tokens, attention_mask). The first sequence is the longest."""
    tokens = torch.randint(2, WORDS, (batch, LENGTH))
    if padding == "none":
        return tokens, None
    mask = torch.ones(batch, LENGTH, dtype=torch.int64)
    for b in range(1, batch):
        if padding == "left":
            mask[b, : 3 * b] = 0
        else:
            mask[b, -3 * b :] = 0
    return tokens.masked_fill(mask == 0, 0), mask


def train(model, counts, **inputs):
    """Logits where counts says so, and all gradients."""
    model.zero_grad()
    out = model(**inputs)
    found = out.logits if hasattr(out, "logits") else out.last_hidden_state
    found = found if counts is None else found[counts.bool()]
    weights = torch.linspace(-1, 1, found.numel()).reshape(found.shape).to(found.dtype)
    (found * weights).sum().backward()
    return {"logits": found.detach(), **{name: x.grad.clone() for name, x in model.named_parameters() if x.grad is not None}}


def assert_same(ours, theirs):
    """"eager" in double precision would be no reference: its softmax stays in float32, and is NaN where a query sees nothing."""
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        error = (ours[name] - wanted).abs().max().item()
        assert error <= 2e-5 * max(1.0, wanted.abs().max().item()), f"{name}: off by {error:.3g}"


def check_training(model, monkeypatch, counts=None, calls=2, **inputs):
    """Returns what muattn was called with."""
    theirs = train(model, counts, **inputs)
    model.set_attn_implementation("muattn")
    with spied(monkeypatch) as seen:
        ours = train(model, counts, **inputs)
    assert len(seen) == calls
    assert_same(ours, theirs)
    return seen
