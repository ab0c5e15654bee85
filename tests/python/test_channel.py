import muattn
import numpy as np
import pytest
import reference
from hypothesis import given, settings, strategies as st

AVAILABLE = [name for name, available in muattn.backends() if available]


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("n, d", [(1, 1), (197, 48), (50, 257), (3, 1024)])
def test_every_backend_agrees_with_the_reference(random, backend, n, d):
    muattn.force_backend(backend)
    q, k, v = random(2, 3, n, d), random(2, 3, n, d), random(2, 3, n, d)
    reference.assert_close(muattn.channel_attention(q, k, v), reference.channel(q, k, v, n**-0.5))


@pytest.mark.parametrize(
    "options, scale, multiplier",
    [
        ({}, 1 / 5, 1),
        ({"scaling": "sp", "d_base": 16}, 1 / 5, 1),
        ({"scaling": "mup", "d_base": 16}, 1 / 5, 16 / 64),
        ({"scaling": "mup_heads"}, 1 / 5, 1),
        ({"scaling": "mup_mean"}, 1 / 5, 1),
        ({"alpha": 3}, 3 / 5, 1),
        ({"scale": 0.3}, 0.3, 1),
        ({"scale": [0.1, -0.2], "scaling": "mup", "d_base": 32}, [0.1, -0.2], 0.5),
        ({"output_multiplier": -3}, 1 / 5, -3),
        ({"scaling": "mup", "output_multiplier": 2.5}, 1 / 5, 2.5),
    ],
)
def test_scaling_rules(random, options, scale, multiplier):
    q, k, v = random(2, 2, 25, 64), random(2, 2, 25, 64), random(2, 2, 25, 64)
    expected = reference.channel(q, k, v, scale, multiplier)
    reference.assert_close(muattn.channel_attention(q, k, v, **options), expected)


def test_scale_functions():
    assert muattn.channel_scale("mup", 25) == 1 / 5
    assert muattn.channel_scale("sp", 25, alpha=4) == 4 / 5
    assert muattn.channel_output_multiplier("sp", 64) == 1
    assert muattn.channel_output_multiplier("mup", 64, 16) == 1 / 4
    assert muattn.channel_output_multiplier("mup_heads", 64, 16) == 1
    assert muattn.channel_output_multiplier("mup_mean", 64, 16) == 1
    with pytest.raises(ValueError, match="d_base"):
        muattn.channel_output_multiplier("mup", 64)


@settings(max_examples=80)
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 60),
    scale=st.lists(st.floats(-2, 2).filter(lambda s: s == 0 or abs(s) > 1e-37), min_size=1, max_size=2),
    normalize=st.booleans(),
    layout=st.sampled_from(["channels_last", "channels_first"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_scale_and_layout(n, d, scale, normalize, layout, seed):
    generator = np.random.default_rng(seed)
    q, k, v = (generator.standard_normal((2, 2, n, d), np.float32) for _ in range(3))
    expected = reference.channel(q, k, v, np.float32(scale), normalize=normalize)
    # The error of a logit grows with the logit: up to about n |scale| here, |scale| when normalised.
    tolerance = 2e-6 * max(1, (1 if normalize else n) * np.abs(scale).max())
    options = {"scale": scale, "normalize": normalize}
    reference.assert_close(in_layout(layout, q, k, v, **options), expected, tolerance)


def in_layout(layout, *arrays, **options):
    """The result for channels-last arrays, computed in either layout."""
    if layout == "channels_last":
        return muattn.channel_attention(*arrays, **options)
    first = [np.ascontiguousarray(x.swapaxes(2, 3)) for x in arrays]
    return muattn.channel_attention(*first, layout=layout, **options).swapaxes(2, 3)


LAYOUTS = ["channels_last", "channels_first"]
both_layouts = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("n, d", [(1, 1), (1, 64), (64, 1), (197, 48), (50, 257), (3, 1024), (4099, 24)])
@pytest.mark.parametrize("normalize", [False, True])
@both_layouts
def test_layouts_and_normalisation_on_every_backend(random, backend, n, d, normalize, layout):
    muattn.force_backend(backend)
    q, k, v = random(2, 3, n, d), random(2, 3, n, d), random(2, 3, n, d)
    scale = [1, 0.3, -7] if normalize else n**-0.5
    expected = reference.channel(q, k, v, scale, normalize=normalize)
    reference.assert_close(in_layout(layout, q, k, v, scale=scale, normalize=normalize), expected, 4e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_channels_first_is_channels_last_transposed(random, normalize):
    q, k, v = random(2, 3, 100, 40), random(2, 3, 100, 40), random(2, 3, 100, 40)
    last, first = (in_layout(layout, q, k, v, normalize=normalize) for layout in LAYOUTS)
    reference.assert_close(first, last)


def test_channels_first_views(random):
    """The heads of one feature map [B, 3 H d, n], and an output within a larger one."""
    qkv = random(2, 3, 4, 16, 60)
    q, k, v = (qkv[:, i, :, ::2, 5:] for i in range(3))
    out = np.full((2, 4, 8, 64), np.nan, np.float32)[..., :55]
    options = {"normalize": True, "scale": [1, 2, 3, 4], "layout": "channels_first"}
    assert muattn.channel_attention(q, k, v, out=out, **options) is out
    assert np.array_equal(out, muattn.channel_attention(*map(np.ascontiguousarray, (q, k, v)), **options))
    assert np.isnan(out.base[..., 55:]).all()


@both_layouts
def test_normalisation_forgets_the_scale_of_a_channel(random, layout):
    q, k, v = random(1, 2, 50, 16), random(1, 2, 50, 16), random(1, 2, 50, 16)
    factor = 2.0 ** np.arange(-20, 12, 2, dtype=np.float32)
    options = {"normalize": True, "scale": [3, 5]}
    expected = in_layout(layout, q, k, v, **options)
    reference.assert_close(in_layout(layout, q * factor, k * factor[::-1], v, **options), expected)


@both_layouts
def test_normalised_logits_take_the_scaling_rule_when_no_temperature_is_given(random, layout):
    q, k, v = random(1, 2, 25, 64), random(1, 2, 25, 64), random(1, 2, 25, 64)
    result = in_layout(layout, q, k, v, normalize=True, scaling="mup", d_base=16)
    reference.assert_close(result, reference.channel(q, k, v, 1 / 5, 16 / 64, normalize=True))


@both_layouts
def test_channels_of_zeros_stay_zeros_under_normalisation(random, layout):
    q, k, v = random(1, 2, 30, 12), random(1, 2, 30, 12), random(1, 2, 30, 12)
    q[..., 3], k[..., 5] = 0, 0
    result = in_layout(layout, q, k, v, normalize=True, scale=4)
    reference.assert_close(result, reference.channel(q, k, v, 4, normalize=True))
    reference.assert_close(result[..., 3], v.astype(np.float64).mean(-1))
    zeros = np.zeros_like(q)
    reference.assert_close(in_layout(layout, zeros, zeros, v, normalize=True), reference.channel(zeros, zeros, v, 1))


@both_layouts
@pytest.mark.parametrize("size", [3e-12, 1e-13, 1e-14, 1e-22])
def test_norms_below_the_epsilon_are_not_raised_to_one(random, layout, size):
    """As torch.nn.functional.normalize: max(norm, 1e-12). A large scale shows what is left."""
    q, k, v = random(1, 1, 40, 12), random(1, 1, 40, 12), random(1, 1, 40, 12)
    q[..., :6] *= np.float32(size)
    result = in_layout(layout, q, k, v, normalize=True, scale=20)
    reference.assert_close(result, reference.channel(q, k, v, 20, normalize=True), 2e-5)


@both_layouts
@pytest.mark.parametrize("normalize", [False, True])
def test_one_channel_passes_v_through(random, layout, normalize):
    q, k, v = random(2, 3, 17, 1), random(2, 3, 17, 1), random(2, 3, 17, 1)
    result = in_layout(layout, q, k, v, normalize=normalize, output_multiplier=0.5)
    assert np.array_equal(result, 0.5 * v)


@both_layouts
def test_one_token_is_normalised_to_its_sign(random, layout):
    q, k, v = random(2, 3, 1, 20), random(2, 3, 1, 20), random(2, 3, 1, 20)
    expected = reference.channel(np.sign(q), np.sign(k), v, [1, 2, 3])
    reference.assert_close(in_layout(layout, q, k, v, normalize=True, scale=[1, 2, 3]), expected)


@both_layouts
@pytest.mark.parametrize("normalize", [False, True])
def test_threads_do_not_change_bits(random, layout, normalize):
    q, k, v = random(1, 2, 3000, 40), random(1, 2, 3000, 40), random(1, 2, 3000, 40)
    results = []
    for threads in (1, 2, 3):
        muattn.set_num_threads(threads)
        results.append(in_layout(layout, q, k, v, normalize=normalize))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
