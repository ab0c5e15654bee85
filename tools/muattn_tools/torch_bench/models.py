"""Models that are trained in three forms: as their packages make them, with muattn's attention, and with none, whose result is v; what the
first takes longer than the last is attention's share."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from dataclasses import dataclass

import timm
import torch
import transformers
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface

import muattn.torch.timm
import muattn.torch.transformers

OWN, MUATTN, NONE = "own", "muattn", "no attention"


@dataclass(frozen=True)
class Model:
    name: str
    forms: Callable[[], dict[str, nn.Module]]
    inputs: Callable[[], torch.Tensor]
    loss: Callable[[nn.Module, torch.Tensor], torch.Tensor]


def all_models() -> list[Model]:
    return [
        _images("XCiT-nano, 8 images", "xcit_nano_12_p16_224", 8),
        _images("DaViT-tiny, 4 images", "davit_tiny", 4),
        _images("ViT-small, 8 images", "vit_small_patch16_224", 8),
        _text("GPT-2-like, 2 layers of 768, n = 1024", _gpt2, 1024),
        _text("Llama-like, 2 layers of 768, n = 2048", _llama, 2048),
        _text("Llama-like, 2 layers of 768, n = 8192", _llama, 8192),
    ]


def _images(name: str, of_timm: str, batch: int) -> Model:
    def forms():
        own = timm.create_model(of_timm, num_classes=100).train()
        with_muattn, without = copy.deepcopy(own), copy.deepcopy(own)
        muattn.torch.timm.patch(with_muattn)
        for module in without.modules():
            if type(module) in _OF_TIMM:
                module.forward = types.MethodType(_values, module)
        return {OWN: own, MUATTN: with_muattn, NONE: without}

    def loss(model, images):
        return nn.functional.cross_entropy(model(images), torch.arange(batch))

    return Model(name, forms, lambda: torch.randn(batch, 3, 224, 224), loss)


_OF_TIMM = tuple(muattn.torch.timm.replacements())


def _values(module, x, *_, **__):
    """The projections, and nothing between them."""
    return module.proj(module.qkv(x).chunk(3, -1)[2])


def _text(name: str, make: Callable[[int, str], nn.Module], n: int) -> Model:
    def forms():
        muattn.torch.transformers.register()
        AttentionInterface.register(NONE, _first_values)
        AttentionMaskInterface.register(NONE, lambda *_, **__: None)
        own = make(n, "sdpa").train()
        models = {OWN: own}
        for form, implementation in ((MUATTN, "muattn"), (NONE, NONE)):
            models[form] = make(n, implementation).train()
            models[form].load_state_dict(own.state_dict())
        return models

    def loss(model, tokens):
        return model(tokens, labels=tokens).loss

    return Model(name, forms, lambda: torch.randint(0, 1000, (1, n)), loss)


def _first_values(module, query, key, value, *_, **__):
    group = query.shape[1] // value.shape[1]
    return value.unsqueeze(2).expand(-1, -1, group, -1, -1).flatten(1, 2).transpose(1, 2), None


def _gpt2(n: int, implementation: str) -> nn.Module:
    """Without dropout: that of the map keeps PyTorch off its fused kernel and muattn from being asked, and all of it makes losses differ."""
    config = transformers.GPT2Config(
        vocab_size=1000, n_positions=n, n_embd=768, n_layer=2, n_head=12, embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0,
        attn_implementation=implementation,
    )
    return transformers.GPT2LMHeadModel(config)


def _llama(n: int, implementation: str) -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=1000, hidden_size=768, intermediate_size=2048, num_hidden_layers=2, num_attention_heads=12, num_key_value_heads=4,
        max_position_embeddings=n, use_cache=False, attn_implementation=implementation,
    )
    return transformers.LlamaForCausalLM(config)
