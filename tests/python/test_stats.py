"""Statistics of logits, against NumPy."""

import numpy as np
import pytest

import muattn


def expected(logits, visible):
    """mean_abs, rms, max, entropy over the last two dimensions, in double."""
    logits, visible = np.broadcast_arrays(logits.astype(np.float64), visible)
    count = visible.sum(axis=(2, 3))
    shown = np.where(visible, logits, 0)
    weights = np.where(visible, np.exp(logits - np.where(visible, logits, -np.inf).max(axis=3, keepdims=True)), 0)
    p = weights / weights.sum(axis=3, keepdims=True)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=3).mean(axis=2)
    return (
        np.abs(shown).sum(axis=(2, 3)) / count, np.sqrt((shown**2).sum(axis=(2, 3)) / count),
        np.where(visible, logits, -np.inf).max(axis=(2, 3)), entropy,
    )


def arrays(*shape, count=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, dtype=np.float32) for _ in range(count)]


def check(stats, logits, visible=True):
    assert isinstance(stats, muattn.LogitStats)
    for name, got, wanted in zip(muattn.LogitStats._fields, stats, expected(logits, visible)):
        assert got.shape == logits.shape[:2], name
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5, err_msg=name)


def test_of_spatial_attention():
    q, k, v = arrays(2, 4, 33, 16)
    mask = np.random.default_rng(1).random((2, 1, 33, 33)) < 0.8
    mask[..., 0] = True
    plain = muattn.spatial_attention(q, k, v, scaling="mup", d_base=4, mask=mask, causal="top_left", softcap=3.0)
    out, stats = muattn.spatial_attention(q, k, v, scaling="mup", d_base=4, mask=mask, causal="top_left", softcap=3.0, return_stats=True)
    np.testing.assert_array_equal(out, plain)
    logits = 3 * np.tanh(np.einsum("bhid,bhjd->bhij", q, k) * (2 / 16) / 3)
    check(stats, logits, mask & np.tri(33, dtype=bool))


def test_with_lse_and_out():
    q, k, v = arrays(1, 2, 9, 8)
    room = np.empty_like(q)
    out, lse, stats = muattn.spatial_attention(q, k, v, return_lse=True, return_stats=True, out=room)
    assert out is room and lse.shape == (1, 2, 9)
    check(stats, np.einsum("bhid,bhjd->bhij", q, k) / np.sqrt(8))


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("normalize", [False, True])
def test_of_channel_attention(layout, normalize):
    q, k, v = arrays(2, 3, 20, 12)
    x, y = (a / np.linalg.norm(a, axis=2, keepdims=True) if normalize else a for a in (q, k))
    given = [np.ascontiguousarray(a.swapaxes(2, 3)) if layout == "channels_first" else a for a in (q, k, v)]
    out, stats = muattn.channel_attention(*given, scale=2.0, normalize=normalize, layout=layout, return_stats=True)
    np.testing.assert_array_equal(out, muattn.channel_attention(*given, scale=2.0, normalize=normalize, layout=layout))
    check(stats, 2 * np.einsum("bhni,bhnj->bhij", x, y))
    with_map = muattn.channel_attention(*given, scale=2.0, normalize=normalize, layout=layout, return_map=True, return_stats=True)
    assert len(with_map) == 3
    check(with_map[2], 2 * np.einsum("bhni,bhnj->bhij", x, y))


def test_refusals():
    q, k, v = arrays(1, 1, 4, 4)
    for function in (muattn.spatial_attention, muattn.channel_attention):
        with pytest.raises(TypeError, match="return_stats"):
            function(q, k, v, return_stats=1)
        with pytest.raises(ValueError, match="k.shape"):
            function(q, k[..., :3], v, return_stats=True)
