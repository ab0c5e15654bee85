"""float16, bfloat16 (as uint16) and int8 files: what the program gives for float32 files of the same numbers, rounded."""

import ml_dtypes
import numpy as np
import pytest
from program import K, Q, V, array, attend, load, muattn, refused

TYPES = {"float16": (np.float16, "f2", []), "bfloat16": (ml_dtypes.bfloat16, "u2", ["--dtype", "bfloat16"])}


def save(folder, dtype, stored, **arrays):
    """Numbers that dtype has: in files of that type, x16.npy, and of float32, x.npy."""
    for name, x in arrays.items():
        x = x.astype(dtype)
        np.save(folder / f"{name}.npy", x.astype(np.float32))
        np.save(folder / f"{name}16.npy", x.view(stored))


def assert_rounded(folder, name, dtype, stored):
    exact, found = load(folder, name, name + "16")
    assert exact.dtype == np.float32 and found.dtype == np.dtype(stored)
    assert np.array_equal(found, exact.astype(dtype).view(stored))


def run(folder, words, *options):
    done = muattn("attend", *words.split(), *options, folder=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


@pytest.mark.parametrize("name", TYPES)
def test_spatial(folder, name):
    dtype, stored, option = TYPES[name]
    save(folder, dtype, stored, q=array(Q, 0), k=array(K, 1), v=array(V, 2), d=array((2, 4, 9, 12), 3))
    words = "spatial --q q{0}.npy --k k{0}.npy --v v{0}.npy --out o{0}.npy --causal bottom_right --lse l{1}.npy"
    run(folder, words.format("", "") + " --stats s.npy")
    run(folder, words.format("16", "16") + " --stats s16.npy", *option)
    assert_rounded(folder, "o", dtype, stored)
    assert all(np.array_equal(*load(folder, result, f"{result}16")) for result in "ls")
    np.save(folder / "o.npy", np.load(folder / "o16.npy").view(dtype).astype(np.float32))  # both go on from the rounded result
    words += " --backward --d-out d{0}.npy --d-q dq{0}.npy --d-k dk{0}.npy --d-v dv{0}.npy --d-scale ds{0}.npy"
    run(folder, words.format("", ""))
    run(folder, words.format("16", "16"), *option)
    for result in ("dq", "dk", "dv"):
        assert_rounded(folder, result, dtype, stored)
    assert np.array_equal(*load(folder, "ds", "ds16"))
    run(folder, "spatial --q q.npy --k k16.npy --v v16.npy --out o16.npy", *option)
    run(folder, "spatial --q q.npy --k k.npy --v v.npy --out o.npy")
    assert np.array_equal(*load(folder, "o", "o16"))


@pytest.mark.parametrize("name", TYPES)
def test_channel(folder, name):
    dtype, stored, option = TYPES[name]
    save(folder, dtype, stored, **{x: array((1, 2, 50, 8), seed) for seed, x in enumerate("qkvd")})
    words = "channel --q q{0}.npy --k k{0}.npy --v v{0}.npy"
    for suffix, options in (("", []), ("16", option)):
        run(folder, f"{words} --out o{{0}}.npy --map m{{0}}.npy".format(suffix), *options)
        run(folder, f"{words} --backward --d-out d{{0}}.npy --d-q dq{{0}}.npy --d-k dk{{0}}.npy --d-v dv{{0}}.npy".format(suffix), *options)
    for result in ("o", "dq", "dk", "dv"):
        assert_rounded(folder, result, dtype, stored)
    assert np.array_equal(*load(folder, "m", "m16"))


def test_int8(folder):
    for name, shape in (("k", K), ("v", V)):
        x = np.rint(127 * array(shape, 4)).astype(np.int8)
        scale = np.abs(array(shape[:3], 5)) / 127
        np.save(folder / f"{name}.npy", x * scale[..., None])
        np.save(folder / f"{name}8.npy", x)
        np.save(folder / f"{name}_scale.npy", scale)
    run(folder, "spatial --q q.npy --k k.npy --v v.npy --out o.npy")
    run(folder, "spatial --q q.npy --k k8.npy --v v8.npy --k-scale k_scale.npy --v-scale v_scale.npy --out o8.npy")
    np.testing.assert_allclose(*load(folder, "o8", "o"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("files, options, line", [
    (("u", "u", "u"), "", "--q u.npy: dtype uint16, not float32 or float16; --dtype bfloat16 says that it holds bfloat16"),
    (("q", "b", "b"), "", "k_scale must be given where k is int8"),
    (("b", "k", "k"), "", "--q b.npy: dtype int8, not float32 or float16; save x.astype('float32')"),
    (("q", "k", "d"), "", "--v d.npy: dtype float64, not float32, float16 or int8; save x.astype('float32')"),
    (("h", "k", "k"), "", "k.dtype must be that of q, float16, or int8, not float32"),
    (("q", "k", "k"), "--dtype float16", "--dtype: float16 not in {bfloat16}"),
    (("q", "k", "k"), "--k-scale q.npy", "--k-scale q.npy: must have 3 dimensions"),
    (("q", "k", "k"), "--mask h.npy", "--mask h.npy: dtype float16, not bool or float32; save x.astype('float32')"),
])
def test_refusals(folder, files, options, line):
    q = array(Q, 0)
    for name, x in {"u": q.astype("u2"), "b": q.astype("i1"), "d": q.astype("f8"), "h": q.astype("f2")}.items():
        np.save(folder / f"{name}.npy", x)
    refused(folder, attend(folder, "spatial", *options.split(), files=files), line)


def test_bfloat16_as_numpy_saves_it(folder):
    save(folder, ml_dtypes.bfloat16, "u2", q=array(Q, 0), k=array(K, 1), v=array(V, 2))
    for name in "qkv":
        np.save(folder / f"{name}V.npy", np.load(folder / f"{name}16.npy").view(ml_dtypes.bfloat16))
    words = "spatial --q q{0}.npy --k k{0}.npy --v v{0}.npy --out o{0}.npy --dtype bfloat16"
    run(folder, words.format("16"))
    run(folder, words.format("V"))
    assert np.array_equal(*load(folder, "o16", "oV"))
    done = muattn("attend", *"spatial --q qV.npy --k kV.npy --v vV.npy --out o.npy".split(), folder=folder)
    refused(folder, done, "--q qV.npy: dtype <V2, not float32 or float16; --dtype bfloat16 says that it holds bfloat16")
