"""float16, bfloat16 and int8 arrays: bit for bit what float32 arrays of the same numbers give, rounded once by NumPy."""

import itertools
import subprocess
import sys

import ml_dtypes
import muattn
import numpy as np
import pytest
from test_arrays import DLPackOnly, StandardTensor

HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
BACKENDS = [name for name, available in muattn.backends() if available and name.startswith("cpu:")]


def wide(x):
    return x.astype(np.float32) if getattr(x, "dtype", None) in HALVES else x


def assert_bits(result, exact):
    """NaN is NaN, with any bits: a float32 call's may have another sign."""
    with np.errstate(over="ignore", under="ignore"):
        wanted = exact.astype(result.dtype)
    a, b = (x.view(np.uint16) if x.dtype in HALVES else x for x in (result, wanted))
    nan = np.isnan(wanted.astype(np.float32))
    assert result.shape == wanted.shape and np.array_equal(np.isnan(result.astype(np.float32)), nan)
    assert np.array_equal(a[~nan], b[~nan]), np.argwhere((a != b) & ~nan)[:5]


@pytest.fixture
def tokens():
    """tokens(dtype, *shape): normal numbers with all a type has among them."""
    generator = np.random.default_rng(0)
    return lambda dtype, *shape: generator.standard_normal(shape, dtype=np.float32).astype(dtype)


OPTIONS = [
    {}, {"causal": "top_left"}, {"causal": "bottom_right", "window": (5, 2)}, {"softcap": 1.5}, {"scaling": "mup", "d_base": 4, "alpha": 2.0},
    {"scaling": "umup"}, {"scale": [0.1, -0.2, 0.3, 0.0]}, {"key_lengths": [0, 9]}, {"sink": [1.0, -2.0, 0.5, -np.inf], "output_multiplier": -3.0},
    {"causal": [3, -2]},
]  # fmt: skip
SIZES = [(1, 33, 16, 16), (9, 30, 17, 12), (40, 70, 1, 3), (5, 300, 64, 31), (67, 67, 33, 65)]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("n_q, n_k, d, d_v", SIZES)
def test_spatial_bits(tokens, n_q, n_k, d, d_v, dtype, mixed):
    q, k, v = tokens(np.float32 if mixed else dtype, 2, 4, n_q, d), tokens(dtype, 2, 2, n_k, d), tokens(dtype, 2, 2, n_k, d_v)
    masks = [None, np.random.default_rng(1).random((2, 1, n_q, n_k)) < 0.7, tokens(dtype, 1, 4, n_q, n_k), tokens(dtype, 2, 4, 1, 1)]
    for i, options in enumerate(OPTIONS):
        mask = masks[i % len(masks)]
        out, lse = muattn.spatial_attention(q, k, v, mask=mask, return_lse=True, **options)
        exact, exact_lse = muattn.spatial_attention(*map(wide, (q, k, v)), mask=wide(mask), return_lse=True, **options)
        assert out.dtype == q.dtype and lse.dtype == np.float32
        assert np.array_equal(lse, exact_lse)
        assert_bits(out, exact)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend(tokens, backend, dtype):
    muattn.force_backend(backend)
    for n_q, n_k in itertools.product((1, 21), (50,)):
        q, k, v = tokens(dtype, 1, 4, n_q, 20), tokens(dtype, 1, 2, n_k, 20), tokens(dtype, 1, 2, n_k, 9)
        for options in ({}, {"mask": tokens(dtype, 1, 1, n_q, n_k)}, {"softcap": 2.0, "causal": "bottom_right"}):
            assert_bits(muattn.spatial_attention(q, k, v, **options), muattn.spatial_attention(*map(wide, (q, k, v)), **{n: wide(x) for n, x in options.items()}))
    assert muattn.last_kernel().endswith(backend)
    x = tokens(dtype, 1, 2, 37, 19)
    for layout, normalize in itertools.product(("channels_last", "channels_first"), (False, True)):
        options = {"layout": layout, "normalize": normalize, "scale": 2.0}
        assert_bits(muattn.channel_attention(x, x[:, ::-1], x, **options), muattn.channel_attention(*map(wide, (x, x[:, ::-1], x)), **options))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("where", ["q", "k", "v", "mask"])
def test_numbers_that_are_none_and_that_are_small(tokens, where, dtype):
    """NaN and infinities, subnormals, and sums beyond the type's greatest number."""
    least, most = float(ml_dtypes.finfo(dtype).smallest_subnormal), float(ml_dtypes.finfo(dtype).max)
    for number in (np.nan, np.inf, -np.inf, least, -3 * least, most, -most):
        arrays = {"q": tokens(dtype, 1, 2, 9, 8), "k": tokens(dtype, 1, 2, 21, 8), "v": tokens(dtype, 1, 2, 21, 8), "mask": tokens(dtype, 1, 2, 9, 21)}
        arrays[where][0, 1, 3, 4] = number
        if abs(number) == least or where == "v":
            arrays[where][0, 0] = number
        for options in ({}, {"output_multiplier": 1.5, "causal": "top_left"}):
            out = muattn.spatial_attention(**arrays, **options)
            assert_bits(out, muattn.spatial_attention(**{n: wide(x) for n, x in arrays.items()}, **options))
    if where == "v":  # the last: 1.5 times the least is beyond -most
        assert np.isneginf(out[0, 0].astype(np.float32)).all()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_number_passes_as_it_is(dtype):
    """One key: out is v, whatever v is. (-0 is the sum 0.)"""
    numbers = np.arange(2**16, dtype=np.uint16).view(dtype).reshape(1, 128, 1, 512)
    x = np.zeros((1, 128, 1, 4), dtype)
    with np.errstate(invalid="ignore"):
        exact = numbers.astype(np.float32) + np.float32(0)
    assert_bits(muattn.spatial_attention(x, x, numbers), exact)
    assert_bits(muattn.spatial_attention(x.astype(np.float32), x, numbers), exact)
    out = muattn.merge(numbers, np.zeros((1, 128, 1), np.float32), np.zeros_like(numbers), np.full((1, 128, 1), -np.inf, np.float32))[0]
    assert_bits(np.where(out == 0, dtype.type(0), out), exact)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_spatial_gradients(tokens, options, dtype):
    q, k, v = tokens(dtype, 2, 4, 19, 17), tokens(dtype, 2, 2, 45, 17), tokens(dtype, 2, 2, 45, 20)
    mask, d_out, d_lse = tokens(dtype, 2, 1, 19, 45), tokens(dtype, 2, 4, 19, 20), tokens(np.float32, 2, 4, 19)
    out, lse = muattn.spatial_attention(q, k, v, mask=mask, return_lse=True, **options)
    wanted = ("q", "k", "v", "mask", "scale", *(("sink",) if "sink" in options else ()))
    found = muattn.spatial_attention_backward(q, k, v, out, lse, d_out, d_lse=d_lse, mask=mask, wanted=wanted, **options)
    exact = muattn.spatial_attention_backward(*map(wide, (q, k, v, out)), lse, wide(d_out), d_lse=d_lse, mask=wide(mask), wanted=wanted, **options)
    for name in wanted:
        assert found[name].dtype == (np.float32 if name in ("scale", "sink") else dtype)
        assert_bits(found[name], exact[name])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gradients_of_a_cache_in_16_bits(tokens, dtype):
    q, k, v, d_out = tokens(np.float32, 1, 2, 5, 8), tokens(dtype, 1, 2, 30, 8), tokens(dtype, 1, 2, 30, 8), tokens(np.float32, 1, 2, 5, 8)
    out, lse = muattn.spatial_attention(q, k, v, return_lse=True)
    found = muattn.spatial_attention_backward(q, k, v, out, lse, d_out)
    exact = muattn.spatial_attention_backward(q, wide(k), wide(v), out, lse, d_out)
    assert found["q"].dtype == np.float32 and found["k"].dtype == found["v"].dtype == dtype
    for name in "qkv":
        assert_bits(found[name], exact[name])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("normalize", [False, True])
def test_channel(tokens, normalize, layout, dtype):
    shape = (2, 3, 45, 13) if layout == "channels_last" else (2, 3, 13, 45)
    q, k, v, d_out = (tokens(dtype, *shape) for _ in range(4))
    options = {"normalize": normalize, "layout": layout, "scale": [0.5, 1.0, 2.0]}
    assert_bits(muattn.channel_attention(q, k, v, **options), muattn.channel_attention(*map(wide, (q, k, v)), **options))
    wanted = ("q", "k", "v", "scale", "output_multiplier")
    found = muattn.channel_attention_backward(q, k, v, d_out, wanted=wanted, **options)
    exact = muattn.channel_attention_backward(*map(wide, (q, k, v, d_out)), wanted=wanted, **options)
    for name in wanted[:4]:
        assert found[name].dtype == (np.float32 if name == "scale" else dtype)
        assert_bits(found[name], exact[name])
    assert found["output_multiplier"] == exact["output_multiplier"]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("normalize", [False, True])
def test_halves_of_channel_attention(tokens, normalize, dtype):
    q, k, v, d_out = (tokens(dtype, 2, 3, 45, 13) for _ in range(4))
    sums = muattn.channel_map(q, k, normalize=normalize)
    wide_sums = muattn.channel_map(wide(q), wide(k), normalize=normalize)
    for a, b in zip(sums if normalize else [sums], wide_sums if normalize else [wide_sums]):
        assert a.dtype == np.float32 and np.array_equal(a, b)
    map, squares = (sums[0], sums[1:]) if normalize else (sums, None)
    out, attention_map = muattn.channel_apply(map, v, squares=squares, scale=0.7, return_map=True)
    exact, exact_map = muattn.channel_apply(map, wide(v), squares=squares, scale=0.7, return_map=True)
    assert_bits(out, exact)
    assert np.array_equal(attention_map, exact_map)
    found = muattn.channel_apply_backward(map, v, d_out, squares=squares, scale=0.7)
    exact = muattn.channel_apply_backward(map, wide(v), wide(d_out), squares=squares, scale=0.7)
    assert_bits(found["v"], exact["v"])
    assert np.array_equal(found["attention_map"], exact["attention_map"])
    found = muattn.channel_map_backward(q, k, map, found["attention_map"], squares=squares, scale=0.7)
    exact = muattn.channel_map_backward(wide(q), wide(k), map, exact["attention_map"], squares=squares, scale=0.7)
    for name in "qk":
        assert_bits(found[name], exact[name])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_merge_and_statistics(tokens, dtype):
    q, k, v = (tokens(dtype, 2, 4, 30, 16) for _ in range(3))
    parts = [muattn.spatial_attention(q, k[:, :, at], v[:, :, at], return_lse=True) for at in (slice(11), slice(11, None))]
    (out, lse), (exact, exact_lse) = (muattn.merge(*(f(x) for part in parts for x in part)) for f in (lambda x: x, wide))
    assert_bits(out, exact)
    assert np.array_equal(lse, exact_lse)
    for call in (lambda f: muattn.spatial_attention(f(q), f(k), f(v), causal="top_left", return_stats=True), lambda f: muattn.channel_attention(f(q), f(k), f(v), return_stats=True)):
        for a, b in zip(call(lambda x: x)[1], call(wide)[1]):
            assert a.dtype == np.float32 and np.array_equal(a, b)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_views_and_outputs(tokens, dtype):
    qkv = tokens(dtype, 2, 30, 3, 4, 16)
    q, k, v = (qkv[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    k, v = k[:, :, ::-2], np.broadcast_to(v[:1], v.shape)[:, :, ::2]
    expected = muattn.spatial_attention(*map(np.ascontiguousarray, (q, k, v)))
    out = np.zeros((2, 30, 4, 20), dtype).transpose(0, 2, 1, 3)[..., :16]
    assert muattn.spatial_attention(q, k, v, out=out) is out
    assert_bits(out, expected.astype(np.float32))
    assert not out.base[..., 16:].any()
    frozen = expected.copy()
    frozen.flags.writeable = False
    with pytest.raises(TypeError, match="out must be a writable array"):
        muattn.spatial_attention(q, k, v, out=frozen)
    assert muattn.spatial_attention(frozen, frozen, frozen).dtype == dtype
    with pytest.raises(ValueError, match="out must not overlap q"):
        muattn.spatial_attention(expected, expected, expected, out=expected)
    empty = muattn.spatial_attention(np.zeros((2, 4, 0, 16), dtype), k, v)
    assert empty.shape == (2, 4, 0, 16) and empty.dtype == dtype


def test_dlpack(tokens):
    q = tokens(np.float16, 1, 2, 9, 8)
    expected = muattn.spatial_attention(q, q, q)
    assert np.array_equal(muattn.spatial_attention(*3 * [DLPackOnly(q)]), expected)
    result = muattn.spatial_attention(*3 * [StandardTensor(q)])
    assert isinstance(result, StandardTensor) and np.array_equal(result.array, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_pytorch(dtype):
    torch = pytest.importorskip("torch")
    q, k, v = (torch.randn(2, 4, 9, 16).to(getattr(torch, dtype)) for _ in range(3))
    mask = torch.randn(2, 1, 9, 9).to(q.dtype)
    out, lse = muattn.spatial_attention(q, k, v, mask=mask, return_lse=True)
    assert out.dtype is q.dtype and torch.equal(out, muattn.spatial_attention(q.float(), k.float(), v.float(), mask=mask.float()).to(q.dtype))
    found = muattn.spatial_attention_backward(q, k, v, out, lse, out, mask=mask, wanted=("q", "mask"))
    assert found["q"].dtype is found["mask"].dtype is q.dtype
    assert muattn.merge(out, lse, out, lse)[0].dtype is muattn.channel_attention(q, k, v).dtype is q.dtype


def int8_call(tokens, n_q=1, dtype=np.float32):
    call = {"q": tokens(dtype, 2, 4, n_q, 16)}
    for name in "kv":
        x = tokens(np.float32, 2, 2, 70, 16)
        scale = np.abs(x).max(-1, keepdims=True) / 127
        call[name], call[f"{name}_scale"] = np.rint(x / scale).astype(np.int8), scale
    return call


def widened(call):
    return wide(call["q"]), call["k"] * call["k_scale"], call["v"] * call["v_scale"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-6), *zip(HALVES, (1e-3, 8e-3))], ids=str)
@pytest.mark.parametrize("n_q", [1, 19])
def test_int8(tokens, n_q, dtype, tolerance, backend):
    muattn.force_backend(backend)
    call = int8_call(tokens, n_q, dtype)
    for options in ({}, {"causal": "bottom_right", "softcap": 2.0}, {"key_lengths": [0, 50], "mask": tokens(np.float32, 1, 4, 1, 70)}):
        out, lse = muattn.spatial_attention(**call, return_lse=True, **options)
        exact, exact_lse = muattn.spatial_attention(*widened(call), return_lse=True, **options)
        assert out.dtype == dtype and lse.dtype == np.float32
        assert np.abs(out.astype(np.float32) - exact).max() < tolerance
        np.testing.assert_allclose(lse, exact_lse, rtol=1e-5, atol=1e-6)
    rows = {**call, "k_scale": call["k_scale"][..., 0], "v_scale": np.broadcast_to(call["v_scale"], (2, 2, 70, 1))}
    assert np.array_equal(muattn.spatial_attention(**rows), muattn.spatial_attention(**call))


X, H = np.zeros((2, 2, 7, 8), np.float32), np.zeros((2, 2, 7, 8), np.float16)
B, I, S = X.astype(ml_dtypes.bfloat16), X.astype(np.int8), np.ones((2, 2, 7), np.float32)


@pytest.mark.parametrize("call, error, message", [
    (lambda: muattn.spatial_attention(H, X, X), ValueError, "k.dtype must be that of q, float16, or int8, not float32"),
    (lambda: muattn.spatial_attention(H, B, B), ValueError, "k.dtype must be that of q, float16, or int8, not bfloat16"),
    (lambda: muattn.spatial_attention(X, H, B), ValueError, "v.dtype must be that of k: float16, not bfloat16"),
    (lambda: muattn.spatial_attention(B, B, B, out=X.copy()), ValueError, "out.dtype must be that of q: bfloat16, not float32"),
    (lambda: muattn.spatial_attention(I, I, I), ValueError, "q.dtype must be float32, float16 or bfloat16, not int8"),
    (lambda: muattn.spatial_attention(X, I, I), ValueError, "k_scale must be given where k is int8"),
    (lambda: muattn.spatial_attention(X, I, I, k_scale=S), ValueError, "v_scale must be given where v is int8"),
    (lambda: muattn.spatial_attention(X, I, I, k_scale=S, v_scale=S[:, :1]), ValueError, r"v_scale.shape\[1\]"),
    (lambda: muattn.spatial_attention(X, I, I, k_scale=S, v_scale=X), ValueError, "v_scale must have 3 dimensions .* or a last one of 1 as well, not 4"),
    (lambda: muattn.spatial_attention(X, I, I, k_scale=S, v_scale=S.astype("f2")), ValueError, "v_scale.dtype must be float32, not float16"),
    (lambda: muattn.spatial_attention(X, I, I, k_scale=S, v_scale=S, return_stats=True), ValueError, "k.dtype: int8 is not supported"),
    (lambda: muattn.spatial_attention(X, X, X, k_scale=S), ValueError, "k_scale must be null: k is not int8"),
    (lambda: muattn.spatial_attention(X, I, I, k_scale=np.ma.masked_array(S, S > 0), v_scale=S), TypeError, "k_scale is a masked array"),
    (lambda: muattn.spatial_attention_backward(X, I, I, X, S, X), ValueError, "k_scale must be given|int8"),
    (lambda: muattn.spatial_attention_backward(H, H, H, H, S, X), ValueError, "d_out.dtype must be that of out: float16, not float32"),
    (lambda: muattn.spatial_attention_backward(H, H, H, H, S.astype("f2"), H), ValueError, "lse.dtype must be float32, not float16"),
    (lambda: muattn.channel_attention(H, H, X), ValueError, "v.dtype must be that of q: float16, not float32"),
    (lambda: muattn.channel_attention(I, I, I), ValueError, "q.dtype must be float32, float16 or bfloat16, not int8"),
    (lambda: muattn.merge(H, S, X, S), ValueError, "out_b.dtype must be that of out_a: float16, not float32"),
])  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_package_does_not_import_ml_dtypes():
    code = "import sys, numpy as np, muattn; x = np.zeros((1, 1, 2, 8), np.float16); muattn.spatial_attention(x, x, x); sys.exit('ml_dtypes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
