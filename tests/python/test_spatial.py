import ctypes
import itertools
import platform

import muattn
import numpy as np
import pytest
import reference
from hypothesis import given, settings, strategies as st

AVAILABLE = [name for name, available in muattn.backends() if available]


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("n_q, n_k, d, d_v", [(1, 1, 1, 1), (7, 130, 20, 33), (65, 65, 64, 64), (33, 50, 1024, 7)])
def test_every_backend_agrees_with_the_reference(random, backend, n_q, n_k, d, d_v):
    reference.skip_without_kernel(backend, d, d_v)
    muattn.force_backend(backend)
    assert muattn.current_backend() == backend
    q, k, v = random(2, 4, n_q, d), random(2, 2, n_k, d), random(2, 2, n_k, d_v)
    out, lse = muattn.spatial_attention(q, k, v, return_lse=True)
    expected_out, expected_lse = reference.spatial(q, k, v, d**-0.5)
    reference.assert_close(out, expected_out)
    reference.assert_close(lse, expected_lse)


@pytest.mark.parametrize(
    "options, scale",
    [
        ({}, 64**-0.5),
        ({"scaling": "sp"}, 64**-0.5),
        ({"scaling": "mup"}, 1 / 64),
        ({"scaling": "mup", "d_base": 16}, 4 / 64),
        ({"scaling": "mup", "d_base": 64}, 64**-0.5),
        ({"scaling": "mup_heads", "d_base": 16}, 64**-0.5),
        ({"scaling": "mup", "scale": 0.3}, 0.3),
        ({"scaling": "sp", "alpha": 3}, 3 / 8),
        ({"scaling": "mup", "power": 0.75}, 64**-0.75),
        ({"scaling": "mup", "d_base": 16, "power": 2, "alpha": np.float32(0.5)}, 2 / 64**2),
        ({"scale": 0.3, "alpha": 1, "power": 1.0}, 0.3),
        ({"scale": [0.1, 0.2, -0.3, 0]}, [0.1, 0.2, -0.3, 0]),
        ({"scale": np.array([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1)}, [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_scaling_rules(random, options, scale):
    q, k, v = random(2, 4, 9, 64), random(2, 4, 12, 64), random(2, 4, 12, 64)
    reference.assert_close(muattn.spatial_attention(q, k, v, **options), reference.spatial(q, k, v, scale)[0])


def test_scale_functions():
    assert muattn.spatial_scale("sp", 64) == 1 / 8
    assert muattn.spatial_scale("mup", 64) == 1 / 64
    assert muattn.spatial_scale("mup", 64, d_base=16) == 1 / 16
    assert muattn.spatial_scale("mup_heads", 64, 16) == 1 / 8
    assert muattn.spatial_scale("mup", 64, 16, power=0.5, alpha=3) == 1.5
    assert muattn.spatial_scale("umup", 64, alpha=4) == 1 / 16
    with pytest.raises(ValueError, match="scaling"):
        muattn.spatial_scale("mup_mean", 64)
    with pytest.raises(ValueError, match="power: only MUATTN_SCALING_MUP has one"):
        muattn.spatial_scale("sp", 64, power=2)
    with pytest.raises(ValueError, match="alpha must be above 0, not 0"):
        muattn.spatial_scale("sp", 64, alpha=0)
    with pytest.raises(ValueError, match="d must be at least 1"):
        muattn.spatial_scale("sp", 0)


def test_output_multipliers():
    """Of the package unit_scaling 0.3.5: 1 / sigma."""
    for d, n, mult, causal in itertools.product((1, 16, 128), (2, 1000), (0.25, 1, 9), (False, True)):
        lower = np.sqrt((np.log(n) if causal else 1) / n)
        sigma = np.exp((1 - 1 / (1 + 4 * d / mult**2)) * np.log(lower))
        assert muattn.spatial_output_multiplier("umup", d, n, causal=causal, alpha=mult) == pytest.approx(1 / sigma, rel=1e-14)
    for n in (0, 1):
        assert muattn.spatial_output_multiplier("umup", 16, n) == muattn.spatial_output_multiplier("umup", 16, n, causal=True) == 1
    assert muattn.spatial_output_multiplier("mup", 16, 100) == 1
    with pytest.raises(ValueError, match="n_k must be at least 0, not -1"):
        muattn.spatial_output_multiplier("umup", 16, -1)


@pytest.mark.parametrize("n_q, n_k", [(1, 700), (3, 20), (40, 60)])
def test_an_output_multiplier(random, n_q, n_k):
    q, k, v = random(2, 4, n_q, 16), random(2, 2, n_k, 16), random(2, 2, n_k, 12)
    out, lse = muattn.spatial_attention(q, k, v, causal="bottom_right", return_lse=True)
    for o in (1, -8, 0):
        multiplied, same = muattn.spatial_attention(q, k, v, causal="bottom_right", output_multiplier=o, return_lse=True)
        assert np.array_equal(multiplied, out * o) and np.array_equal(same, lse)
    o = muattn.spatial_output_multiplier("umup", 16, n_k, causal=True, alpha=2)
    expected = reference.spatial(q, k, v, 2 / 16, "bottom_right", output_multiplier=o)[0]
    reference.assert_close(muattn.spatial_attention(q, k, v, causal="bottom_right", scaling="umup", alpha=2), expected)


_sides = st.one_of(st.none(), st.integers(0, 20))


@settings(max_examples=60)
@given(
    n_q=st.integers(1, 40),
    n_k=st.integers(1, 40),
    d=st.integers(1, 40),
    causal=st.one_of(
        st.sampled_from([None, "top_left", "bottom_right"]),
        st.integers(-50, 50),
        st.lists(st.integers(-50, 50), min_size=2, max_size=2),
    ),
    window=st.one_of(st.none(), st.tuples(_sides, _sides)),
    lengths=st.one_of(st.none(), st.tuples(st.integers(0, 1000), st.integers(0, 1000))),
    seed=st.integers(0, 2**32 - 1),
)
def test_masks_agree_with_the_reference(n_q, n_k, d, causal, window, lengths, seed):
    generator = np.random.default_rng(seed)
    q, k, v = (generator.standard_normal((2, 2, n, d), np.float32) for n in (n_q, n_k, n_k))
    key_lengths = lengths and [length % (n_k + 1) for length in lengths]
    out, lse = muattn.spatial_attention(
        q, k, v, causal=causal, window=window, key_lengths=key_lengths, return_lse=True
    )
    expected_out, expected_lse = reference.spatial(q, k, v, d**-0.5, causal, window, key_lengths)
    reference.assert_close(out, expected_out)
    reference.assert_close(lse, expected_lse)


def test_offsets_may_be_an_array(random):
    q, k, v = random(2, 1, 3, 8), random(2, 1, 9, 8), random(2, 1, 9, 8)
    expected = muattn.spatial_attention(q, k, v, causal=[6, 2])
    for offsets in ((6, 2), range(6, 1, -4), np.array([6, 2]), np.array([6, 2], np.int8)):
        assert np.array_equal(muattn.spatial_attention(q, k, v, causal=offsets), expected)
    lengths = muattn.spatial_attention(q, k, v, causal="bottom_right", key_lengths=[9, 5])
    assert np.array_equal(lengths, expected)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of a rounding mode")
def test_numbers_are_rounded_as_ever_in_another_mode(random):
    x = random(1, 1, 5, 8)
    expected = muattn.spatial_attention(x, x, x, scale=0.1, softcap=0.3)
    math = ctypes.CDLL("libm.so.6")
    upward = 0x800
    assert math.fesetround(upward) == 0
    try:
        out = muattn.spatial_attention(x, x, x, scale=0.1, softcap=0.3)
    finally:
        math.fesetround(0)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("n_q, n_k", [(1, 700), (3, 20), (40, 60)])
def test_a_sink_is_a_logit_without_a_value(random, backend, n_q, n_k):
    reference.skip_without_kernel(backend, 16, 16)
    muattn.force_backend(backend)
    q, k, v, sink = random(2, 4, n_q, 16), random(2, 2, n_k, 16), random(2, 2, n_k, 16), random(4)
    sink[2] = -np.inf
    out, lse = muattn.spatial_attention(q, k, v, causal="bottom_right", sink=sink, return_lse=True)
    without = muattn.spatial_attention(q, k, v, causal="bottom_right", return_lse=True)
    nothing = np.zeros_like(out), np.ascontiguousarray(np.broadcast_to(sink[:, None], lse.shape))
    expected_out, expected_lse = muattn.merge(*without, *nothing)
    reference.assert_close(out, expected_out)
    reference.assert_close(lse, expected_lse)
    assert np.array_equal(out, muattn.spatial_attention(q, k, v, causal="bottom_right", sink=sink.tolist()))


@pytest.mark.parametrize("sink, message", [
    (1.0, "sink must have one entry per head: 4, not 1"),
    ([1, 2], "sink must have one entry per head: 4, not 2"),
    ([], "sink is empty"),
    ([0, 0, 0, -1e40], r"sink\[3\] = -1e\+40 does not fit into a float32"),
    ([0, 0, float("nan"), 0], r"sink\[2\] must be -inf"),
    ([0, 0, 0, 1e38], r"sink\[3\] must be -inf"),
])  # fmt: skip
def test_sinks_that_are_none(random, sink, message):
    q = random(1, 4, 5, 8)
    with pytest.raises(ValueError, match=message):
        muattn.spatial_attention(q, q, q, sink=sink)


def test_a_query_without_keys_gives_zero(random):
    x = random(1, 1, 4, 8)
    out, lse = muattn.spatial_attention(x, x, x, causal=-2, return_lse=True)
    assert (out[0, 0, :2] == 0).all() and np.isneginf(lse[0, 0, :2]).all()
    assert np.isfinite(lse[0, 0, 2:]).all()


def test_hidden_keys_do_not_leak(random):
    q, k, v = random(1, 2, 6, 8), random(1, 2, 6, 8), random(1, 2, 6, 8)
    expected = muattn.spatial_attention(q, k, v, causal="top_left", key_lengths=[4])
    k[:, :, 4:], v[:, :, 4:] = np.nan, np.inf
    v[:, :, 3] = np.nan  # seen by the queries 3, 4 and 5
    out = muattn.spatial_attention(q, k, v, causal="top_left", key_lengths=[4])
    assert np.array_equal(out[:, :, :3], expected[:, :, :3])
    assert np.isnan(out[:, :, 3:]).all()


def test_merge_of_two_key_sets_is_one_call(random):
    q, k, v = (random(2, 4, 7, 8) for _ in range(3))
    whole, whole_lse = muattn.spatial_attention(q, k, v, return_lse=True)
    a = muattn.spatial_attention(q, k[:, :, :3], v[:, :, :3], return_lse=True)
    b = muattn.spatial_attention(q, k[:, :, 3:], v[:, :, 3:], return_lse=True)
    out, lse = muattn.merge(*a, *b)
    reference.assert_close(out, whole.astype("float64"))
    reference.assert_close(lse, whole_lse.astype("float64"))
    with pytest.raises(ValueError, match=r"lse_b.shape\[2\]"):
        muattn.merge(*a, b[0], b[1][:, :, :3])
