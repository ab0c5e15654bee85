"""`muattn attend ... --backward` against slopes of NumPy's float64 forward pass, and its errors."""

import numpy as np
import pytest
from program import K, Q, V, array, attend, channel, close, load, muattn, refused, softmax, spatial

INPUTS = "--q q.npy --k k.npy --v v.npy".split()
SEEN = np.random.default_rng(9).random((2, 1, 9, 30)) < 0.5
J = np.arange(30)


@pytest.fixture
def forward(folder):
    """The folder, with d_out and the masks; forward(options) computes o.npy and l.npy."""
    np.save(folder / "d_out.npy", array((*Q[:3], V[3]), 5))
    np.save(folder / "d_lse.npy", array(Q[:3], 6))
    np.save(folder / "added.npy", array((1, 4, 1, 30), 10))
    np.save(folder / "seen.npy", SEEN)

    def call(options=""):
        done = attend(folder, "spatial", "--lse", "l.npy", *options.split())
        assert done.returncode == 0, done
        return folder

    return call


def backward(folder, *options, lse="l.npy"):
    given = ["--backward", *INPUTS, "--out", "o.npy", "--lse", lse, "--d-out", "d_out.npy"]
    return muattn("attend", "spatial", *given, *options, folder=folder)


def outputs(*names):
    return [word for name in names for word in (f"--d-{name}", f"d_{name}.npy")]


def assert_slopes(folder, loss, inputs):
    """Of loss(**inputs) by each input, along a direction of its own."""
    for seed, (name, x) in enumerate(inputs.items()):
        gradient = np.load(folder / f"d_{name}.npy")
        assert gradient.dtype == np.float32 and gradient.shape == x.shape
        x, u, h = x.astype(np.float64), array(x.shape, 100 + seed).astype(np.float64), 1e-4
        a, b, c, d = (loss(**{**inputs, name: x + step * h * u}) for step in (1, -1, 2, -2))
        assert (8 * (a - b) - (c - d)) / (12 * h) == pytest.approx((gradient * u).sum(), abs=1e-5 * np.abs(gradient * u).sum())


@pytest.mark.parametrize("options, rules, more", [
    ("", {}, ()),
    ("--scaling mup --d-base 4 --causal bottom_right", {"s": 2 / 16, "seen": J <= np.arange(9)[:, None] + 21}, ()),
    ("--scale .1,.2,.3,.4 --threads 1", {"s": [0.1, 0.2, 0.3, 0.4]}, ()),
    ("--key-lengths 30,17 --window ,25", {"seen": (J < np.reshape([30, 17], (2, 1, 1, 1))) & (J <= np.arange(9)[:, None] + 25)}, ()),
    ("--mask seen.npy", {"seen": SEEN}, ()),
    ("--scaling umup --alpha 8", {"s": 8 / 16, "o": 30 ** (1 / 4)}, ()),
    ("--mask added.npy --softcap 0.7 --sink 1,-2,0.5,0", {"added": "added", "softcap": 0.7, "sink": [1, -2, 0.5, 0]}, ("mask", "sink")),
])  # fmt: skip
@pytest.mark.parametrize("with_d_lse", [False, True])
def test_spatial(forward, options, rules, more, with_d_lse):
    folder = forward(options)
    before = {name: (folder / name).read_bytes() for name in ("o.npy", "l.npy", "d_out.npy")}
    wanted = outputs("q", "k", "v", "scale", *more) + ["--d-output-multiplier", "d_o.npy"]
    done = backward(folder, *options.split(), *wanted, *(["--d-lse", "d_lse.npy"] if with_d_lse else []))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert all((folder / name).read_bytes() == x for name, x in before.items())  # read, not written
    q, k, v, d_out, d_lse = load(folder, "q", "k", "v", "d_out", "d_lse")
    rules = {"s": 1 / 4, **rules}

    def loss(q, k, v, scale, o, mask=0, sink=-np.inf):
        others = {name: x for name, x in rules.items() if name in ("seen", "softcap")}
        out, lse = spatial(q, k, v, scale, added=mask, sink=sink, o=o, **others)
        return (out * d_out).sum() + with_d_lse * (lse * d_lse).sum()

    inputs = {"q": q, "k": k, "v": v, "scale": np.broadcast_to(np.asarray(rules["s"], np.float64), 4), "o": np.array([rules.get("o", 1)])}
    if more:
        inputs.update(mask=np.load(folder / "added.npy"), sink=np.asarray(rules["sink"], np.float64))
    assert_slopes(folder, loss, inputs)



def test_only_what_is_named_is_written(forward):
    folder = forward()
    assert backward(folder, *outputs("v")).returncode == 0
    assert {path.name for path in folder.glob("d_*.npy")} == {"d_out.npy", "d_lse.npy", "d_v.npy"}
    alone = np.load(folder / "d_v.npy")
    assert alone.shape == V
    assert backward(folder, *outputs("k", "v")).returncode == 0
    assert np.load(folder / "d_k.npy").shape == K
    np.testing.assert_allclose(np.load(folder / "d_v.npy"), alone, atol=1e-6)


@pytest.mark.parametrize("options, line", [
    ("", "--backward needs one of --d-q, --d-k, --d-v, --d-scale, --d-mask, --d-sink"),
    ("--d-mask d_mask.npy", "--d-mask: needs a --mask of float32"),
    ("--d-mask d_mask.npy --mask seen.npy", "--d-mask: needs a --mask of float32"),
    ("--d-sink d_sink.npy", "--d-sink: needs --sink"),
    ("--d-q d.npy --d-k d.npy", "--d-k and --d-q name the same file"),
    ("--d-q nowhere/d.npy", "cannot be created: No such file or directory"),
    ("--d-q d.npy --d-lse d_out.npy", "--d-lse d_out.npy: must have 3 dimensions [B, H, n_q], not 4: shape (2, 4, 9, 12)"),
    ("--d-q d.npy --d-lse plane.npy", "--d-lse plane.npy: must have 3 dimensions [B, H, n_q], not 2: shape (9, 30)"),
    ("--d-q d.npy --d-lse ones.npy", "d_lse.shape[2] (n_q)"),
    ("--d-q d.npy --d-lse column.npy", "not 4: shape (2, 4, 9, 1); save x[..., 0] where the last one is 1"),
    ("--d-q d.npy --softcap -1", "softcap"),
    ("--d-q d.npy --backend cpu:z80", "backend: unknown 'cpu:z80'"),
    ("--d-q ''", "--d-q"),
])  # fmt: skip
def test_bad_options(forward, options, line):
    folder = forward()
    np.save(folder / "plane.npy", np.ones((9, 30), np.float32))
    np.save(folder / "ones.npy", np.ones((2, 4, 1), np.float32))
    np.save(folder / "column.npy", np.ones((2, 4, 9, 1), np.float32))
    done = backward(folder, *(word.strip("'") for word in options.split()))
    results_are_as_before(folder)
    refused(folder, done, line)


def results_are_as_before(folder):
    """refused() asks that there be no outputs of a forward call."""
    for name in ("o.npy", "l.npy"):
        (folder / name).unlink()
    assert {path.name for path in folder.glob("d*.npy")} == {"d_out.npy", "d_lse.npy"}


def test_what_is_missing(forward):
    folder = forward()
    for given, line in [
        ("--backward --out o.npy --d-out d_out.npy --d-q d.npy", "--backward needs --lse"),
        ("--backward --out o.npy --lse l.npy --d-q d.npy", "--backward needs --d-out"),
        ("--backward --lse l.npy --d-out d_out.npy --d-q d.npy", "--out is required"),
        ("--out new.npy --d-q d.npy", "--d-q requires --backward"),
        ("--backward --out none.npy --lse l.npy --d-out d_out.npy --d-q d.npy", "--out none.npy: cannot be opened"),
        ("--backward --out q.npy --lse l.npy --d-out d_out.npy --d-q d.npy", "out.shape[3] (d_v)"),
        ("--backward --out o.npy --lse l.npy --d-out q.npy --d-q d.npy", "d_out.shape[3] (d_v)"),
    ]:
        done = muattn("attend", "spatial", *INPUTS, *given.split(), folder=folder)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and line in done.stderr, done
        assert not (folder / "d.npy").exists() and not (folder / "new.npy").exists() and not list(folder.glob("*.tmp"))


# ---- Channel attention ---------------------------------------------------------------------------------------------


@pytest.fixture
def tokens(tmp_path):
    """A folder with q, k, v and d_out [1, 2, 50, 8]."""
    for seed, name in enumerate(("q", "k", "v", "d_out")):
        np.save(tmp_path / f"{name}.npy", array((1, 2, 50, 8), seed))
    return tmp_path


def channel_backward(folder, *options):
    return muattn("attend", "channel", "--backward", *INPUTS, "--d-out", "d_out.npy", *options, folder=folder)


@pytest.mark.parametrize("options, rules", [
    ("", {}),
    ("--scaling mup --d-base 2", {"o": 2 / 8}),
    ("--output-multiplier -3 --scale 0.2", {"s": 0.2, "o": -3}),
    ("--normalize --scale 2,5", {"s": [2, 5], "normalize": True}),
])  # fmt: skip
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_channel(tokens, options, rules, layout):
    def turn(x):
        return np.ascontiguousarray(x.swapaxes(2, 3)) if layout == "channels_first" else x

    names = ("q", "k", "v", "d_out")
    given = dict(zip(names, load(tokens, *names)))
    for name, x in given.items():
        np.save(tokens / f"{name}.npy", turn(x))
    every = outputs("q", "k", "v", "scale", "output-multiplier")
    done = channel_backward(tokens, "--layout", layout, *options.split(), *every)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    d_out = given.pop("d_out")
    (tokens / "d_output-multiplier.npy").rename(tokens / "d_multiplier.npy")
    rules = {"s": 50**-0.5, "o": 1, "normalize": False, **rules}
    inputs = {name: turn(x) for name, x in given.items()}
    inputs.update(scale=np.broadcast_to(np.asarray(rules["s"], np.float64), 2), multiplier=np.full(1, rules["o"], np.float64))

    def loss(q, k, v, scale, multiplier):
        return (channel(turn(q), turn(k), turn(v), scale, multiplier[0], rules["normalize"]) * d_out).sum()

    assert_slopes(tokens, loss, inputs)


@pytest.mark.parametrize("options, s", [("--scale 0.3", 0.3), ("--normalize --scale 2,5", [2, 5])])
def test_the_map_of_channel_attention(tokens, options, s):
    normalize = "--normalize" in options
    done = attend(tokens, "channel", "--map", "m.npy", *options.split())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    q, k, v = load(tokens, "q", "k", "v")
    close(tokens, "o", channel(q, k, v, s, normalize=normalize))
    q, k = (x / np.linalg.norm(x, axis=2, keepdims=True) if normalize else x for x in (q.astype(np.float64), k))
    close(tokens, "m", softmax(np.reshape(s, (-1, 1, 1)) * (q.swapaxes(-1, -2) @ k))[0])
    if not normalize:
        assert channel_backward(tokens, *options.split(), *outputs("q")).returncode == 0
        again = np.load(tokens / "d_q.npy")
        assert channel_backward(tokens, *options.split(), "--map", "m.npy", *outputs("q")).returncode == 0
        np.testing.assert_allclose(np.load(tokens / "d_q.npy"), again, atol=1e-6)


@pytest.mark.parametrize("command, line", [
    ("--backward --d-out d_out.npy", "--backward needs one of --d-q, --d-k, --d-v, --d-scale, --d-output-multiplier"),
    ("--backward --d-q d.npy", "--backward needs --d-out"),
    ("--backward --d-out d_out.npy --d-q d.npy --out o.npy", "--out: not with --backward"),
    ("--backward --d-out d_out.npy --d-q d.npy --map d_out.npy --normalize", "--map: not with --backward and --normalize"),
    ("--backward --d-out d_out.npy --d-q d.npy --map d_out.npy", "attention_map.shape[2] (d)"),
    ("--backward --d-out short.npy --d-q d.npy", "d_out.shape[2] (n)"),
    ("--backward --d-out d_out.npy --d-mask d.npy", "--d-mask"),
    ("--backward --d-out d_out.npy --d-q d.npy --scaling mup", "d_base"),
    ("--d-q d.npy --out o.npy", "--d-q requires --backward"),
    ("--map m.npy", "--out is required"),
    ("--map o.npy --out o.npy", "--map and --out name the same file"),
    ("--map m.npy --out o.npy --v short.npy", "v.shape[2] must equal q's: 50, not 40"),
])  # fmt: skip
def test_channel_errors(tokens, command, line):
    np.save(tokens / "short.npy", array((1, 2, 40, 8), 9))
    inputs = [word for word in INPUTS if "--v" not in command.split() or word not in ("--v", "v.npy")]
    refused(tokens, muattn("attend", "channel", *inputs, *command.split(), folder=tokens), line)
    assert not (tokens / "d.npy").exists() and not (tokens / "m.npy").exists()
