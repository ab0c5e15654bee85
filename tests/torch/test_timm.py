"""timm's modules and small models of theirs, patched, against themselves."""

import copy
import pickle

import pytest
import timm
import torch
from close import assert_close
from timm.layers.attention import Attention
from timm.models import davit
from timm.models.edgenext import CrossCovarianceAttn
from timm.models.swin_transformer import SwinTransformer, WindowAttention
from timm.models.xcit import XCA
from torch import nn

import muattn.torch.timm


def randomize(module):
    """Parameters as far from their beginnings as training may take them."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "temperature" in name:
                parameter.uniform_(0.5, 2)
            elif "bias_table" in name:
                parameter.normal_()
    return module


def train(module, x, *arguments):
    out = module(x, *arguments)
    parameters = [p for p in module.parameters() if p.requires_grad]
    return out, *torch.autograd.grad((out**2).sum(), [x, *parameters], allow_unused=True)


def double_of(x):
    return x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x


def check(own, x, *arguments, modules=1):
    randomize(own)
    patched, double = copy.deepcopy(own), copy.deepcopy(own).double()
    assert muattn.torch.timm.patch(patched) == modules
    exact = train(double, x.detach().double().requires_grad_(), *map(double_of, arguments))
    for i, (ours, theirs, exactly) in enumerate(zip(train(patched, x, *arguments), train(own, x, *arguments), exact)):
        if exactly is not None:
            assert_close(f"result {i}", ours, theirs, exactly)
    assert patched.state_dict().keys() == own.state_dict().keys()


def tokens(n=21, dim=48):
    return torch.randn(2, n, dim).requires_grad_()


CASES = {
    "xcit": lambda: XCA(48, 4, qkv_bias=True),
    "edgenext": lambda: CrossCovarianceAttn(48, 4),
    "davit": lambda: davit.ChannelAttention(48, 4, qkv_bias=True),
    "davit v2": lambda: davit.ChannelAttentionV2(48, 4),
    "davit v2, fixed scale": lambda: davit.ChannelAttentionV2(48, 4, dynamic_scale=False),
    "davit's windows": lambda: davit.WindowAttention(48, (7, 3), 4),
    "vit": lambda: Attention(48, 4, qkv_bias=True),
    "vit, norms and gate": lambda: Attention(48, 4, qk_norm=True, scale_norm=True, gated=True, norm_layer=nn.LayerNorm),
}


@pytest.mark.parametrize("case", CASES)
def test_module(case):
    check(CASES[case](), tokens())


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("mask, is_causal", [(None, True), (torch.rand(2, 1, 21, 21) < 0.7, False), (torch.randn(21, 21), False)])
def test_masks_of_vit(fused, mask, is_causal):
    own = Attention(48, 4)
    own.fused_attn = fused
    if mask is not None and mask.dtype is torch.bool:
        mask[..., 0] = True
    check(own, tokens(), mask, is_causal)


@pytest.mark.parametrize("shifted", [False, True])
def test_swin(shifted):
    own = WindowAttention(48, 4, window_size=3)
    mask = None
    if shifted:
        mask = torch.zeros(4, 9, 9).masked_fill(torch.rand(4, 9, 9) < 0.3, -100.0)
    x = torch.randn(2 * 4, 9, 48).requires_grad_()
    check(own, x, mask)


def test_dropout_and_other_types_stay_timms():
    own = XCA(48, 4, attn_drop=0.5)
    patched = copy.deepcopy(own)
    muattn.torch.timm.patch(patched)
    x = tokens()
    torch.manual_seed(3)
    expected = own(x)
    torch.manual_seed(3)
    assert torch.equal(patched(x), expected)
    own, patched = own.eval().double(), patched.eval().double()
    assert torch.equal(patched(x.double()), own(x.double()))
    with torch.autocast("cpu", torch.bfloat16):  # which leaves double precision as it is
        assert torch.equal(patched(x.double()), own(x.double()))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_are_patched_too(copied):
    patched = XCA(48, 4)
    muattn.torch.timm.patch(patched)
    x = tokens()
    expected, other = patched(x), copied(patched)
    assert torch.equal(other(x), expected) and other.forward.args[-1] is other
    with torch.no_grad():
        other.temperature.mul_(2)
    assert torch.equal(patched(x), expected) and not torch.equal(other(x), expected)


MODELS = {
    "xcit": (lambda: timm.create_model("xcit_nano_12_p16_224", num_classes=5, img_size=32, depth=2), 2),
    "edgenext": (lambda: timm.create_model("edgenext_xx_small", num_classes=5), 3),
    "davit": (lambda: timm.create_model("davit_tiny", num_classes=5, depths=(1, 1, 1, 1), embed_dims=(24, 48, 96, 192), num_heads=(3, 6, 12, 24)), 8),
    "vit": (lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64, depth=2), 2),
    "swin": (lambda: SwinTransformer(img_size=32, patch_size=2, window_size=4, embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=5), 4),
}


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    make, modules = MODELS[name]
    own = make().train()
    for module in own.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()  # statistics of so few numbers say little
    size = {"vit": 64, "davit": 64, "edgenext": 64}.get(name, 32)
    x = torch.randn(2, 3, size, size).requires_grad_()
    check(own, x, modules=modules)
    assert muattn.torch.timm.patch(nn.Linear(3, 3)) == 0
