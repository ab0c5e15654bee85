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
    assert muattn.channel_output_multiplier("sp", 64) == 1
    assert muattn.channel_output_multiplier("mup", 64, 16) == 1 / 4
    assert muattn.channel_output_multiplier("mup_heads", 64, 16) == 1
    assert muattn.channel_output_multiplier("mup_mean", 64, 16) == 1
    with pytest.raises(ValueError, match="d_base"):
        muattn.channel_output_multiplier("mup", 64)


@settings(max_examples=40)
@given(n=st.integers(1, 60), d=st.integers(1, 60), scale=st.floats(-2, 2), seed=st.integers(0, 2**32 - 1))
def test_any_shape_and_scale(n, d, scale, seed):
    generator = np.random.default_rng(seed)
    q, k, v = (generator.standard_normal((1, 2, n, d), np.float32) for _ in range(3))
    expected = reference.channel(q, k, v, np.float32(scale))
    # The error of a logit grows with the logit: about n |scale| here.
    tolerance = 2e-6 * max(1, n * abs(scale))
    reference.assert_close(muattn.channel_attention(q, k, v, scale=scale), expected, tolerance)
