"""Every message names the argument."""

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
        ((X, X, X.astype(">f4")), TypeError, "v must be an array .*byte order"),
        ((X[0], X, X), ValueError, r"q must have 4 dimensions \[batch, heads, tokens, channels\], not 3"),
        ((X, X.astype(np.float64), X), ValueError, "k.dtype must be float32, not float64"),
        ((X, X, X > 0), ValueError, "v.dtype must be float32, not bool"),
        ((X, X[..., ::2], X), ValueError, r"k.strides\[3\] must be 1 \(elements; .*\), not 2"),
        ((X, X[..., :8], X), ValueError, r"k.shape\[3\] \(d\) must equal q's: 16, not 8"),
        ((X[:0], X[:0], X[:0]), ValueError, r"q.shape\[0\]"),
        ((np.ones((1, 1, 1, 1025), np.float32),) * 3, ValueError, "at most 1024, not 1025"),
    ],
)
@pytest.mark.parametrize("operator", [muattn.spatial_attention, muattn.channel_attention])
def test_arrays(operator, arrays, error, message):
    with pytest.raises(error, match=message):
        operator(*arrays)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"scaling": "MUP"}, ValueError, "scaling must be one of 'sp', 'mup', 'mup_heads', not 'MUP'"),
        ({"scaling": "mup_mean", "scale": 1}, ValueError, "scaling must be one of"),
        ({"scaling": 1}, ValueError, "scaling must be one of"),
        ({"d_base": 0}, ValueError, "d_base must be at least 1, not 0"),
        ({"d_base": 1.5}, TypeError, "d_base must be an integer, not 1.5"),
        ({"scale": "1"}, TypeError, "scale must be a number, not '1'"),
        ({"scale": []}, ValueError, "scale is empty: it is one number, or one for each head"),
        ({"scale": [0.1, 0.2]}, ValueError, r"1 or the number of heads \(4\), not 2"),
        ({"scale": float("nan")}, ValueError, r"scale\[0\] must be finite"),
        ({"scale": 1e300}, ValueError, r"scale\[0\] must be finite"),
        ({"causal": True}, ValueError, "causal must be None, 'top_left', 'bottom_right' or an integer offset, not True"),
        ({"causal": "left"}, ValueError, "causal must be"),
        ({"causal": 0.5}, ValueError, "causal must be"),
        ({"window": 3}, ValueError, r"window must be \(left, right\), not 3"),
        ({"window": (3, -1)}, ValueError, "window's sides must be at least 0, or None"),
        ({"key_lengths": [8]}, ValueError, "key_lengths must have one entry per batch entry: 2, not 1"),
        ({"key_lengths": [8, 9]}, ValueError, r"key_lengths\[1\] must lie in 0..n_k = 8, not be 9"),
        ({"key_lengths": [1, 1.5]}, TypeError, r"key_lengths\[1\] must be an integer, not 1.5"),
        ({"out": X[:, :2].copy()}, ValueError, r"out.shape\[1\] \(H\)"),
        ({"out": X}, ValueError, "out must not overlap q"),
        ({"out": _read_only()}, TypeError, "out must be a writable array"),
        ({"mask": X[:, :, :, :3]}, ValueError, r"mask.shape\[3\] \(n_k\) must be 1, or that of q and k: 8, not 3"),
        ({"mask": X.astype("float64")}, ValueError, "mask.dtype must be float32 or bool, not float64"),
        ({"softcap": 0.0}, ValueError, "softcap must be above 0, or None"),
        ({"softcap": float("inf")}, ValueError, "softcap must be finite"),
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
        ({"output_multiplier": float("inf")}, ValueError, "output_multiplier must be finite"),
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


def test_options_are_keywords():
    with pytest.raises(TypeError):
        muattn.spatial_attention(X, X, X, "mup")


def test_process_functions():
    with pytest.raises(ValueError, match="1..256"):
        muattn.set_num_threads(0)
    with pytest.raises(ValueError, match="unknown 'gpu:none'"):
        muattn.force_backend("gpu:none")


def test_a_failed_call_writes_nothing():
    out = np.full_like(X, 7)
    with pytest.raises(ValueError):
        muattn.spatial_attention(X, X, X, key_lengths=[8, 9], out=out)
    assert (out == 7).all()
