"""Sizes of 0: an empty batch, no query, no key yet, an expert without tokens."""

import sys

import muattn
import numpy as np
import pytest

SPATIAL = {  # B, H, Hk, n_q, n_k
    "no batch entry": (0, 4, 2, 5, 7),
    "no query": (2, 4, 2, 0, 7),
    "no key": (2, 4, 2, 5, 0),
    "neither": (2, 4, 2, 0, 0),
}
OPTIONS = {
    "plain": lambda B, H, n_q, n_k: {},
    "causal": lambda B, H, n_q, n_k: {"causal": "bottom_right", "window": (3, None)},
    "mask": lambda B, H, n_q, n_k: {"mask": np.ones((B, H, n_q, n_k), bool), "softcap": 2.0},
    "bias": lambda B, H, n_q, n_k: {"mask": np.zeros((1, 1, n_q, n_k), np.float32)},
    "repeated mask": lambda B, H, n_q, n_k: {"mask": np.broadcast_to(np.float32(1), (B, H, n_q, n_k))},
    "key lengths": lambda B, H, n_q, n_k: {"key_lengths": np.full(B, n_k), "scale": np.ones(H)},
}


def from_numpy(x):
    return x


def from_torch(x):
    torch = pytest.importorskip("torch")
    return torch.tensor(x)


@pytest.mark.parametrize("make", [from_numpy, from_torch])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("sizes", SPATIAL)
def test_spatial(sizes, options, make):
    B, H, Hk, n_q, n_k = SPATIAL[sizes]
    q, k, v = (make(np.ones(shape, np.float32)) for shape in ((B, H, n_q, 8), (B, Hk, n_k, 8), (B, Hk, n_k, 6)))
    given = {name: make(x) if name == "mask" else x for name, x in OPTIONS[options](B, H, n_q, n_k).items()}
    out, lse = muattn.spatial_attention(q, k, v, return_lse=True, **given)
    assert type(out) is type(lse) is type(q)
    assert tuple(out.shape) == (B, H, n_q, 6) and tuple(lse.shape) == (B, H, n_q)
    assert (out == 0).all() and (lse == -np.inf).all()  # for all rows that there are: those without keys
    assert (muattn.spatial_attention(q, k, v, **given) == 0).all()
    to = make(np.full((B, H, n_q, 6), 7, np.float32))
    assert muattn.spatial_attention(q, k, v, out=to, **given) is to and (to == 0).all()
    for merged, empty in zip(muattn.merge(out, lse, out, lse), (out, lse)):
        assert merged.shape == empty.shape and (merged == empty).all()


@pytest.mark.parametrize("make", [from_numpy, from_torch])
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("shape", [(0, 2, 9, 8), (2, 2, 0, 8)])
def test_channel(shape, layout, make):
    shape = shape if layout == "channels_last" else (*shape[:2], shape[3], shape[2])
    x = make(np.ones(shape, np.float32))
    # s = 1/sqrt(n) is no number where n = 0, and nothing needs it
    for options in ({}, {"scale": 1.0, "normalize": True}, {"scaling": "mup", "d_base": 4}, {"out": make(np.ones(shape, np.float32))}):
        out = muattn.channel_attention(x, x, x, layout=layout, **options)
        assert type(out) is type(x) and tuple(out.shape) == shape


def test_keys_come_later():
    """A loop over chunks of keys may begin with none."""
    generator = np.random.default_rng(0)
    q, k, v = (generator.standard_normal(shape, np.float32) for shape in ((1, 2, 3, 8), (1, 2, 9, 8), (1, 2, 9, 8)))
    none = muattn.spatial_attention(q, k[:, :, :0], v[:, :, :0], return_lse=True)
    all_of_them = muattn.spatial_attention(q, k, v, return_lse=True)
    for got, expected in zip(muattn.merge(*none, *all_of_them), all_of_them):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_there_are_channels():
    x = np.ones((1, 1, 3, 0), np.float32)
    for operator in (muattn.spatial_attention, muattn.channel_attention):
        with pytest.raises(ValueError, match=r"q.shape\[3\]"):
            operator(x, x, x)
    y = np.ones((1, 1, 3, 8), np.float32)
    with pytest.raises(ValueError, match=r"v.shape\[3\]"):
        muattn.spatial_attention(y, y, x)


def test_rules_still_hold():
    x = np.ones((0, 2, 3, 8), np.float32)
    for arrays, options, message in [
        ((x, x[..., :4], x), {}, r"k.shape\[3\] \(d\)"),
        ((x, x[:, :, :2], x), {}, r"v.shape\[2\] \(n_k\)"),
        ((x, x, x), {"mask": np.ones((1, 1, 3, 4), bool)}, r"mask.shape\[3\] \(n_k\)"),
        ((x, x, x), {"key_lengths": [3]}, "key_lengths must have one entry per batch entry: 0, not 1"),
        ((x, x, x), {"out": np.ones((1, 2, 3, 8), np.float32)}, r"out.shape\[0\] \(B\)"),
        ((x, x.astype("float64"), x), {}, "k.dtype must be float32"),
    ]:
        with pytest.raises(ValueError, match=message):
            muattn.spatial_attention(*arrays, **options)


def test_nothing_is_kept():
    x = np.ones((0, 2, 3, 8), np.float32)
    before = sys.getrefcount(x)
    muattn.spatial_attention(x, x, x)
    muattn.channel_attention(x, x, x)
    assert sys.getrefcount(x) == before
