"""The program muattn (its path: $MUATTN) and what its tests need: inputs, NumPy in float64, and how it refuses."""

import os
import subprocess

import numpy as np

Q, K, V = (2, 4, 9, 16), (2, 2, 30, 16), (2, 2, 30, 12)


def array(shape, seed):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def muattn(*arguments, folder=None):
    return subprocess.run([os.environ["MUATTN"], *map(str, arguments)], cwd=folder, text=True, capture_output=True)


def printed(*arguments):
    done = muattn(*arguments)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def softmax(logits):
    """Weights over the last axis, and log(sum(exp)); a row of -inf gives zeros and -inf."""
    with np.errstate(divide="ignore", invalid="ignore"):
        lse = np.logaddexp.reduce(logits, axis=-1)
        return np.where(np.isneginf(lse)[..., None], 0, np.exp(logits - lse[..., None])), lse


def spatial(q, k, v, s, seen=True, added=0, softcap=None, sink=-np.inf, o=1):
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    logits = np.reshape(s, (-1, 1, 1)) * (q @ k.swapaxes(-1, -2))
    if softcap:
        logits = softcap * np.tanh(logits / softcap)
    logits = np.where(seen, logits + added, -np.inf)
    last = np.broadcast_to(np.reshape(sink, (-1, 1, 1)), (*logits.shape[:3], 1))  # a key without a value
    weights, lse = softmax(np.concatenate([logits, last], -1))
    return o * (weights[..., :-1] @ v), lse


def channel(q, k, v, s, o=1, normalize=False):
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    if normalize:
        q, k = (x / np.linalg.norm(x, axis=2, keepdims=True) for x in (q, k))
    weights, _ = softmax(np.reshape(s, (-1, 1, 1)) * (q.swapaxes(-1, -2) @ k))
    return o * (v @ weights.swapaxes(-1, -2))


def stats_of(logits, seen):
    """[B, H, 1, 4]: mean |logit|, root mean square, maximum, mean entropy of the rows that see a key."""
    shown, count = np.where(seen, logits.astype(np.float64), 0), seen.sum((2, 3))
    weights, _ = softmax(np.where(seen, logits, -np.inf))
    entropy = -(weights * np.log(np.where(weights > 0, weights, 1))).sum(-1)
    rows = seen.any(-1)
    numbers = [np.abs(shown).sum((2, 3)) / count, np.sqrt((shown**2).sum((2, 3)) / count),
               np.where(seen, logits, -np.inf).max((2, 3)), entropy.sum(-1) / rows.sum(-1)]
    return np.stack(numbers, -1)[:, :, None]


def load(folder, *names):
    return [np.load(folder / f"{name}.npy") for name in names]


def attend(folder, operator, *options, files=("q", "k", "v")):
    named = [word for option, file in zip("qkv", files) for word in (f"--{option}", f"{file}.npy")]
    return muattn("attend", operator, *named, "--out", "o.npy", *options, folder=folder)


def close(folder, name, want):
    got = np.load(folder / f"{name}.npy")
    assert got.dtype == np.float32 and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def refused(folder, done, line):
    assert done.returncode == 2 and done.stdout == "", done
    assert done.stderr.startswith("muattn: ") and done.stderr.count("\n") == 1 and len(done.stderr) < 250, done.stderr
    assert line in done.stderr
    assert not (folder / "o.npy").exists() and not (folder / "l.npy").exists() and not list(folder.glob("*.tmp"))
