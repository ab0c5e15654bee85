"""muattn.torch.distributed where a call is wrong, or a rank is gone: an error on every rank, and no hang."""

import os
import time

import pytest
import torch
import torch.distributed as dist
from ranks import Ranks

import muattn.torch.distributed as distributed


@pytest.fixture(scope="module")
def ranks():
    found = Ranks(3)
    yield found
    found.close()


def call(group, name, per_rank):
    """per_rank: for each rank its function's name, or None for name, a change of q, k and v, and options."""
    other, change, options = per_rank[dist.get_rank(group)]
    q, k, v = (torch.randn(2, 6, 4, 8) for _ in range(3))
    q, k, v = change(q, k, v) if change else (q, k, v)
    return getattr(distributed, other or name)(q, k, v, group=group, **options)


def narrow_k(q, k, v):
    return q, k[..., :7], v


def fewer_heads(q, k, v):
    return q[:, :3], k[:, :3], v[:, :3]


def in_double(q, k, v):
    return q, k.double(), v


def in_bfloat16(q, k, v):
    return q.bfloat16(), k.bfloat16(), v.bfloat16()


def in_int8(q, k, v):
    return q, k.to(torch.int8), v.to(torch.int8)


def with_gradient(q, k, v):
    return q.requires_grad_(), k, v


def fewer_values(q, k, v):
    return q, k, v[:, :, 1:]


def fewer_tokens(q, k, v):
    return q[:, :, 1:], k[:, :, 1:], v[:, :, 1:]


SAME, ZIGZAG = (None, None, {}), (None, None, {"balance": "zigzag"})
WRONG = {
    "sizes": ("ring_attention", [SAME, SAME, (None, fewer_heads, {})], r"sizes of q .*rank 0 has \[2, 6, 8\], rank 2 has \[2, 3, 8\]"),
    "type": ("ulysses_attention", [SAME, (None, in_double, {}), SAME], r"k.dtype must be .* not float64"),
    "other type": ("channel_attention", [SAME, (None, in_bfloat16, {}), SAME], "type of q must be the same: rank 0 has .torch.float32., rank 1 has"),
    "types": ("ring_attention", [SAME, SAME, (None, in_bfloat16, {})], "types of q, k and v must be the same"),
    "int8": ("ulysses_attention", [(None, in_int8, {})] * 3, "k.dtype must be float32, float16 or bfloat16, not int8"),
    "option": ("ring_attention", [SAME, SAME, (None, None, {"causal": "top_left"})], r"causal must be the same: rank 0 has \[.none., 0.*rank 2 has"),
    "missing option": ("channel_attention", [(None, None, {"normalize": True}), SAME, SAME], "the ranks' normalize must be the same"),
    "scale": ("ring_attention", [(None, None, {"scale": [0.1] * 6}), (None, None, {"scale": [0.2] * 6}), SAME], "the ranks' scale must be the same"),
    "sizes on one rank": ("ulysses_attention", [SAME, (None, narrow_k, {}), SAME], "k must have|k.shape"),
    "other function": ("ring_attention", [SAME, SAME, ("channel_attention", None, {})], "the ranks' function must be the same.*channel_attention"),
    "gradient": ("ring_attention", [SAME, (None, with_gradient, {}), SAME], r"tensors that require a gradient must be the same: rank 0 has \[\]"),
    "values": ("ring_attention", [SAME, (None, fewer_values, {}), SAME], "v must have k's tokens, 4, not 3"),
    "values of channels": ("channel_attention", [SAME, (None, fewer_values, {}), SAME], "v.shape must be q's"),
    "bad option on one": ("ring_attention", [SAME, SAME, (None, None, {"softcap": -1.0})], "softcap must be above 0"),
    "zigzag": ("ring_attention", [ZIGZAG, (None, fewer_tokens, {"balance": "zigzag"}), ZIGZAG],
               r"q: balance='zigzag' wants .*\[3, 4, 4\], not \[4, 3, 4\]"),
    "balance": ("ring_attention", [(None, None, {"balance": "stripes"})] * 3, "balance must be None or 'zigzag'"),
    "mask": ("ring_attention", [(None, None, {"mask": torch.ones(1, 1, 1, 12)})] * 3, "mask: ring_attention.. takes none"),
    "lengths": ("ring_attention", [(None, None, {"key_lengths": [3, 13]})] * 3, r"key_lengths\[1\] must lie in 0..12"),
    "lengths of Ulysses": ("ulysses_attention", [(None, None, {"key_lengths": [3, 13]})] * 3, r"key_lengths\[1\] must lie in 0..12"),
    "number of lengths": ("ring_attention", [(None, None, {"key_lengths": [3]})] * 3, "key_lengths must have"),
    "rule": ("ring_attention", [(None, None, {"scaling": "mup_mean"})] * 3, "scaling must be one of"),
    "base": ("channel_attention", [(None, None, {"scaling": "mup"})] * 3, "d_base"),
    "return_lse": ("ring_attention", [(None, None, {"return_lse": 1}), SAME, SAME], "return_lse must be True or False"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_every_rank_raises(ranks, case):
    name, per_rank, message = WRONG[case]
    start = time.monotonic()
    for error in ranks.run(3, call, name, per_rank):
        assert isinstance(error, (ValueError, TypeError)), error
        with pytest.raises((ValueError, TypeError), match=message):
            raise error
    assert time.monotonic() - start < 60


def test_an_error_names_the_rank(ranks):
    errors = ranks.run(3, call, "ring_attention", [SAME, (None, in_double, {}), SAME])
    assert str(errors[0]).startswith("ring_attention(): rank 1 of the group has called ring_attention() with a wrong argument: k.dtype")
    assert str(errors[0]) == str(errors[2])


def test_heads_that_the_ranks_cannot_share(ranks):
    for error in ranks.run(2, call, "ulysses_attention", [(None, fewer_heads, {})] * 2):
        with pytest.raises(ValueError, match="q.shape.1. must be a multiple of the number of ranks, 2"):
            raise error


def twice(group, name):
    tensors = [torch.randn(1, 3, 4, 8, requires_grad=True) for _ in range(3)]
    out = getattr(distributed, name)(*tensors, group=group)
    (gradient,) = torch.autograd.grad(out.square().sum(), tensors[:1], create_graph=True)
    gradient.sum().backward()


@pytest.mark.parametrize("name", ["ring_attention", "ulysses_attention", "channel_attention"])
def test_there_is_no_second_derivative(ranks, name):
    for error in ranks.run(3, twice, name):
        with pytest.raises(RuntimeError, match="first derivatives alone"):
            raise error


def mapped(group):
    return torch.func.vmap(lambda q: distributed.ring_attention(q, q, q, group=group))(torch.randn(2, 1, 3, 4, 8))


def test_transforms_are_refused(ranks):
    for error in ranks.run(1, mapped):
        with pytest.raises(ValueError, match="torch.func"):
            raise error


def of_groups(group):
    """The same whatever the group comes as, and what is none."""
    x = torch.randn(1, 3, 4, 8)
    mesh = dist.init_device_mesh("cpu", (dist.get_world_size(),))
    outs = [distributed.channel_attention(x, x, x, group=g) for g in (group, None, mesh)]
    assert all(torch.equal(outs[0], out) for out in outs)
    messages = []
    for wrong in (3, dist.init_device_mesh("cpu", (1, 3)), dist.new_group([0]) if dist.get_rank() else dist.GroupMember.NON_GROUP_MEMBER):
        try:
            distributed.channel_attention(x, x, x, group=wrong)
        except (TypeError, ValueError) as error:
            messages.append(str(error))
    return messages


def test_groups(ranks):
    expected = ["group must be a ProcessGroup", "group must be a DeviceMesh of one dimension, not 2", "this process is not one of its ranks"]
    for messages in ranks.run(3, of_groups):
        if isinstance(messages, Exception):
            raise messages
        assert len(messages) == 3 and all(a in b for a, b in zip(expected, messages)), messages


def test_without_a_group():
    x = torch.randn(1, 3, 4, 8)
    with pytest.raises(RuntimeError, match="init_process_group"):
        distributed.ring_attention(x, x, x)


# ---- A rank that is gone ------------------------------------------------------------------------------------------------


def attend(group, name, dies):
    """dies: when the last rank of the group does: before the call, in the forward or in the backward pass, or "sleeps" all the time."""
    is_last = dist.get_rank(group) == dist.get_world_size(group) - 1
    tensors = [torch.randn(1, 3, 64, 8, requires_grad=True) for _ in range(3)]
    if is_last and dies == "before":
        os._exit(1)
    if is_last and dies == "sleeps":
        time.sleep(20)
        return None
    if is_last and dies == "forward":
        from muattn.torch.distributed import _channel, _ring

        _ring.visits = _channel.channel_apply = lambda *_, **__: os._exit(1)
    out = getattr(distributed, name)(*tensors, group=group)
    if is_last and dies == "backward":
        os._exit(1)
    out.sum().backward()
    return out


DEATHS = [("ring_attention", "before"), ("ring_attention", "forward"), ("channel_attention", "backward"), ("ring_attention", "sleeps")]


@pytest.mark.parametrize("name, dies", DEATHS)
def test_a_rank_that_is_gone(name, dies):
    timeout = 6
    group = Ranks(3, timeout)
    try:
        for rank in range(3):
            group.start(rank, 3, attend, name, dies)
        for rank in range(2):
            error, seconds = group.result(rank)
            assert isinstance(error, RuntimeError) and f"{name}(): the exchange with the other ranks failed" in str(error), error
            assert seconds < timeout + 12
    finally:
        group.close()
