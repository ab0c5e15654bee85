"""Every message names the argument."""

import subprocess
import sys

import muattn
import numpy as np
import pytest

X = np.ones((2, 4, 8, 16), np.float32)


def _read_only():
    array = X.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "arrays, error, message",
    [
        ((None, X, X), TypeError, "q must be an array .*, not NoneType"),
        ((X, X.tolist(), X), TypeError, "k must be an array .*, not list"),
        ((X, X, (X.ctypes.data, X.shape, (512, 128, 16, 1), False)), TypeError, "v must be an array .*, not tuple"),
        ((X, X, X.astype(">f4")), TypeError, "v must be an array .*byte order"),
        ((X[0], X, X), ValueError, r"q must have 4 dimensions \[batch, heads, tokens, channels\], not 3"),
        ((X, X.astype(np.float64), X), ValueError, "k.dtype must be float32, float16.* not float64: convert it to float32"),
        ((X, X, X > 0), ValueError, "v.dtype must be float32, float16.* not bool"),
        ((X, X[..., ::2], X), ValueError, r"k.strides\[3\] must be 1 \(elements; .*\), not 2"),
        ((X, X[..., :8], X), ValueError, r"k.shape\[3\] \(d\) must equal q's: 16, not 8"),
        ((np.ones((1, 1, 1, 1025), np.float32),) * 3, ValueError, r"q.shape\[3\] \(d\) must lie in 1..1024, not be 1025"),
    ],
)
@pytest.mark.parametrize("operator", [muattn.spatial_attention, muattn.channel_attention])
def test_arrays(operator, arrays, error, message):
    with pytest.raises(error, match=message):
        operator(*arrays)


def test_tuples_as_results():
    with pytest.raises(TypeError, match="out must be a writable array .*, not tuple"):
        muattn.spatial_attention(X, X, X, out=(X.ctypes.data, X.shape, (512, 128, 16, 1), False))


def test_no_array_before_numpy_is_there():
    code = "import muattn\ntry:\n    muattn.spatial_attention(object(), None, None)\nexcept TypeError as error:\n    print(error)\n"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == "q must be an array (NumPy or DLPack), not object"


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"scaling": "MUP"}, ValueError, "scaling must be one of 'sp', 'mup', 'mup_heads', 'umup', not 'MUP'"),
        ({"scaling": "mup_mean", "scale": 1}, ValueError, "scaling must be one of"),
        ({"scaling": 1}, ValueError, "scaling must be one of"),
        ({"d_base": 0}, ValueError, "d_base must be at least 1, not 0"),
        ({"d_base": 1.5}, TypeError, "d_base must be an integer, not 1.5"),
        ({"d_base": True}, TypeError, "d_base must be an integer, not True"),
        ({"d_base": np.True_}, TypeError, "d_base must be an integer, not"),
        ({"d_base": np.array(True)}, TypeError, r"d_base must be an integer, not array\(True\)"),
        ({"d_base": 2**63}, ValueError, "d_base = 9223372036854775808 does not fit into 64 bits"),
        ({"scale": "1"}, TypeError, "scale must be a number, not '1'"),
        ({"scale": np.str_("1")}, TypeError, "scale must be a number, not '1'"),
        ({"scale": True}, TypeError, "scale must be a number, not True"),
        ({"scale": [0.5, True, 0.5, 0.5]}, TypeError, r"scale\[1\] must be a number, not True"),
        ({"scale": np.ones(4, bool)}, TypeError, r"scale\[0\] must be a number, not True"),
        ({"scale": np.bool_(True)}, TypeError, "scale must be a number, not True"),
        ({"scale": 1j}, TypeError, "scale must be a number, not 1j"),
        ({"scale": np.complex64(1)}, TypeError, "scale must be a number"),
        ({"scale": np.ones(4, "complex64")}, TypeError, r"scale\[0\] must be a number"),
        ({"scale": [None] * 4}, TypeError, "scale must be numbers, not"),
        ({"scale": 10**400}, ValueError, "scale does not fit into a float"),
        ({"scale": []}, ValueError, "scale is empty: give one number for each head"),
        ({"scale": [0.1, 0.2]}, ValueError, r"1 or the number of heads \(4\), not 2"),
        ({"scale": float("nan")}, ValueError, r"scale\[0\] must be 0 or of magnitude 1e-37..1e\+38"),
        ({"scale": 1e300}, ValueError, r"scale = 1e\+300 does not fit into a float32"),
        ({"causal": True}, ValueError, "causal must be None, 'top_left', 'bottom_right', an integer offset or one for each batch entry, not True; PyTorch's is_causal=True is 'top_left'"),
        ({"causal": "left"}, ValueError, "causal must be"),
        ({"causal": [1]}, ValueError, "causal must have one entry per batch entry: 2, not 1"),
        ({"causal": np.array([1, 2, 3])}, ValueError, "causal must have one entry per batch entry: 2, not 3"),
        ({"causal": [1, 0.5]}, TypeError, r"causal\[1\] must be an integer, not 0.5"),
        ({"causal": [1, True]}, TypeError, r"causal\[1\] must be an integer, not True"),
        ({"causal": np.array([1.0, 2.0])}, TypeError, r"causal\[0\] must be an integer, not 1.0"),
        ({"causal": 0.5}, ValueError, "causal must be"),
        ({"window": 3}, ValueError, r"window must be \(left, right\), not 3"),
        ({"window": (True, False)}, TypeError, r"window\[0\] must be an integer, not True"),
        ({"window": (None, np.True_)}, TypeError, r"window\[1\] must be an integer"),
        ({"window": (1.0, 2)}, TypeError, r"window\[0\] must be an integer, not 1.0"),
        ({"window": "12"}, TypeError, r"window\[0\] must be an integer, not '1'"),
        ({"window": (1, 2, 3)}, ValueError, r"window must be \(left, right\), not \(1, 2, 3\)"),
        ({"window": (3, -1)}, ValueError, "window's sides must be at least 0, or None"),
        ({"key_lengths": [8]}, ValueError, "key_lengths must have one entry per batch entry: 2, not 1"),
        ({"key_lengths": [8, 9]}, ValueError, r"key_lengths\[1\] must lie in 0..n_k = 8, not be 9"),
        ({"key_lengths": [1, 1.5]}, TypeError, r"key_lengths\[1\] must be an integer, not 1.5"),
        ({"key_lengths": [True, 8]}, TypeError, r"key_lengths\[0\] must be an integer, not True"),
        ({"key_lengths": np.ones(2, bool)}, TypeError, r"key_lengths\[0\] must be an integer, not True"),
        ({"key_lengths": [8, "8"]}, TypeError, r"key_lengths\[1\] must be an integer, not '8'"),
        ({"key_lengths": np.full(2, 8.0)}, TypeError, r"key_lengths\[0\] must be an integer, not 8.0"),
        ({"return_lse": "no"}, TypeError, "return_lse must be True or False, not 'no'"),
        ({"return_lse": 1}, TypeError, "return_lse must be True or False, not 1"),
        ({"out": X[:, :2].copy()}, ValueError, r"out.shape\[1\] \(H\)"),
        ({"out": X}, ValueError, "out must not overlap q"),
        ({"out": _read_only()}, TypeError, "out must be a writable array"),
        ({"mask": X[:, :, :, :3]}, ValueError, r"mask.shape\[3\] \(n_k\) must be 1, or that of q and k: 8, not 3"),
        ({"mask": X.astype("float64")}, ValueError, "mask.dtype must be float32 or bool, not float64"),
        ({"mask": X != 0}, ValueError, r"mask.shape\[3\] \(n_k\)"),
        ({"mask": np.ones((8, 8), bool)}, ValueError, r"mask must have 4 dimensions \[batch, heads, n_q, n_k\], each full or 1, not 2"),
        ({"mask": np.ones((2, 4, 8, 8), "uint8")}, ValueError, "not uint8: for a mask of 0 and 1 give mask != 0, which is bool"),
        ({"alpha": None}, ValueError, "alpha must be above 0, not None"),
        ({"alpha": -1}, ValueError, "alpha must be above 0, not -1"),
        ({"alpha": float("inf")}, ValueError, "alpha must be finite and above 0"),
        ({"alpha": True}, TypeError, "alpha must be a number, not True"),
        ({"alpha": 2, "scale": 1}, ValueError, "alpha: not where scale is given"),
        ({"alpha": 1e-38}, ValueError, "alpha, power: then the scale must be of magnitude 1e-37"),
        ({"power": 0, "scaling": "mup"}, ValueError, "power must be above 0, not 0"),
        ({"power": 2}, ValueError, "power: only MUATTN_SCALING_MUP has one"),
        ({"power": 2, "scaling": "mup", "scale": 1}, ValueError, "power: not where scale is given"),
        ({"scaling": "umup", "scale": 1}, ValueError, "scale: with MUATTN_SCALING_UMUP give output_multiplier as well"),
        ({"output_multiplier": float("nan")}, ValueError, r"output_multiplier must be 0 or of magnitude 1e-28..1e\+38"),
        ({"output_multiplier": np.ones(4)}, TypeError, "output_multiplier must be a number"),
        ({"softcap": True}, TypeError, "softcap must be a number, not True"),
        ({"softcap": np.array(True)}, TypeError, "softcap must be a number"),
        ({"softcap": np.ones(4)}, TypeError, "softcap must be a number"),
        ({"softcap": float("nan")}, ValueError, "softcap must be above 0, or None, not nan"),
        ({"softcap": 0.0}, ValueError, "softcap must be above 0, or None"),
        ({"softcap": float("inf")}, ValueError, r"softcap must lie in 1e-20..1e\+20"),
        ({"softcap": 1e-50}, ValueError, "softcap = 1e-50 would be 0 as a float32"),
        ({"softcap": 1e-3, "scale": 1e36}, ValueError, r"softcap: scale\[0\] / softcap must be 0 or of magnitude"),
    ],
)
def test_spatial_options(options, error, message):
    with pytest.raises(error, match=message):
        muattn.spatial_attention(X, X, X, **options)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"scaling": "mup"}, ValueError, "d_base"),
        ({"scaling": None}, ValueError, "'mup_heads', 'mup_mean', not None"),
        ({"scaling": "umup"}, ValueError, "'mup_heads', 'mup_mean', not 'umup'"),
        ({"alpha": 0}, ValueError, "alpha must be above 0, not 0"),
        ({"alpha": 2, "scale": 1}, ValueError, "alpha: not where scale is given"),
        ({"output_multiplier": float("inf")}, ValueError, r"output_multiplier must be 0 or of magnitude 1e-34..1e\+38"),
        ({"output_multiplier": True}, TypeError, "output_multiplier must be a number, not True"),
        ({"output_multiplier": np.True_}, TypeError, "output_multiplier must be a number"),
        ({"output_multiplier": float("nan")}, ValueError, r"output_multiplier must be 0 or of magnitude 1e-34..1e\+38"),
        ({"scale": [1, 2]}, ValueError, r"the numbers in scale must be 1 or the number of heads \(4\), not 2"),
        ({"output_multiplier": "x"}, TypeError, "output_multiplier must be a number"),
        ({"out": X[..., :8].copy()}, ValueError, r"out.shape\[3\]"),
        ({"normalize": "no"}, TypeError, "normalize must be True or False, not 'no'"),
        ({"normalize": 1}, TypeError, "normalize must be True or False, not 1"),
        ({"layout": "nchw"}, ValueError, "layout must be one of 'channels_last', 'channels_first'"),
    ],
)
def test_channel_options(options, error, message):
    with pytest.raises(error, match=message):
        muattn.channel_attention(X, X, X, **options)


def test_numbers_of_arrays_are_numbers():
    x = X[..., :1]
    for one in (2, np.float32(2), np.int64(2), np.array(2.0), np.array([[2.0]], np.float16)):
        assert np.array_equal(muattn.channel_attention(x, x, x, output_multiplier=one), 2 * x)
        assert np.array_equal(muattn.spatial_attention(x, x, x, scale=one), x)
    for lengths in ((8, 8), np.array([[8], [8]], np.uint8), [np.int32(8), np.array(8)]):
        assert np.array_equal(muattn.spatial_attention(x, x, x, key_lengths=lengths), x)
    for window in ((np.int64(3), None), [0, 0], np.array([1, 1])):
        assert np.array_equal(muattn.spatial_attention(x, x, x, window=window), x)
    assert len(muattn.spatial_attention(x, x, x, return_lse=np.True_)) == 2


MASKED = np.ma.masked_array(X, X > 0)


@pytest.mark.parametrize("name", ["q", "k", "v", "mask", "scale", "output_multiplier", "alpha", "power", "key_lengths", "softcap", "window", "out"])
def test_masked_arrays_of_spatial_attention(name):
    value = [MASKED, 1] if name == "window" else MASKED
    with pytest.raises(TypeError, match=rf"{name}.* is a masked array \(numpy.ma\), whose mask would be ignored: pass {name}.*"):
        muattn.spatial_attention(**{"q": X, "k": X, "v": X, name: value})


@pytest.mark.parametrize("name", ["q", "k", "v", "scale", "output_multiplier", "out"])
def test_masked_arrays_of_channel_attention(name):
    with pytest.raises(TypeError, match=rf"{name} is a masked array"):
        muattn.channel_attention(**{"q": X, "k": X, "v": X, name: MASKED})


@pytest.mark.parametrize("name", ["out_a", "lse_a", "out_b", "lse_b"])
def test_masked_arrays_of_merge(name):
    arrays = {"out_a": X, "lse_a": X[..., 0], "out_b": X, "lse_b": X[..., 0]}
    with pytest.raises(TypeError, match=rf"{name} is a masked array"):
        muattn.merge(**{**arrays, name: np.ma.masked_array(arrays[name])})


def test_the_advice_for_masks_is_right():
    seen = np.random.default_rng(0).random((2, 1, 8, 8)) < 0.5
    right = muattn.spatial_attention(X, X, X, mask=seen)
    mask = seen.astype("uint8")
    assert np.array_equal(muattn.spatial_attention(X, X, X, mask=mask != 0), right)
    mask = np.ascontiguousarray(seen[0, 0])
    with pytest.raises(ValueError, match=r"mask\[None, None\] is that of \[n_q, n_k\], mask\[:, None, None\] that of \[batch, n_k\]"):
        muattn.spatial_attention(X, X, X, mask=mask)
    assert np.array_equal(
        muattn.spatial_attention(X, X, X, mask=mask[None, None]), muattn.spatial_attention(X, X, X, mask=seen[:1])
    )
    mask = seen[:, 0, 0]
    assert np.array_equal(
        muattn.spatial_attention(X, X, X, mask=mask[:, None, None]),
        muattn.spatial_attention(X, X, X, mask=np.repeat(seen[:, :, :1], 8, 2)),
    )
    mask = seen[:, 0]
    with pytest.raises(ValueError, match=r"mask\[None\] where the batch is missing, mask\[:, None\] where the heads are"):
        muattn.spatial_attention(X, X, X, mask=mask)
    assert np.array_equal(muattn.spatial_attention(X, X, X, mask=mask[:, None]), right)


@pytest.mark.parametrize("layout, names", [("channels_last", "tokens, channels"), ("channels_first", "channels, tokens")])
def test_dimensions_are_called_what_they_are(layout, names):
    with pytest.raises(ValueError, match=rf"k must have 4 dimensions \[batch, heads, {names}\], not 2: k\[None, None\] where"):
        muattn.channel_attention(X, X[0, 0], X, layout=layout)
    with pytest.raises(ValueError, match=r"lse_a must have 3 dimensions \[batch, heads, tokens\], not 2: lse_a\[None\] where"):
        muattn.merge(X, X[0, ..., 0], X, X[..., 0])


def test_options_are_keywords():
    with pytest.raises(TypeError):
        muattn.spatial_attention(X, X, X, "mup")


def test_process_functions():
    with pytest.raises(ValueError, match="1..256"):
        muattn.set_num_threads(0)
    for n in (True, np.True_, 2.0, "2"):
        with pytest.raises(TypeError, match="n must be an integer"):
            muattn.set_num_threads(n)
    with pytest.raises(ValueError, match="n = 1099511627776 does not fit into 32 bits"):
        muattn.set_num_threads(2**40)
    for rule in (lambda: muattn.spatial_scale("sp", d=True), lambda: muattn.spatial_scale("mup", d=8, d_base=True),
                 lambda: muattn.channel_scale("sp", n=True), lambda: muattn.channel_output_multiplier("mup", True, 8)):  # fmt: skip
        with pytest.raises(TypeError, match="must be an integer, not True"):
            rule()
    with pytest.raises(TypeError, match="name must be the name of a backend, or None, not True"):
        muattn.force_backend(True)
    with pytest.raises(ValueError, match="unknown 'gpu:none'"):
        muattn.force_backend("gpu:none")


def test_a_failed_call_writes_nothing():
    out = np.full_like(X, 7)
    with pytest.raises(ValueError):
        muattn.spatial_attention(X, X, X, key_lengths=[8, 9], out=out)
    assert (out == 7).all()
