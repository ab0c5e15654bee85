"""spatial_attention_backward() against the formulas in float64, against slopes of the forward pass, on views, and its errors."""

import concurrent.futures
import sys

import gradients
import muattn
import numpy as np
import pytest
import reference
from hypothesis import given, settings, strategies as st

AVAILABLE = [name for name, available in muattn.backends() if available and name.startswith("cpu:")]
EVERY = ("q", "k", "v", "scale")


def every_name(options):
    mask = options.get("mask")
    named = {"mask": mask is not None and mask.dtype != bool, "sink": options.get("sink") is not None}
    named["output_multiplier"] = "output_multiplier" in options
    return (*EVERY, *(name for name, there in named.items() if there))


def backward(q, k, v, d_out, d_lse=None, wanted=None, **options):
    out, lse = muattn.spatial_attention(q, k, v, return_lse=True, **options)
    wanted = every_name(options) if wanted is None else wanted
    found = muattn.spatial_attention_backward(q, k, v, out, lse, d_out, d_lse=d_lse, wanted=wanted, **options)
    return {name: np.float32(x) if name == "output_multiplier" else x for name, x in found.items()}


def check(q, k, v, d_out, s, /, d_lse=None, tolerance=4e-6, **options):
    result = backward(q, k, v, d_out, d_lse, **options)
    others = {name: x for name, x in options.items() if name not in ("scaling", "d_base", "power", "alpha", "scale")}
    expected = gradients.spatial(q, k, v, d_out, s, d_lse, **others)
    assert list(result) == list(expected)
    for name in expected:
        # That of the scale is a sum over all pairs of a query and a key of terms that may cancel.
        reference.assert_close(result[name], expected[name], tolerance * (8 if name == "scale" else 1))


@pytest.fixture
def arrays(random):
    return random(2, 4, 37, 24), random(2, 2, 70, 24), random(2, 2, 70, 20), random(2, 4, 37, 20)


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("n_q, n_k, d, d_v", [(1, 1, 1, 1), (7, 130, 20, 33), (65, 65, 64, 64), (33, 50, 300, 7)])
def test_every_backend_agrees_with_the_reference(random, backend, n_q, n_k, d, d_v):
    muattn.force_backend(backend)
    q, k, v, d_out = random(2, 4, n_q, d), random(2, 2, n_k, d), random(2, 2, n_k, d_v), random(2, 4, n_q, d_v)
    check(q, k, v, d_out, d**-0.5, random(2, 4, n_q))
    assert muattn.last_kernel() == f"spatial_attention/backward/float32/key_blocks/{backend}"


SINK = np.array([1, -2, 0.5, -np.inf], np.float32)


@pytest.mark.parametrize("options, s", [
    ({"scaling": "mup"}, 1 / 24),
    ({"scaling": "mup", "d_base": 6}, 6**0.5 / 24),
    ({"scaling": "mup_heads"}, 24**-0.5),
    ({"scaling": "mup", "power": 0.75, "alpha": 2}, 2 / 24**0.75),
    ({"output_multiplier": -2.5, "sink": SINK, "causal": "top_left"}, 24**-0.5),
    ({"scale": 0.3}, 0.3),
    ({"scale": [0.1, 0.2, -0.3, 0]}, [0.1, 0.2, -0.3, 0]),
    ({"causal": "top_left"}, 24**-0.5),
    ({"causal": "bottom_right", "window": (9, None)}, 24**-0.5),
    ({"causal": -5}, 24**-0.5),
    ({"causal": [3, -4], "window": (5, 2)}, 24**-0.5),
    ({"causal": "bottom_right", "key_lengths": [70, 33]}, 24**-0.5),
    ({"key_lengths": [0, 69]}, 24**-0.5),
    ({"softcap": 0.7}, 24**-0.5),
    ({"sink": SINK, "key_lengths": [0, 69]}, 24**-0.5),
    ({"sink": SINK, "softcap": 3.0, "causal": "bottom_right"}, 24**-0.5),
])  # fmt: skip
def test_options(arrays, random, options, s):
    check(*arrays, s, **options)
    check(*arrays, s, random(2, 4, 37), **options)


@pytest.mark.parametrize("shape", [(2, 4, 37, 70), (1, 1, 37, 70), (2, 1, 1, 70), (1, 4, 37, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("dtype", [bool, np.float32])
@pytest.mark.parametrize("options", [{}, {"softcap": 0.7, "causal": "bottom_right", "sink": SINK}])
def test_masks(arrays, shape, dtype, options):
    generator = np.random.default_rng(1)
    hidden = generator.random(shape) < 0.3
    mask = ~hidden if dtype is bool else np.where(hidden, np.float32(-np.inf), generator.standard_normal(shape, np.float32))
    check(*arrays, 24**-0.5, tolerance=2e-5, mask=mask, **options)  # one number may be the sum of 20,000


_sides = st.one_of(st.none(), st.integers(0, 40))
any_call = given(
    sizes=st.tuples(*4 * [st.integers(1, 40)], st.integers(1, 3)),  # n_q, n_k, d, d_v, query heads of a key/value head
    causal=st.one_of(st.sampled_from([None, "top_left", "bottom_right"]), st.integers(-10, 40)),
    window=st.one_of(st.none(), st.tuples(_sides, _sides)),
    lengths=st.one_of(st.none(), st.tuples(st.integers(0, 1000), st.integers(0, 1000))),
    mask=st.one_of(st.none(), st.tuples(st.sampled_from([bool, np.float32]), *4 * [st.booleans()])),
    softcap=st.sampled_from([None, 0.5, 20.0]),
    with_sink=st.booleans(),
    with_d_lse=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)


def made(sizes, causal, window, lengths, mask, softcap, with_sink, with_d_lse, seed):
    """(q, k, v, d_out), d_lse, scales, options"""
    n_q, n_k, d, d_v, groups = sizes
    H, generator = 2 * groups, np.random.default_rng(seed)

    def normal(*shape):
        return generator.standard_normal(shape, np.float32)

    options = {"causal": causal, "window": window, "softcap": softcap, "sink": normal(H) if with_sink else None}
    options["key_lengths"] = lengths and [length % (n_k + 1) for length in lengths]
    if mask is not None:
        kind, *full = mask
        shape = [n if f else 1 for n, f in zip((2, H, n_q, n_k), full)]
        options["mask"] = generator.random(shape) < 0.7 if kind is bool else normal(*shape)
    arrays = normal(2, H, n_q, d), normal(2, 2, n_k, d), normal(2, 2, n_k, d_v), normal(2, H, n_q, d_v)
    options["output_multiplier"] = np.float32(generator.uniform(0.5, 2))
    return arrays, normal(2, H, n_q) if with_d_lse else None, normal(H) * np.float32(0.3), options


@settings(max_examples=200)
@any_call
def test_any_call_agrees_with_the_formulas(**drawn):
    arrays, d_lse, scale, options = made(**drawn)
    # With one key, or few, gradients are sums of up to 120 terms that cancel: the bound is one of the terms.
    check(*arrays, scale, d_lse, tolerance=4e-5, scale=scale, **options)


@settings(max_examples=100)
@any_call
def test_any_call_agrees_with_slopes_of_the_forward_pass(**drawn):
    """Along a random direction, in which all inputs move at once."""
    (q, k, v, d_out), d_lse, scale, options = made(**drawn)
    result = backward(q, k, v, d_out, d_lse, scale=scale, **options)
    inputs = {"q": q, "k": k, "v": v, "scale": scale, **options}
    inputs.update({name: np.asarray(inputs[name], np.float64) for name in result})
    generator = np.random.default_rng(drawn["seed"] + 1)
    directions = {name: generator.standard_normal(x.shape) for name, x in result.items()}

    def loss(**moved):
        out, lse = gradients.spatial_forward(**moved)
        of_lse = 0 if d_lse is None else (np.where(np.isneginf(lse), 0, lse) * d_lse).sum()
        return (out * d_out).sum() + of_lse

    terms = np.concatenate([np.ravel(x.astype(np.float64) * directions[name]) for name, x in result.items()])
    assert abs(gradients.slope(loss, inputs, directions) - terms.sum()) <= 1e-5 * np.abs(terms).sum()


@pytest.mark.parametrize("causal", [None, "top_left", "bottom_right", 3])
def test_umup(arrays, causal):
    """Gradients of the function with its output multiplier, by the rule's, too."""
    o = muattn.spatial_output_multiplier("umup", 24, 70, causal=causal is not None, alpha=2.0)
    result = backward(*arrays, wanted=(*EVERY, "output_multiplier"), scaling="umup", alpha=2, causal=causal)
    expected = gradients.spatial(*arrays, 2 / 24, causal=causal, output_multiplier=o)
    for name, x in expected.items():
        reference.assert_close(result[name], x, 4e-6)


def test_only_what_is_wanted_is_there_and_in_its_order(arrays):
    whole = backward(*arrays)
    for wanted in ((), ("v",), ["scale", "q"], ("k", "v", "q")):
        part = backward(*arrays, wanted=wanted)
        assert list(part) == list(wanted)
        for name in wanted:
            reference.assert_close(part[name], whole[name].astype(np.float64), 1e-6)
    assert set(backward(*arrays, wanted=("q", "k", "v"))) == set(muattn.spatial_attention_backward(
        *arrays[:3], *muattn.spatial_attention(*arrays[:3], return_lse=True), arrays[3]))  # fmt: skip


def test_results_are_ordinary_arrays_of_their_own(arrays):
    first, second = backward(*arrays), backward(*arrays)
    for name, x in first.items():
        assert type(x) is np.ndarray and x.dtype == np.float32 and x.flags.c_contiguous and x.flags.owndata and x.flags.writeable
        assert np.array_equal(x, second[name]) and not np.shares_memory(x, second[name])


def test_views_give_the_bits_of_copies(random):
    """Q, K, V of one packed array and outputs [B, n, H, d], as models have them."""
    q, k, v = (random(2, 30, 3, 4, 16)[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    d_out, out = random(2, 30, 4, 16).transpose(0, 2, 1, 3), np.empty((2, 30, 4, 16), np.float32).transpose(0, 2, 1, 3)
    _, lse = muattn.spatial_attention(q, k, v, return_lse=True, out=out)
    d_lse = random(30, 4, 2).T
    views = muattn.spatial_attention_backward(q, k, v, out, lse, d_out, d_lse=d_lse)
    copies = muattn.spatial_attention_backward(*(x.copy("C") for x in (q, k, v, out, lse, d_out)), d_lse=d_lse.copy("C"))
    for name, x in copies.items():
        assert np.array_equal(views[name], x)
    reversed_keys = backward(q, k[:, :, ::-1], v[:, :, ::-1], d_out)
    reference.assert_close(reversed_keys["k"][:, :, ::-1], copies_without_d_lse(q, k, v, d_out)["k"].astype(np.float64))


def copies_without_d_lse(*arrays):
    return backward(*map(np.ascontiguousarray, arrays))


def test_a_repeated_mask_has_a_gradient_in_its_own_shape(arrays, random):
    small = random(1, 4, 1, 70)
    one = backward(*arrays, mask=small)["mask"]
    view = np.broadcast_to(small, (2, 4, 37, 70))
    full = backward(*arrays, mask=view)["mask"]
    assert full.shape == view.shape and np.array_equal(full, backward(*arrays, mask=view.copy())["mask"])
    reference.assert_close(one, full.astype(np.float64).sum((0, 2), keepdims=True), 1e-5)
    everywhere = np.broadcast_to(np.float32(1), (2, 4, 37, 70))
    with pytest.raises(ValueError, match=r"mask repeats one element along every dimension: .* give it in the shape \(1, 1, 1, 1\)"):
        backward(*arrays, mask=everywhere)
    assert set(backward(*arrays, mask=everywhere, wanted=("q",))) == {"q"}


class DLPackOnly:
    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __dlpack__(self, **arguments):
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack_tensors(arrays, random):
    q, k, v, d_out = arrays
    options = {"mask": random(1, 4, 37, 70), "causal": "bottom_right"}
    out, lse = muattn.spatial_attention(q, k, v, return_lse=True, **options)
    expected = muattn.spatial_attention_backward(q, k, v, out, lse, d_out, **options)
    options["mask"] = DLPackOnly(options["mask"])
    result = muattn.spatial_attention_backward(*map(DLPackOnly, (q, k, v, out, lse, d_out)), d_lse=DLPackOnly(np.zeros_like(lse)), **options)
    for name, x in expected.items():
        np.testing.assert_array_equal(result[name], x)


def test_parts_of_the_keys_add_up(arrays, random):
    """With out and lse of all keys, each part gives its share."""
    q, k, v, d_out = arrays
    options = [{"causal": 20, "sink": SINK}, {"causal": 20 - 31}]
    parts = [(np.ascontiguousarray(k[:, :, s]), np.ascontiguousarray(v[:, :, s])) for s in (slice(31), slice(31, None))]
    results = [muattn.spatial_attention(q, *part, return_lse=True, **o) for part, o in zip(parts, options)]
    out, lse = muattn.merge(*results[0], *results[1])
    options[1]["sink"] = SINK
    a, b = (muattn.spatial_attention_backward(q, *part, out, lse, d_out, **o) for part, o in zip(parts, options))
    expected = gradients.spatial(q, k, v, d_out, 24**-0.5, causal=20, sink=SINK)
    reference.assert_close(a["q"] + b["q"], expected["q"], 4e-6)
    for name in ("k", "v"):
        reference.assert_close(np.concatenate([a[name], b[name]], 2), expected[name], 4e-6)


def test_threads_do_not_change_bits(random):
    q, k, v, d_out = (random(1, 2, 700, 40) for _ in range(4))
    results = []
    for threads in (1, 2, 3):
        muattn.set_num_threads(threads)
        results.append(backward(q, k, v, d_out))
    for result in results[1:]:
        assert all(np.array_equal(result[name], x) for name, x in results[0].items())


def test_inputs_are_not_kept(arrays):
    q, k, v, d_out = arrays
    out, lse = muattn.spatial_attention(q, k, v, return_lse=True)
    given = [q, k, v, out, lse, d_out]
    before = [sys.getrefcount(x) for x in given]
    muattn.spatial_attention_backward(*given, d_lse=lse)
    for wrong in ({"wanted": ("mask",)}, {"key_lengths": [1]}):
        with pytest.raises(ValueError):
            muattn.spatial_attention_backward(*given, **wrong)
    assert [sys.getrefcount(x) for x in given] == before


def test_concurrent_calls_give_the_bits_of_serial_ones(random):
    inputs = [[random(1, 2, 50 + i, 32) for _ in range(4)] for i in range(16)]
    serial = [backward(*x) for x in inputs]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda x: backward(*x), inputs))
    for a, b in zip(serial, parallel):
        assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("B, H, Hk, n_q, n_k", [(0, 4, 2, 5, 7), (2, 4, 2, 0, 7), (2, 4, 2, 5, 0), (2, 4, 2, 0, 0)])
def test_sizes_of_0(B, H, Hk, n_q, n_k):
    q, k, v, d_out = (np.ones(shape, np.float32) for shape in ((B, H, n_q, 8), (B, Hk, n_k, 8), (B, Hk, n_k, 6), (B, H, n_q, 6)))
    result = backward(q, k, v, d_out, mask=np.zeros((1, H, 1, n_k), np.float32), sink=np.zeros(H))
    for name, shape in {"q": q.shape, "k": k.shape, "v": v.shape, "scale": (H,), "mask": (1, H, 1, n_k), "sink": (H,)}.items():
        assert result[name].shape == shape and (result[name] == 0).all()


X, L = np.ones((2, 4, 8, 16), np.float32), np.ones((2, 4, 8), np.float32)
GIVEN = {"q": X, "k": X, "v": X, "out": X, "lse": L, "d_out": X}


@pytest.mark.parametrize("given, error, message", [
    ({"wanted": "q"}, TypeError, "wanted must be a sequence of names, not 'q'"),
    ({"wanted": None}, TypeError, "wanted must be a sequence of names, not None"),
    ({"wanted": ("q", "out")}, ValueError, "wanted must hold names of 'q', 'k', 'v', 'scale', 'mask', 'sink', 'output_multiplier', not 'out'"),
    ({"wanted": ("q", 1)}, ValueError, "wanted must hold names of .*, not 1"),
    ({"wanted": ("q", "v", "q")}, ValueError, "wanted has 'q' 2 times"),
    ({"wanted": ("output_multiplier",), "output_multiplier": 0}, ValueError, "output_multiplier must not be 0 where d_output_multiplier"),
    ({"wanted": ("mask",)}, ValueError, "wanted has 'mask', and the call has no additive mask"),
    ({"wanted": ("mask",), "mask": X[..., :8] > 0}, ValueError, "wanted has 'mask', and the call has no additive mask"),
    ({"wanted": ("sink",)}, ValueError, "wanted has 'sink', and the call has no sink"),
    ({"lse": None}, ValueError, r"lse must be given: what spatial_attention\(..., return_lse=True\) gave"),
    ({"out": None}, ValueError, r"out must be given: what spatial_attention\(\) gave"),
    ({"d_out": None}, TypeError, "d_out must be an array .*, not NoneType"),
    ({"d_out": X[..., :8].copy()}, ValueError, r"d_out.shape\[3\] \(d_v\) must equal out's: 16, not 8"),
    ({"d_out": X.astype("float64")}, ValueError, "d_out.dtype must be float32, float16 or bfloat16, not float64"),
    ({"d_out": np.broadcast_to(np.float32(1), X.shape)}, ValueError, r"d_out.strides\[3\] must be 1 \(elements; .*\), not 0"),
    ({"d_lse": L[:, :2].copy()}, ValueError, r"d_lse.shape\[1\] \(H\)"),
    ({"d_lse": X}, ValueError, r"d_lse must have 3 dimensions \[batch, heads, tokens\], not 4"),
    ({"lse": L[:1]}, ValueError, r"lse.shape\[0\] \(B\)"),
    ({"out": X[:, :, :4].copy()}, ValueError, r"out.shape\[2\] \(n_q\)"),
    ({"k": X[..., :8].copy()}, ValueError, r"k.shape\[3\] \(d\) must equal q's: 16, not 8"),
    ({"causal": "left"}, ValueError, "causal must be"),
    ({"softcap": -1}, ValueError, "softcap must be above 0"),
    ({"key_lengths": [8, 9]}, ValueError, r"key_lengths\[1\] must lie in 0..n_k = 8, not be 9"),
    ({"q": np.ma.masked_array(X, X > 0)}, TypeError, "q is a masked array"),
    ({"d_out": np.ma.masked_array(X, X > 0)}, TypeError, "d_out is a masked array"),
    ({"d_lse": np.ma.masked_array(L, L > 0)}, TypeError, "d_lse is a masked array"),
])  # fmt: skip
def test_errors(given, error, message):
    with pytest.raises(error, match=message):
        muattn.spatial_attention_backward(**{**GIVEN, **given})
