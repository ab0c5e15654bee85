"""How many bytes the functions of muattn.torch.distributed send, against docs/distributed.md's formulas; what each rank has to do; and rules."""

import contextlib

import pytest
import torch
import torch.distributed as dist
from ranks import Ranks

import muattn.torch
import muattn.torch.distributed as distributed
from muattn.torch.distributed._stretches import counts_of, stretches_of

B, H, H_KV, D, D_V = 2, 4, 4, 8, 6
FLOAT = 4


@pytest.fixture(scope="module")
def ranks():
    found = Ranks(4)
    yield found
    found.close()


@contextlib.contextmanager
def counted(rank):
    """A dict of the bytes that this rank hands to torch.distributed for others, by function: of what is added up all, once."""
    sent, kept = dict.fromkeys(("all_reduce", "all_to_all_single", "isend", "all_gather"), 0), {}

    def count(name, bytes_of):
        function = kept[name] = getattr(dist, name)

        def call(*arguments, **options):
            sent[name] += bytes_of(*arguments)
            return function(*arguments, **options)

        setattr(dist, name, call)

    def to_others(_, tensor, __, sizes, *___):
        return (tensor.numel() - sizes[rank]) * tensor.element_size()

    count("all_reduce", lambda tensor, *_: tensor.nbytes)
    count("all_to_all_single", to_others)
    count("isend", lambda tensor, *_: tensor.nbytes)
    count("all_gather", lambda found, tensor, *_: (len(found) - 1) * tensor.nbytes)
    try:
        yield sent
    finally:
        for name, function in kept.items():
            setattr(dist, name, function)


def traffic(group, name, counts, options):
    """(forward, backward)"""
    rank = dist.get_rank(group)
    n, d_v = counts[rank], D if name == "channel_attention" else D_V
    heads_of_keys = H if name == "channel_attention" else H_KV
    q, k, v = (torch.randn(B, h, n, d, requires_grad=True) for h, d in ((H, D), (heads_of_keys, D), (heads_of_keys, d_v)))
    with counted(rank) as forward:
        out = getattr(distributed, name)(q, k, v, group=group, **options)
    with counted(rank) as backward:
        out.sum().backward()
    return forward, backward


def check(found, name, forward, backward, size):
    assert all(not isinstance(x, Exception) for x in found), found
    for rank, (one, other) in enumerate(found):
        assert one.pop("all_gather") == 5 * 8 * (size - 1) and other.pop("all_gather") == 0  # the header
        assert {x: n for x, n in one.items() if n} == ({name: forward(rank)} if forward(rank) else {})
        assert {x: n for x, n in other.items() if n} == ({name: backward(rank)} if backward(rank) else {})


@pytest.mark.parametrize("counts", [[9, 5], [4, 0, 7, 3]])
@pytest.mark.parametrize("normalize", [False, True])
def test_channel_attention_sends_maps(ranks, counts, normalize):
    size = len(counts)
    found = ranks.run(size, traffic, "channel_attention", counts, {"normalize": normalize, "scale": 1.0})
    check(found, "all_reduce", lambda _: FLOAT * B * H * (D * D + 2 * D * normalize), lambda _: FLOAT * B * H * D * D, size)


@pytest.mark.parametrize("counts", [[9, 5], [4, 0, 7, 3]])
def test_ulysses_attention_sends_all_but_its_own(ranks, counts):
    size, n = len(counts), sum(counts)

    def to_heads(rank):
        return FLOAT * B * counts[rank] * (H * D + H_KV * (D + D_V)) * (size - 1) // size

    def to_tokens(rank):
        return FLOAT * B * H // size * (n - counts[rank]) * D_V

    def backwards(rank):
        return FLOAT * B * counts[rank] * H * D_V * (size - 1) // size + FLOAT * B * (n - counts[rank]) * (H * D + H_KV * (D + D_V)) // size

    check(ranks.run(size, traffic, "ulysses_attention", counts, {}), "all_to_all_single", lambda r: to_heads(r) + to_tokens(r), backwards, size)


@pytest.mark.parametrize("counts, options", [([9, 5], {}), ([4, 0, 7, 3], {}), ([6, 6, 5, 5], {"balance": "zigzag"})])
def test_ring_attention_sends_blocks_and_gradients(ranks, counts, options):
    size, n, token = len(counts), sum(counts), FLOAT * B * H_KV * (D + D_V)
    found = ranks.run(size, traffic, "ring_attention", [*counts] if not options else counts_of(n, size, "zigzag"), options)
    counts = counts_of(n, size, "zigzag") if options else counts

    def forward(rank):
        return token * (n - counts[(rank + 1) % size])

    check(found, "isend", forward, lambda rank: forward(rank) + token * n, size)


def test_ring_attention_sends_no_further_than_a_window_sees(ranks):
    counts, token = [6, 6, 6, 6], FLOAT * B * H_KV * (D + D_V)
    found = ranks.run(4, traffic, "ring_attention", counts, {"causal": "top_left", "window": (5, 0)})
    check(found, "isend", lambda r: token * 6 * (r < 3), lambda r: token * 6 * ((r < 3) + (r < 3) + (r > 0)), 4)


def test_causal_blocks_stop_at_the_last_rank(ranks):
    counts, token = [6, 6, 6, 6], FLOAT * B * H_KV * (D + D_V)
    found = ranks.run(4, traffic, "ring_attention", counts, {"causal": "top_left"})
    check(found, "isend", lambda r: token * 6 * (r + 1) * (r < 3), lambda r: token * 6 * ((r + 1) * (r < 3) + (r + 1 if r < 3 else 3)), 4)


def pairs(queries, keys):
    """How many (query, key) of a causal mask these stretches make."""
    return sum(max(0, min(j0 + m, i + 1) - j0) for i0, n in queries for i in range(i0, i0 + n) for j0, m in keys)


def test_zigzag_gives_each_rank_as_much_to_do():
    work = {}
    for balance in (None, "zigzag"):
        places = stretches_of(counts_of(64, 4, balance), balance)
        work[balance] = [[pairs(mine, keys) for keys in places] for mine in places]
    ends = [sum(x) for x in work["zigzag"]]
    assert max(ends) == min(ends)
    assert max(map(sum, work[None])) > 6 * min(map(sum, work[None]))
    for hop in range(1, 4):  # and in each step
        assert len({work["zigzag"][r][(r - hop) % 4] for r in range(4)}) == 1


RULES = [{"scaling": "mup", "d_base": 4, "alpha": 2.0}, {"scaling": "umup"}, {"scaling": "umup", "causal": "top_left"}, {"scaling": "sp"}]


def of_rule(group, name, tensors, options):
    q, k, v = (distributed.shard(x, 2, group=group) for x in tensors)
    return distributed.unshard(getattr(distributed, name)(q, k, v, group=group, **options), 2, group=group)


@pytest.mark.parametrize("name", ["ring_attention", "ulysses_attention"])
@pytest.mark.parametrize("options", RULES, ids=str)
def test_rules_are_those_of_the_whole_sequence(ranks, name, options):
    tensors = [torch.randn(2, 4, 30, 8) for _ in range(3)]
    for found in ranks.run(2, of_rule, name, tensors, options):
        torch.testing.assert_close(found, muattn.torch.spatial_attention(*tensors, **options))


@pytest.mark.parametrize("scaling", ["sp", "mup", "mup_heads", "mup_mean"])
def test_rules_of_channel_attention(ranks, scaling):
    tensors, options = [torch.randn(2, 4, 30, 8) for _ in range(3)], {"scaling": scaling, "d_base": 4}
    for found in ranks.run(4, of_rule, "channel_attention", tensors, options):
        torch.testing.assert_close(found, muattn.torch.channel_attention(*tensors, **options))


def memory(name):
    """In bytes: VmRSS, what this process has; VmHWM, the most that it had."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


def most_memory(group, n):
    """Of a call of few queries over n keys on each rank: how much more than before its forward and backward pass took at most, in blocks."""
    q, k, v = (torch.randn(1, 1, m, 64, requires_grad=True) for m in (4, n, n))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # VmHWM begins anew
    before = memory("VmRSS")
    distributed.ring_attention(q, k, v, group=group).sum().backward()
    return (memory("VmHWM") - before) / (FLOAT * n * 2 * 64)


def test_memory_does_not_grow_with_the_ranks(ranks):
    n = 70000  # blocks above 32 MiB, which the C library takes from the system one by one
    two, four = (max(ranks.run(size, most_memory, n)) for size in (2, 4))
    assert two < 7 and four < 7, (two, four)
