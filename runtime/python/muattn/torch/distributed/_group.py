"""The ranks that share a call, and what they send each other."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
import torch.distributed as dist


class Group(NamedTuple):
    process_group: dist.ProcessGroup
    rank: int
    size: int


def resolve(group):
    """Of a ProcessGroup, a DeviceMesh of one dimension, or None, which is all ranks."""
    if not dist.is_available():
        raise RuntimeError("this PyTorch is built without torch.distributed")
    if not dist.is_initialized():
        raise RuntimeError("torch.distributed is not initialised: call torch.distributed.init_process_group() first")
    found = _process_group(group)
    rank = dist.get_rank(found)
    if rank < 0:
        raise ValueError("group: this process is not one of its ranks")
    _require_processors(found)
    return Group(found, rank, dist.get_world_size(found))


def _process_group(group):
    if group is None:
        return dist.group.WORLD
    if isinstance(group, dist.DeviceMesh):
        if group.ndim != 1:
            raise ValueError(f"group must be a DeviceMesh of one dimension, not {group.ndim}: give mesh[name], or mesh.get_group(name)")
        return group.get_group()
    if group is dist.GroupMember.NON_GROUP_MEMBER:
        raise ValueError("group: this process is not one of its ranks")
    if not isinstance(group, dist.ProcessGroup):
        raise TypeError(f"group must be a ProcessGroup, a DeviceMesh or None, not {type(group).__qualname__}")
    return group


def _require_processors(process_group):
    if torch.device("cpu") not in process_group._device_types:
        raise ValueError("group has no backend for tensors in the CPU's memory: give init_process_group() one, as in 'cpu:gloo,cuda:nccl'")


@contextlib.contextmanager
def exchanging(what):
    """Around what waits for other ranks."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(f"{what}: the exchange with the other ranks failed, and this group is of no more use: {error}") from error


def gather(group, tensor):
    """[ranks, ...]: the tensor of each rank, all of one shape."""
    found = [torch.empty_like(tensor) for _ in range(group.size)]
    dist.all_gather(found, tensor, group=group.process_group)
    return torch.stack(found)


def all_to_all(group, pieces, sizes):
    """Sends pieces[r], tensors of one dimension and type, to each rank r. Returns what comes from each, of so many elements."""
    sent = torch.cat(pieces)
    received = sent.new_empty(sum(sizes))
    if group.size == 1:
        received.copy_(sent)
    else:
        dist.all_to_all_single(received, sent, list(sizes), [len(piece) for piece in pieces], group=group.process_group)
    return received.split(list(sizes))


def start_sum(group, tensor):
    """Begins to add up the ranks' tensors in place. Wait for what it returns."""
    return dist.all_reduce(tensor, group=group.process_group, async_op=True)


def start_send(group, tensor, to, tag):
    return dist.isend(tensor, group=group.process_group, tag=tag, group_dst=to)


def start_receive(group, tensor, source, tag):
    return dist.irecv(tensor, group=group.process_group, tag=tag, group_src=source)
