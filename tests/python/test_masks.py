"""Masks, softcap and few queries, alone and together, on every path that a call can take."""

import itertools

import muattn
import numpy as np
import pytest
import reference
from hypothesis import given, settings, strategies as st

AVAILABLE = [name for name, available in muattn.backends() if available]
DTYPES = [bool, np.float32]
BROADCASTS = list(itertools.product([True, False], repeat=4))  # for each dimension: full, or 1


def make_mask(generator, shape, dtype):
    """About 30 % hidden."""
    hidden = generator.random(shape) < 0.3
    if dtype is bool:
        return ~hidden
    bias = 2 * generator.standard_normal(shape, np.float32)
    return np.where(hidden, np.float32(-np.inf), bias)


STORAGE = {
    "plain": lambda mask: mask,
    "transposed": lambda mask: np.ascontiguousarray(mask.swapaxes(2, 3)).swapaxes(2, 3),
    "reversed": lambda mask: np.ascontiguousarray(mask[..., ::-1, ::-1])[..., ::-1, ::-1],
    "every third": lambda mask: np.repeat(mask, 3, -1)[..., ::3],
    "batch innermost": lambda mask: np.ascontiguousarray(mask.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2),
}


def check(q, k, v, tolerance=2e-6, **options):
    out, lse = muattn.spatial_attention(q, k, v, return_lse=True, **options)
    expected_out, expected_lse = reference.spatial(q, k, v, q.shape[3] ** -0.5, **options)
    reference.assert_close(out, expected_out, tolerance)
    reference.assert_close(lse, expected_lse, tolerance)
    # Without lse another kernel runs.
    reference.assert_close(muattn.spatial_attention(q, k, v, **options), expected_out, tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("full", BROADCASTS, ids=lambda full: "".join(n if f else "1" for n, f in zip("BHqk", full)))
def test_each_dimension_is_full_or_broadcast(random, dtype, full):
    generator = np.random.default_rng(1)
    q, k, v = random(2, 4, 37, 24), random(2, 2, 70, 24), random(2, 2, 70, 20)
    shape = (2, 4, 37, 70)
    mask = make_mask(generator, [n if f else 1 for n, f in zip(shape, full)], dtype)
    check(q, k, v, mask=mask)
    # The same as a view: extent full, stride 0.
    view = np.broadcast_to(mask, shape)
    result = muattn.spatial_attention(q, k, v, mask=mask)
    assert np.array_equal(muattn.spatial_attention(q, k, v, mask=view), result)
    assert np.array_equal(muattn.spatial_attention(q, k, v, mask=view.copy()), result)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("storage", STORAGE)
def test_a_mask_may_have_any_strides(random, dtype, storage):
    q, k, v = random(2, 4, 37, 24), random(2, 2, 70, 24), random(2, 2, 70, 20)
    mask = make_mask(np.random.default_rng(2), (2, 4, 37, 70), dtype)
    stored = STORAGE[storage](mask)
    assert np.array_equal(stored, mask) and (storage == "plain" or not stored.flags.c_contiguous)
    expected = muattn.spatial_attention(q, k, v, mask=mask)
    assert np.array_equal(muattn.spatial_attention(q, k, v, mask=stored), expected)


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("dtype", [None, *DTYPES])
@pytest.mark.parametrize("n_q, n_k, d, d_v", [(1, 1, 1, 1), (33, 50, 1024, 7), (70, 200, 40, 300)])
def test_every_backend(random, backend, softcap, dtype, n_q, n_k, d, d_v):
    reference.skip_without_kernel(backend, d, d_v)
    muattn.force_backend(backend)
    q, k, v = random(2, 2, n_q, d), random(2, 1, n_k, d), random(2, 1, n_k, d_v)
    mask = dtype and make_mask(np.random.default_rng(3), (2, 2, n_q, n_k), dtype)
    # The rounding of a logit grows with d: 2.4e-6 was measured at 1024.
    check(q, k, v, tolerance=2e-6 if d < 1024 else 4e-6, mask=mask, softcap=softcap)


_sides = st.one_of(st.none(), st.integers(0, 30))


@settings(max_examples=150)
@given(
    n_q=st.one_of(st.just(1), st.integers(1, 60)),
    n_k=st.integers(1, 60),
    d=st.integers(1, 20),
    groups=st.sampled_from([1, 2, 3]),
    causal=st.one_of(st.sampled_from([None, "top_left", "bottom_right"]), st.integers(-70, 70)),
    window=st.one_of(st.none(), st.tuples(_sides, _sides)),
    lengths=st.one_of(st.none(), st.tuples(st.integers(0, 1000), st.integers(0, 1000))),
    dtype=st.sampled_from([None, *DTYPES]),
    full=st.sampled_from(BROADCASTS),
    storage=st.sampled_from(sorted(STORAGE)),
    softcap=st.one_of(st.none(), st.floats(0.1, 100)),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_options_together(n_q, n_k, d, groups, causal, window, lengths, dtype, full, storage, softcap, seed):
    generator = np.random.default_rng(seed)
    shape = (2, 2 * groups, n_q, n_k)
    q = generator.standard_normal((*shape[:3], d), np.float32)
    k, v = (generator.standard_normal((2, 2, n_k, d), np.float32) for _ in range(2))
    mask = dtype and STORAGE[storage](make_mask(generator, [n if f else 1 for n, f in zip(shape, full)], dtype))
    key_lengths = lengths and [length % (n_k + 1) for length in lengths]
    options = {"causal": causal, "window": window, "key_lengths": key_lengths, "mask": mask}
    check(q, k, v, softcap=softcap and float(np.float32(softcap)), **options)


@pytest.mark.parametrize("causal", [None, "top_left", "bottom_right", 5, -3])
@pytest.mark.parametrize("window", [None, (8, 0), (0, 3), (None, 2), (6, None), (0, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_window_causal_and_mask(random, causal, window, dtype):
    q, k, v = random(1, 2, 45, 16), random(1, 2, 70, 16), random(1, 2, 70, 16)
    mask = make_mask(np.random.default_rng(4), (1, 2, 45, 70), dtype)
    check(q, k, v, causal=causal, window=window, mask=mask)


@pytest.mark.parametrize("hiding", [False, -np.inf, -1e38, -7.01e37])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("n_q", [1, 40])
def test_rows_that_are_hidden_whole(random, hiding, softcap, n_q):
    q, k, v = random(1, 2, n_q, 16), random(1, 2, 50, 16), random(1, 2, 50, 16)
    mask = np.full((1, 2, n_q, 50), hiding, bool if hiding is False else np.float32)
    mask[:, :, 1::2] = hiding is False
    out, lse = muattn.spatial_attention(q, k, v, mask=mask, softcap=softcap, return_lse=True)
    assert (out[:, :, ::2] == 0).all() and np.isneginf(lse[:, :, ::2]).all()
    expected, expected_lse = reference.spatial(q, k, v, 1 / 4, softcap=softcap)
    reference.assert_close(out[:, :, 1::2], expected[:, :, 1::2])
    reference.assert_close(lse[:, :, 1::2], expected_lse[:, :, 1::2])


@pytest.mark.parametrize("bias", [-1e4, -1e30, -5.9e37, 1e4, 1e30])
def test_a_large_bias_hides_nothing(random, bias):
    q, k, v = random(1, 2, 40, 16), random(1, 2, 50, 16), random(1, 2, 50, 16)
    mask = np.full((1, 1, 1, 1), bias, np.float32)
    out, lse = muattn.spatial_attention(q, k, v, mask=mask, return_lse=True)
    # The logits as float32 holds them, up to its rounding.
    size = np.float64(np.spacing(np.float32(abs(bias))))
    expected = reference.spatial(q, k, v, 1 / 4 if size < 1 else 0)[0]
    reference.assert_close(out, expected, max(2e-6, 2 * size) if size < 1 else 2e-6)
    assert np.allclose(lse, mask[..., 0], rtol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_q", [1, 40])
def test_nothing_leaks_from_keys_that_a_mask_hides(random, dtype, softcap, poison, n_q):
    q, k, v = random(1, 4, n_q, 16), random(1, 2, 50, 16), random(1, 2, 50, 16)
    mask = np.full((1, 1, 1, 50), True if dtype is bool else 0, dtype)
    mask[..., 10:20] = False if dtype is bool else -np.inf
    expected, expected_lse = reference.spatial(q, k, v, 1 / 4, mask=mask, softcap=softcap)
    k[:, :, 10:20], v[:, :, 10:15] = poison, poison
    out, lse = muattn.spatial_attention(q, k, v, mask=mask, softcap=softcap, return_lse=True)
    reference.assert_close(out, expected)
    reference.assert_close(lse, expected_lse)


def test_a_value_is_not_a_number_only_to_the_queries_that_see_it(random):
    q, k, v = random(1, 1, 40, 16), random(1, 1, 50, 16), random(1, 1, 50, 16)
    mask = make_mask(np.random.default_rng(5), (1, 1, 40, 50), bool)
    expected = reference.spatial(q, k, v, 1 / 4, mask=mask)[0]
    v[:, :, 7] = np.nan
    out = muattn.spatial_attention(q, k, v, mask=mask)
    sees = mask[0, 0, :, 7]
    assert np.isnan(out[0, 0, sees]).all()
    reference.assert_close(out[0, 0, ~sees], expected[0, 0, ~sees])


@pytest.mark.parametrize("softcap", [1e-3, 0.5, 5, 50, 1e6])
def test_softcap(random, softcap):
    q, k, v = 4 * random(2, 4, 40, 16), random(2, 2, 50, 16), random(2, 2, 50, 16)
    check(q, k, v, tolerance=4e-6, softcap=softcap)
    check(q, k, v, tolerance=4e-6, softcap=softcap, causal="top_left", window=(9, 0), key_lengths=[50, 3])


def test_logits_far_beyond_the_cap_reach_it(random):
    q, k, v = 1e4 * random(1, 1, 40, 16), 1e4 * random(1, 1, 50, 16), random(1, 1, 50, 16)
    check(q, k, v, softcap=2.0)


def test_the_cap_comes_before_the_mask(random):
    q, k, v = random(1, 2, 40, 16), random(1, 2, 50, 16), random(1, 2, 50, 16)
    mask = np.zeros((1, 1, 1, 50), np.float32)
    mask[..., ::2] = -200  # capped to -1 it would hide next to nothing
    mask[..., 1] = 20  # and to 1 it would not stand out
    check(q, k, v, mask=mask, softcap=1.0)
    out = muattn.spatial_attention(q, k, v, mask=mask, softcap=1.0)
    reference.assert_close(out, np.broadcast_to(v[:, :, 1:2].astype(np.float64), out.shape), 1e-5)


DECODE = [
    {},
    {"causal": "bottom_right"},
    {"causal": 1234},
    {"causal": "bottom_right", "window": (1000, 0)},
    {"window": (None, 0), "causal": 4000},
    {"key_lengths": [5000, 17]},
    {"key_lengths": [0, 4097]},
    {"softcap": 3.0},
    {"softcap": 3.0, "key_lengths": [4097, 1]},
]


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("options", DECODE, ids=str)
@pytest.mark.parametrize("n_q", [1, 3])
def test_few_queries_against_a_long_cache(random, backend, options, n_q):
    """Grouped heads; the cache has room for more keys than there are, and its heads are not the outer dimension."""
    muattn.force_backend(backend)
    cache = random(2, 6000, 2, 2, 64).transpose(2, 0, 3, 1, 4)[:, :, :, :5000]
    k, v = cache
    check(random(2, 8, n_q, 64), k, v, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_few_queries_with_a_mask(random, dtype, softcap):
    mask = make_mask(np.random.default_rng(6), (2, 1, 1, 5000), dtype)
    options = {"mask": mask, "softcap": softcap, "key_lengths": [4500, 5000], "causal": "bottom_right"}
    check(random(2, 8, 1, 64), random(2, 2, 5000, 64), random(2, 2, 5000, 64), **options)


@pytest.mark.parametrize("n_q", [1, 5, 60])
def test_threads_do_not_change_bits(random, n_q):
    q, k, v = random(1, 4, n_q, 32), random(1, 2, 3000, 32), random(1, 2, 3000, 32)
    mask = make_mask(np.random.default_rng(7), (1, 1, n_q, 3000), np.float32)
    for options in ({}, {"mask": mask}, {"mask": mask > 0}, {"softcap": 3.0}):
        results = []
        for threads in (1, 2, 3):
            muattn.set_num_threads(threads)
            results.append(muattn.spatial_attention(q, k, v, **options))
        assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("n_q", [1, 40])
def test_lse_joins_the_results_over_two_sets_of_keys(random, softcap, n_q):
    q, k, v = random(1, 4, n_q, 16), random(1, 2, 50, 16), random(1, 2, 50, 16)
    mask = make_mask(np.random.default_rng(8), (1, 4, n_q, 50), bool)
    parts = [
        muattn.spatial_attention(q, k, v, mask=part, softcap=softcap, return_lse=True) for part in (mask, ~mask)
    ]
    expected, expected_lse = reference.spatial(q, k, v, 1 / 4, softcap=softcap)
    lse = np.logaddexp(parts[0][1], parts[1][1])
    reference.assert_close(lse, expected_lse)
    joined = sum(out * np.exp(part_lse - lse)[..., None] for out, part_lse in parts)
    reference.assert_close(joined, expected)


def test_lse_holds_the_bias(random):
    q, k, v = random(1, 2, 40, 16), random(1, 2, 50, 16), random(1, 2, 50, 16)
    bias = np.full((1, 1, 1, 1), 3, np.float32)
    plain = muattn.spatial_attention(q, k, v, return_lse=True)[1]
    reference.assert_close(muattn.spatial_attention(q, k, v, mask=bias, return_lse=True)[1], plain + np.float64(3))
