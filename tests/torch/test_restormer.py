"""Restormer's and MONAI's blocks against MONAI's own, which is composed from PyTorch's operators."""

import copy
import pickle

import pytest
import torch
from close import assert_close
from monai.networks.blocks.cablock import CABlock

import muattn.torch.monai
from muattn.torch.restormer import MDTA


def train(block, x):
    out = block(x)
    return out, *torch.autograd.grad((out**2).sum(), [x, *block.parameters()])


def check(block, own, x):
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            if "temperature" in name:
                parameter.uniform_(0.5, 2)
    block.load_state_dict(own.state_dict())
    double = type(own)(*own.arguments).double()
    double.load_state_dict(own.state_dict())
    exact = train(double, x.detach().double().requires_grad_())
    for i, (ours, theirs, exactly) in enumerate(zip(train(block, x), train(own, x), exact)):
        assert_close(f"result {i}", ours, theirs, exactly)


def block(*arguments):
    made = CABlock(*arguments)
    made.arguments = arguments
    return made


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_monai(dimensions, bias):
    own, patched = block(dimensions, 24, 3, bias), block(dimensions, 24, 3, bias)
    assert muattn.torch.monai.patch(torch.nn.Sequential(patched, torch.nn.ReLU())) == 1
    check(patched, own, torch.randn(2, 24, *(5, 4, 3)[:dimensions]).requires_grad_())


def test_monai_with_flash_attention_has_a_temperature_per_head():
    own, patched = block(2, 24, 3, False), CABlock(2, 24, 3, False, flash_attention=True)
    muattn.torch.monai.patch(patched)
    check(patched, own, torch.randn(2, 24, 5, 4).requires_grad_())


def test_double_precision_stays_monais():
    own, patched = CABlock(2, 24, 3, False).double(), CABlock(2, 24, 3, False).double()
    patched.load_state_dict(own.state_dict())
    muattn.torch.monai.patch(patched)
    x = torch.randn(2, 24, 5, 4).double()
    assert torch.equal(patched(x), own(x))
    with torch.autocast("cpu", torch.bfloat16):  # which leaves it as it is
        assert torch.equal(patched(x), own(x))


def test_other_devices_stay_monais(monkeypatch):
    patched = CABlock(2, 24, 3, False).to("meta")
    muattn.torch.monai.patch(patched)
    monkeypatch.setattr(muattn.torch.monai, "images_attention", None)
    assert patched(torch.randn(2, 24, 5, 4, device="meta")).is_meta


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda block: pickle.loads(pickle.dumps(block))])
def test_copies_are_patched_too(copied):
    patched = CABlock(2, 24, 3, False)
    muattn.torch.monai.patch(patched)
    x = torch.randn(2, 24, 5, 4)
    expected, other = patched(x), copied(patched)
    assert torch.equal(other(x), expected) and other.forward.args[-1] is other
    with torch.no_grad():
        other.temperature.mul_(2)
    assert torch.equal(patched(x), expected) and not torch.equal(other(x), expected)


def test_restormer():
    own, ours = block(2, 24, 3, True), MDTA(24, 3, bias=True)
    own_state = {name.replace(".conv.", "."): x for name, x in own.state_dict().items()}
    ours.load_state_dict(own_state)
    x = torch.randn(2, 24, 5, 4).requires_grad_()
    double = CABlock(2, 24, 3, True).double()
    double.load_state_dict(own.state_dict())
    for i, (a, b, exact) in enumerate(zip(train(ours, x), train(own, x), train(double, x.detach().double().requires_grad_()))):
        assert_close(f"result {i}", a, b, exact)


def test_no_copies():
    """q, k and v are read where the convolution wrote them."""
    packed = torch.randn(2, 72, 20)
    from muattn.torch._packed import _parts

    for i, part in enumerate(_parts(packed, (3, 3, 3), True)):
        assert part.data_ptr() == packed[:, 24 * i :].data_ptr() and part.stride(-1) == 1
