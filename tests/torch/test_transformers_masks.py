"""The masks of attn_implementation="muattn": which are options of the kernels, which are matrices, and that both are transformers'."""

import copy
import pickle

import pytest
import torch

from small_transformers import (  # noqa: F401
    COMMON, DECODERS, LENGTH, MIXED, WINDOW, WORDS, assert_same, check_training, decoder, padded, registered, train, transformers,
)

from muattn.torch._transformers_masks import Mask  # where there are transformers


@pytest.mark.parametrize("padding", ["none", "right"])
def test_windows_both_ways(padding, monkeypatch):
    tokens, mask = padded(padding)
    config = transformers.ModernBertConfig(
        **COMMON, layer_types=MIXED["layer_types"], local_attention=6, cls_token_id=1, sep_token_id=1, embedding_dropout=0, mlp_dropout=0,
        attention_dropout=0, attn_implementation="eager",
    )
    model = transformers.ModernBertModel(config).eval()
    windowed, full = check_training(model, monkeypatch, mask, input_ids=tokens, attention_mask=mask)
    assert windowed["window"] == (3, 3) and windowed.get("causal") is None and windowed.get("mask") is None
    assert full.get("window") is None and (full.get("key_lengths") is not None) == (padding == "right")


def test_a_decoder_that_sees_both_ways(monkeypatch):
    tokens, mask = padded("none")
    model = decoder("llama", is_causal=False)
    assert all(call.get("causal") is None for call in check_training(model, monkeypatch, input_ids=tokens, use_cache=False))


def of_user(**inputs):
    tokens = torch.randint(2, WORDS, (2, LENGTH))
    return {"input_ids": tokens, "use_cache": False, **inputs}


MATRICES = {
    "a function of the model's": of_user(),  # Gemma 3's, for embeddings
    "packed sequences": of_user(position_ids=torch.tensor([[*range(4), *range(9)]]).expand(2, -1)),
    "a mask of the user's, boolean": of_user(attention_mask=torch.ones(2, 1, LENGTH, LENGTH, dtype=torch.bool).tril(2)),
    "a mask of the user's, added": of_user(attention_mask=torch.randn(2, 1, LENGTH, LENGTH)),
}


@pytest.mark.parametrize("case", MATRICES)
def test_masks_that_are_matrices(case, monkeypatch):
    inputs, model = MATRICES[case], decoder("llama")
    if case.startswith("a function"):
        model = decoder("gemma3", use_bidirectional_attention=True)
    if case.endswith("boolean"):  # "eager" takes only what it adds
        theirs = train(model, None, **{**inputs, "attention_mask": torch.zeros(2, 1, LENGTH, LENGTH).masked_fill(~inputs["attention_mask"], -1e30)})
        model.set_attn_implementation("muattn")
        assert_same(train(model, None, **inputs), theirs)
    else:
        seen = check_training(model, monkeypatch, **inputs)
        assert seen[0]["mask"].shape == (2, 1, LENGTH, LENGTH)


@pytest.mark.parametrize("padding", ["none", "left"])
def test_masks_that_are_functions(padding, monkeypatch):
    from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

    tokens, mask = padded(padding)
    for make in (create_causal_mask, create_sliding_window_causal_mask):
        masks = {}
        for kind in ("sdpa", "muattn"):
            config = DECODERS["mistral"]()
            config._attn_implementation = kind
            for name, options in {
                "or": {"or_mask_function": lambda b, h, i, j: j < 3}, "and": {"and_mask_function": lambda b, h, i, j: (i + j) % 2 == 0},
                "blocks": {"block_sequence_ids": torch.tensor([[-1] * 3 + [0] * 4 + [1] * 6]).expand(3, -1)},
                "needed": {"allow_is_causal_skip": False},
            }.items():
                masks[kind, name] = make(config, torch.empty(3, LENGTH, 8), mask, None, **options)
        for (kind, name), found in masks.items():
            assert type(found) is torch.Tensor and torch.equal(found, masks["sdpa", name]), name


def test_chunks(monkeypatch):
    from transformers.masking_utils import create_chunked_causal_mask

    config = DECODERS["llama"]()
    config.attention_chunk_size = 4
    masks = {}
    for kind in ("sdpa", "muattn"):
        config._attn_implementation = kind
        masks[kind] = create_chunked_causal_mask(config, torch.empty(3, LENGTH, 8), None, None)
    assert torch.equal(masks["muattn"], masks["sdpa"])


def test_a_mask_is_the_matrix_it_stands_for():
    from transformers.masking_utils import create_sliding_window_causal_mask

    def made(kind, mask):
        config = DECODERS["mistral"]()
        config._attn_implementation = kind
        return create_sliding_window_causal_mask(config, torch.empty(3, LENGTH, 8), mask, None)

    for padding in ("none", "left", "right"):
        mask = padded(padding)[1]
        matrix, ours = made("sdpa", mask), made("muattn", mask)
        assert type(ours) is Mask and (ours.shape, ours.dtype, ours.device, ours.ndim) == (matrix.shape, matrix.dtype, matrix.device, 4)
        assert "window" in repr(ours) and ours.arguments()["window"] == (WINDOW - 1, 0)
        assert torch.equal(ours[:, :, 2:], matrix[:, :, 2:]) and torch.equal(~ours, ~matrix)
        assert all(type(x) is torch.Tensor and torch.equal(x, matrix) for x in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), ours.clone()))
        ours[:, :, 3] = True  # and what is written to it counts
        assert ours.arguments()["mask"][:, :, 3].all() and list(ours.arguments()) == ["mask"]


def test_keys_without_a_mask_are_a_caches(monkeypatch):
    """Models that make no masks by transformers' functions."""
    q, k, v = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 9, 8), torch.randn(1, 2, 9, 8)
    module = torch.nn.Module()
    module.num_key_value_groups = 2
    seen = torch.ones(3, 9, dtype=torch.bool).tril(6)
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True).transpose(1, 2)
    attention = transformers.AttentionInterface()["muattn"]
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float64, 1e-5)):  # and where transformers' "sdpa" computes
        ours, weights = attention(module, q.to(dtype), k.to(dtype), v.to(dtype), None)
        torch.testing.assert_close(ours.float(), wanted, rtol=tolerance, atol=tolerance)
        assert weights is None
