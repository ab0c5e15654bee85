"""Channel attention's gradients and its two halves, against the formulas in float64, slopes of the forward pass, and each other."""

import sys

import gradients
import muattn
import numpy as np
import pytest
import reference
from hypothesis import given, settings, strategies as st

AVAILABLE = [name for name, available in muattn.backends() if available and name.startswith("cpu:")]
EVERY = ("q", "k", "v", "scale", "output_multiplier")
LAYOUTS = ["channels_last", "channels_first"]
both_layouts = pytest.mark.parametrize("layout", LAYOUTS)
normalised_or_not = pytest.mark.parametrize("normalize", [False, True])


def turned(layout, x):
    """An array of tokens in the layout, from channels last, or back."""
    return np.ascontiguousarray(x.swapaxes(2, 3)) if layout == "channels_first" and np.ndim(x) == 4 else x


def backward(q, k, v, d_out, layout="channels_last", wanted=EVERY, **options):
    """For channels-last arrays, in either layout."""
    arrays = (turned(layout, x) for x in (q, k, v, d_out))
    result = muattn.channel_attention_backward(*arrays, wanted=wanted, layout=layout, **options)
    return {name: turned(layout, x) for name, x in result.items()}


def assert_gradients(result, expected, tolerance=4e-6):
    for name, x in result.items():
        if name == "output_multiplier":
            assert type(x) is float
            x = np.array(x, np.float32)
        reference.assert_close(x, expected[name], tolerance)


@pytest.fixture
def arrays(random):
    return [random(2, 3, 50, 24) for _ in range(4)]


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("n, d", [(1, 1), (1, 20), (64, 1), (197, 48), (50, 257), (4099, 24)])
@both_layouts
@normalised_or_not
def test_every_backend_agrees_with_the_reference(random, backend, n, d, layout, normalize):
    muattn.force_backend(backend)
    q, k, v, d_out = (random(2, 3, n, d) for _ in range(4))
    scale = [1, 0.3, -7] if normalize else n**-0.5
    expected = gradients.channel(q, k, v, d_out, scale, 0.5, normalize)
    options = {"scale": scale, "output_multiplier": 0.5, "normalize": normalize}
    assert_gradients(backward(q, k, v, d_out, layout, **options), expected, 1e-5)
    operation, direction, *_, ran_on = muattn.last_kernel().split("/")
    assert (operation, direction, ran_on) == ("channel_attention", "backward", backend)


@pytest.mark.parametrize("options, s, o", [
    ({}, 50**-0.5, 1),
    ({"scaling": "mup", "d_base": 6}, 50**-0.5, 6 / 24),
    ({"scaling": "mup_heads"}, 50**-0.5, 1),
    ({"scaling": "mup_mean"}, 50**-0.5, 1),
    ({"scale": 0.3}, 0.3, 1),
    ({"scale": [0.1, 0, -0.2], "output_multiplier": -3}, [0.1, 0, -0.2], -3),
    ({"output_multiplier": 0}, 50**-0.5, 0),
])  # fmt: skip
def test_options(arrays, options, s, o):
    assert_gradients(backward(*arrays, **options), gradients.channel(*arrays, s, o))


any_call = given(
    n=st.integers(1, 60),
    d=st.integers(1, 40),
    one_scale=st.booleans(),
    multiplier=st.sampled_from([None, 2.5, -1.0]),
    normalize=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 2**32 - 1),
)


def made(n, d, one_scale, multiplier, normalize, seed):
    """(q, k, v, d_out), scale, output multiplier, options"""
    generator = np.random.default_rng(seed)
    arrays = [generator.standard_normal((2, 2, n, d), np.float32) for _ in range(4)]
    scale = generator.standard_normal(1 if one_scale else 2).astype(np.float32) * np.float32(3 if normalize else n**-0.5)
    return arrays, scale, multiplier or 1.0, {"scale": scale, "output_multiplier": multiplier, "normalize": normalize}


@settings(max_examples=150)
@any_call
def test_any_call_agrees_with_the_formulas(layout, **drawn):
    arrays, scale, multiplier, options = made(**drawn)
    expected = gradients.channel(*arrays, scale, multiplier, options["normalize"])
    result = backward(*arrays, layout, **options)
    if options["normalize"]:  # errors are those of the division by a channel's norm, which may be small
        for name, x in zip("qk", arrays):
            norm = np.sqrt((x.astype(np.float64) ** 2).sum(2, keepdims=True))
            result[name], expected[name] = (result[name] * norm).astype(np.float32), expected[name] * norm
    assert_gradients(result, expected, 5e-5)


@settings(max_examples=80)
@any_call
def test_any_call_agrees_with_slopes_of_the_forward_pass(layout, **drawn):
    """Along a random direction, in which all inputs move at once."""
    (q, k, v, d_out), scale, multiplier, options = made(**drawn)
    result = backward(q, k, v, d_out, layout, **options)
    generator = np.random.default_rng(drawn["seed"] + 1)
    inputs = {"q": q, "k": k, "v": v, "scale": np.broadcast_to(scale, 2), "output_multiplier": multiplier}
    inputs = {name: np.asarray(x, np.float64) for name, x in inputs.items()}
    directions = {name: generator.standard_normal(x.shape) for name, x in inputs.items()}

    def loss(**moved):
        return (reference.channel(**moved, normalize=options["normalize"]) * d_out).sum()

    terms = np.concatenate([np.ravel(np.float64(x) * directions[name]) for name, x in result.items()])
    assert abs(gradients.slope(loss, inputs, directions) - terms.sum()) <= 1e-5 * np.abs(terms).sum()


@both_layouts
@normalised_or_not
def test_norms_below_the_epsilon(random, layout, normalize):
    q, k, v, d_out = (random(1, 2, 30, 12) for _ in range(4))
    q[..., 3], k[..., 5] = 0, 0
    result = backward(q, k, v, d_out, layout, scale=4, normalize=normalize)
    expected = gradients.channel(q, k, v, d_out, 4, normalize=normalize)
    for name, at in (("q", 3), ("k", 5)):  # large: 1/1e-12
        reference.assert_close(result[name][..., at], expected[name][..., at], 1e-5)
        result[name][..., at] = expected[name][..., at] = 0
    assert_gradients(result, expected, 1e-5)


# ---- The attention map ---------------------------------------------------------------------------------------------


@both_layouts
@normalised_or_not
def test_the_map_is_returned(arrays, layout, normalize):
    q, k, v, d_out = (turned(layout, x) for x in arrays)
    options = {"scale": [1, 0.3, -2] if normalize else 0.1, "normalize": normalize, "layout": layout, "output_multiplier": 0.5}
    out, attention_map = muattn.channel_attention(q, k, v, return_map=True, **options)
    reference.assert_close(out, muattn.channel_attention(q, k, v, **options).astype(np.float64))
    reference.assert_close(attention_map, gradients.attention_map(*(x.astype(np.float64) for x in arrays[:2]), options["scale"], normalize), 4e-6)
    to = np.empty_like(out)
    assert muattn.channel_attention(q, k, v, return_map=True, out=to, **options)[0] is to and np.array_equal(to, out)


@both_layouts
def test_a_saved_map_gives_the_same_gradients(arrays, layout):
    q, k, v, d_out = (turned(layout, x) for x in arrays)
    _, attention_map = muattn.channel_attention(q, k, v, return_map=True, layout=layout)
    assert_gradients(backward(*arrays, layout, attention_map=attention_map), gradients.channel(*arrays, 50**-0.5), 4e-6)


# ---- Halves --------------------------------------------------------------------------------------------------------


def sums(parts, layout, normalize):
    """channel_map() of each part, added up: (map, squares)."""
    maps = [muattn.channel_map(q, k, normalize=normalize, layout=layout) for q, k, *_ in parts]
    if not normalize:
        return sum(maps), None
    return sum(m for m, _, _ in maps), (sum(q for _, q, _ in maps), sum(k for _, _, k in maps))


@both_layouts
@normalised_or_not
@pytest.mark.parametrize("tokens", [[50], [20, 30], [1, 0, 49]])
def test_tokens_on_several_machines(arrays, layout, normalize, tokens):
    ends = np.cumsum(tokens)
    parts = [[turned(layout, x[:, :, end - n : end]) for x in arrays] for n, end in zip(tokens, ends)]
    logits, squares = sums(parts, layout, normalize)
    scale = [3, 0.3, -2] if normalize else None
    options = {"squares": squares, "scale": scale, "layout": layout, "output_multiplier": 0.5, "tokens": 50}
    s = scale if normalize else 50**-0.5
    out = [turned(layout, muattn.channel_apply(logits, v, **options)) for _, _, v, _ in parts]
    reference.assert_close(np.concatenate(out, 2), reference.channel(*arrays[:3], s, 0.5, normalize), 4e-6)
    expected = gradients.channel(*arrays, s, 0.5, normalize)
    first = [muattn.channel_apply_backward(logits, v, d_out, **options) for _, _, v, d_out in parts]
    d_map = sum(part["attention_map"] for part in first)
    reference.assert_close(d_map, expected["attention_map"], 4e-6)
    every = ("q", "k", "scale", "output_multiplier")
    second = [muattn.channel_map_backward(q, k, logits, d_map, wanted=every, **options) for q, k, *_ in parts]
    result = {name: np.concatenate([turned(layout, part[name]) for part in second], 2) for name in "qk"}
    result["v"] = np.concatenate([turned(layout, part["v"]) for part in first], 2)
    assert_gradients(result, expected, 1e-5)
    for part in second:  # those of all tokens, on each machine
        assert_gradients({name: part[name] for name in every[2:]}, expected, 1e-5)
        assert np.array_equal(part["scale"], second[0]["scale"])


@both_layouts
def test_maps_and_squares(arrays, layout):
    q, k = (x.astype(np.float64) for x in arrays[:2])
    logits, q_squares, k_squares = muattn.channel_map(*(turned(layout, x) for x in arrays[:2]), normalize=True, layout=layout)
    reference.assert_close(logits, q.swapaxes(-1, -2) @ k)
    reference.assert_close(q_squares, (q**2).sum(2))
    reference.assert_close(k_squares, (k**2).sum(2))
    assert np.array_equal(muattn.channel_map(*(turned(layout, x) for x in arrays[:2]), layout=layout), logits)


# ---- Arrays --------------------------------------------------------------------------------------------------------


def test_only_what_is_wanted_is_there_and_in_its_order(arrays):
    whole = backward(*arrays)
    for wanted in ((), ("v",), ["output_multiplier", "q"], ("scale", "k")):
        part = backward(*arrays, wanted=wanted)
        assert list(part) == list(wanted)
        for name, x in part.items():
            np.testing.assert_allclose(x, whole[name], rtol=1e-6, atol=1e-6)
    assert set(muattn.channel_attention_backward(*arrays)) == {"q", "k", "v"}
    logits = muattn.channel_map(*arrays[:2])
    for wanted in (("v",), ("attention_map",), ()):
        assert list(muattn.channel_apply_backward(logits, *arrays[2:], wanted=wanted)) == list(wanted)


def test_views_give_the_bits_of_copies(random):
    q, k, v = (random(2, 30, 3, 4, 16)[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    d_out = random(2, 30, 4, 16).transpose(0, 2, 1, 3)
    expected = backward(*map(np.ascontiguousarray, (q, k, v, d_out)))
    for name, x in backward(q, k, v, d_out).items():
        assert np.array_equal(x, expected[name])


class DLPackOnly:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **arguments):
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack_tensors(arrays):
    wrapped = list(map(DLPackOnly, arrays))
    expected = muattn.channel_attention_backward(*arrays)
    for name, x in muattn.channel_attention_backward(*wrapped).items():
        assert np.array_equal(x, expected[name])
    for result, x in zip(muattn.channel_attention(*wrapped[:3], return_map=True, normalize=True),
                         muattn.channel_attention(*arrays[:3], return_map=True, normalize=True)):  # fmt: skip
        assert np.array_equal(result, x)
    logits, *squares = muattn.channel_map(*wrapped[:2], normalize=True)
    out = muattn.channel_apply(DLPackOnly(logits), wrapped[2], squares=[DLPackOnly(x) for x in squares])
    assert np.array_equal(out, muattn.channel_apply(logits, arrays[2], squares=squares))


def test_inputs_are_not_kept(arrays):
    q, k, v, d_out = arrays
    logits, *squares = muattn.channel_map(q, k, normalize=True)
    given = [*arrays, logits, *squares]
    before = [sys.getrefcount(x) for x in given]
    muattn.channel_apply(logits, v, squares=squares, return_map=True)
    d_map = muattn.channel_apply_backward(logits, v, d_out, squares=squares)["attention_map"]
    muattn.channel_map_backward(q, k, logits, d_map, squares=squares)
    muattn.channel_attention_backward(*arrays, attention_map=logits)
    with pytest.raises(ValueError):
        muattn.channel_apply(logits, v[:, :2], squares=squares)
    assert [sys.getrefcount(x) for x in given] == before


@normalised_or_not
@both_layouts
def test_threads_do_not_change_bits(random, layout, normalize):
    q, k, v, d_out = (random(1, 2, 3000, 40) for _ in range(4))
    results = []
    for threads in (1, 2, 3):
        muattn.set_num_threads(threads)
        results.append(backward(q, k, v, d_out, layout, normalize=normalize))
    for result in results[1:]:
        assert all(np.array_equal(result[name], x) for name, x in results[0].items())


@both_layouts
@pytest.mark.parametrize("shape", [(0, 2, 9, 8), (2, 2, 0, 8), (2, 0, 9, 8)])
def test_sizes_of_0(layout, shape):
    x = np.ones(shape, np.float32)
    result = backward(x, x, x, x, layout, scale=1.0)
    assert all(result[name].shape == shape for name in "qkv")
    assert (result["scale"] == np.zeros(shape[1])).all() and result["output_multiplier"] == 0
    out, attention_map = muattn.channel_attention(*3 * [turned(layout, x)], return_map=True, scale=1.0, layout=layout)
    assert turned(layout, out).shape == shape and attention_map.shape == (*shape[:2], 8, 8)


# ---- Errors --------------------------------------------------------------------------------------------------------

X, M, S = np.ones((2, 4, 8, 16), np.float32), np.ones((2, 4, 16, 16), np.float32), np.ones((2, 4, 16), np.float32)
WIDE = np.ones((1, 1, 1, 10**6), np.float32)  # whose map would take 4 TB
WHOLE = muattn.channel_attention_backward, {"q": X, "k": X, "v": X, "d_out": X}
MAP = muattn.channel_map, {"q": X, "k": X}
APPLY = muattn.channel_apply, {"map": M, "v": X}
APPLY_BACK = muattn.channel_apply_backward, {"map": M, "v": X, "d_out": X}
MAP_BACK = muattn.channel_map_backward, {"q": X, "k": X, "map": M, "d_attention_map": M}
FORWARD = muattn.channel_attention, {"q": X, "k": X, "v": X}


@pytest.mark.parametrize("call, given, error, message", [
    (WHOLE, {"wanted": ("q", "mask")}, ValueError, "wanted must hold names of 'q', 'k', 'v', 'scale', 'output_multiplier', not 'mask'"),
    (WHOLE, {"wanted": ("k", "k")}, ValueError, "wanted has 'k' 2 times"),
    (WHOLE, {"wanted": "k"}, TypeError, "wanted must be a sequence of names, not 'k'"),
    (WHOLE, {"d_out": None}, TypeError, "d_out must be an array .*, not NoneType"),
    (WHOLE, {"d_out": X[:, :, :4].copy()}, ValueError, r"d_out.shape\[2\] \(n\) must equal q's: 8, not 4"),
    (WHOLE, {"attention_map": M[..., :8].copy()}, ValueError, r"attention_map.shape\[3\] \(d\) must equal q's d: 16, not 8"),
    (WHOLE, {"attention_map": S}, ValueError, r"attention_map must have 4 dimensions \[batch, heads, channels of q, channels of k\], not 3"),
    (WHOLE, {"attention_map": M, "normalize": True}, ValueError, "attention_map must be null with normalize"),
    (WHOLE, {"scaling": "mup"}, ValueError, "d_base"),
    (WHOLE, {"q": np.ma.masked_array(X)}, TypeError, "q is a masked array"),
    (WHOLE, {"attention_map": np.ma.masked_array(M)}, TypeError, "attention_map is a masked array"),
    (MAP, {"k": X[..., :8].copy()}, ValueError, r"k.shape\[3\] \(d\) must equal q's: 16, not 8"),
    (MAP, {"normalize": 1}, TypeError, "normalize must be True or False, not 1"),
    (MAP, {"layout": "nchw"}, ValueError, "layout must be one of"),
    (APPLY, {"map": M[:, :2].copy()}, ValueError, r"map.shape\[1\] \(H\) must equal v's H: 4, not 2"),
    (APPLY, {"squares": S}, TypeError, "squares must be a pair of arrays, or None, not ndarray"),
    (APPLY, {"squares": (S, None)}, TypeError, "squares must be a pair of arrays, or None"),
    (APPLY, {"squares": (S, S[:1])}, ValueError, r"k_squares.shape\[0\] \(B\) must equal v's B: 2, not 1"),
    (APPLY, {"squares": (M, S)}, ValueError, r"q_squares must have 3 dimensions \[batch, heads, channels\], not 4"),
    (APPLY, {"tokens": 0}, ValueError, "tokens must be at least 1, or None, not 0"),
    (APPLY, {"tokens": 1.5}, TypeError, "tokens must be an integer, not 1.5"),
    (APPLY, {"return_map": 1}, TypeError, "return_map must be True or False, not 1"),
    (APPLY, {"out": X[..., :8].copy()}, ValueError, r"out.shape\[3\]"),
    (APPLY, {"out": X}, ValueError, "out must not overlap v"),
    (APPLY_BACK, {"wanted": ("map",)}, ValueError, "wanted must hold names of 'attention_map', 'v', not 'map'"),
    (APPLY_BACK, {"d_out": X[:1]}, ValueError, r"d_out.shape\[0\] \(B\)"),
    (MAP_BACK, {"wanted": ("v",)}, ValueError, "wanted must hold names of 'q', 'k', 'scale', 'output_multiplier', not 'v'"),
    (MAP_BACK, {"d_attention_map": M[..., :8].copy()}, ValueError, r"d_attention_map.shape\[3\] \(d\) must equal q's d: 16, not 8"),
    (MAP_BACK, {"d_attention_map": None}, TypeError, "d_attention_map must be an array"),
    (MAP, {"q": WIDE, "k": WIDE, "normalize": True}, ValueError, r"q.shape\[3\] \(d\) must lie in 1..1024, not be 1000000"),
    (FORWARD, {"q": WIDE, "k": WIDE, "v": WIDE, "return_map": True}, ValueError, r"q.shape\[3\] \(d\) must lie in 1..1024"),
    (APPLY_BACK, {"v": WIDE, "d_out": WIDE}, ValueError, r"v.shape\[3\] \(d\) must lie in 1..1024"),
    (FORWARD, {"return_map": 0}, TypeError, "return_map must be True or False, not 0"),
    (FORWARD, {"return_map": True, "v": X[:, :, :4].copy()}, ValueError, r"v.shape\[2\] \(n\) must equal q's: 8, not 4"),
    (FORWARD, {"return_map": True, "v": X[..., :4].copy()}, ValueError, r"v.shape\[3\] \(d\) must equal q's: 16, not 4"),
])  # fmt: skip
def test_errors(call, given, error, message):
    function, arguments = call
    with pytest.raises(error, match=message):
        function(**{**arguments, **given})
