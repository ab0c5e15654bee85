"""Every verb of the program muattn (its path: $MUATTN), compared with NumPy in float64; every error line and exit code."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from program import Q, array, attend, channel, close, load, muattn, printed, refused, spatial, stats_of

I, J = np.mgrid[:9, :30]
BOOLEAN = np.random.default_rng(9).random((2, 1, 9, 30)) < 0.5
ADDED = array((1, 4, 1, 30), 10)


@pytest.mark.parametrize("options, rules", [
    ("", {}),
    ("--scaling mup --d-base 4", {"s": 2 / 16}),
    ("--scaling mup --threads 1", {"s": 1 / 16}),
    ("--scaling mup --power 0.75 --alpha 2", {"s": 2 / 8}),
    ("--scaling umup --alpha 8", {"s": 8 / 16, "o": 30 ** (1 / 4)}),
    ("--output-multiplier -3", {"o": -3}),
    ("--scaling mup_heads --backend cpu:sse41", {}),
    ("--scale -0.5", {"s": -0.5}),
    ("--scale .1,.2,.3,1e-3", {"s": [0.1, 0.2, 0.3, 1e-3]}),
    ("--causal none", {}),
    ("--causal top_left", {"seen": J <= I}),
    ("--causal bottom_right", {"seen": J <= I + 21}),
    ("--causal -3", {"seen": J <= I - 3}),
    ("--causal -3,4", {"seen": J <= I + np.reshape([-3, 4], (2, 1, 1, 1))}),
    ("--causal 5 --window 4,", {"seen": (J <= I + 5) & (J >= I + 1)}),
    ("--window ,3", {"seen": J <= I + 3}),
    ("--window 2,3", {"seen": (J <= I + 3) & (J >= I - 2)}),
    ("--mask boolean.npy", {"seen": BOOLEAN}),
    ("--mask added.npy --softcap 0.7", {"added": ADDED, "softcap": 0.7}),
    ("--causal bottom_right --key-lengths 30,17", {"seen": J <= I + np.reshape([21, 8], (2, 1, 1, 1))}),
    ("--key-lengths 0,17", {"seen": J < np.reshape([0, 17], (2, 1, 1, 1))}),
    ("--sink 1,-2,0.5,-inf --key-lengths 0,17", {"seen": J < np.reshape([0, 17], (2, 1, 1, 1)), "sink": [1, -2, 0.5, -np.inf]}),
])
def test_attend_spatial(folder, options, rules):
    np.save(folder / "boolean.npy", BOOLEAN)
    np.save(folder / "added.npy", ADDED)
    done = attend(folder, "spatial", "--lse", "l.npy", *options.split())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    out, lse = spatial(*load(folder, "q", "k", "v"), **{"s": 1 / 4, **rules})
    close(folder, "o", out)
    close(folder, "l", lse)


@pytest.mark.parametrize("options, rules", [
    ("", {}),
    ("--scaling mup --d-base 2", {"o": 2 / 8}),
    ("--scaling mup_heads", {}),
    ("--scaling mup_mean --d-base 2", {}),
    ("--alpha 2", {"s": 2 * 50**-0.5}),
    ("--output-multiplier -3 --scale 0.2", {"s": 0.2, "o": -3}),
    ("--normalize --scale 2,5", {"s": [2, 5], "normalize": True}),
])
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_attend_channel(folder, options, rules, layout):
    q, k, v = (array((1, 2, 50, 8), seed) for seed in range(3))
    turn = (lambda x: np.ascontiguousarray(x.swapaxes(2, 3))) if layout == "channels_first" else (lambda x: x)
    for name, x in zip("qkv", (q, k, v)):
        np.save(folder / f"{name}.npy", turn(x))
    done = attend(folder, "channel", "--layout", layout, *options.split())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    close(folder, "o", turn(channel(q, k, v, **{"s": 50**-0.5, **rules})))


def test_stats(folder):
    np.save(folder / "mask.npy", BOOLEAN)
    done = attend(folder, "spatial", "--stats", "s.npy", "--softcap", "0.7", "--mask", "mask.npy")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    q, k, v = load(folder, "q", "k", "v")
    logits = 0.7 * np.tanh(np.einsum("bhid,bhjd->bhij", q, np.repeat(k, 2, axis=1)) / 4 / 0.7)
    close(folder, "s", stats_of(logits, np.broadcast_to(BOOLEAN, logits.shape)))
    for name in "kv":
        np.save(folder / f"{name}.npy", q)
    assert attend(folder, "channel", "--stats", "s.npy", "--scale", "2").returncode == 0
    logits = 2 * np.einsum("bhni,bhnj->bhij", q, q)
    close(folder, "s", stats_of(logits, np.ones(logits.shape, bool)))


@pytest.mark.parametrize("operator", ["spatial", "channel"])
def test_stats_are_of_the_forward_call(folder, operator):
    done = muattn("attend", operator, *"--q q.npy --k q.npy --v q.npy --out o.npy --stats s.npy --backward --d-q d.npy".split(), folder=folder)
    assert done.returncode == 2 and "--stats excludes --backward" in done.stderr, done


@pytest.mark.parametrize("B, n_q, n_k", [(0, 9, 30), (2, 0, 30), (2, 9, 0), (2, 0, 0)])
@pytest.mark.parametrize("options", ["", "--causal bottom_right --window 3,", "--mask mask.npy", "--scale 1,2,3,4 --softcap 2"])
def test_sizes_of_0(folder, B, n_q, n_k, options):
    for name, shape in {"q": (B, 4, n_q, 16), "k": (B, 2, n_k, 16), "v": (B, 2, n_k, 12), "mask": (1, 1, n_q, n_k)}.items():
        np.save(folder / f"{name}.npy", np.ones(shape, np.float32))
    done = attend(folder, "spatial", "--lse", "l.npy", *options.split())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    close(folder, "o", np.zeros((B, 4, n_q, 12)))
    close(folder, "l", np.full((B, 4, n_q), -np.inf))
    for shape, layout in (((B, 4, n_q, 16), "channels_last"), ((B, 4, 16, n_q), "channels_first")):
        if 0 in shape:
            np.save(folder / "q.npy", np.ones(shape, np.float32))
            done = attend(folder, "channel", "--layout", layout, files="qqq")
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            close(folder, "o", np.zeros(shape))


def bad_files(folder):
    q = array(Q, 0)
    np.save(folder / "double.npy", q.astype(np.float64))
    np.save(folder / "big.npy", q.astype(">f4"))
    np.save(folder / "fortran.npy", np.asfortranarray(q))
    np.save(folder / "rank3.npy", q[0])
    np.save(folder / "ints.npy", np.ones((2, 1, 1, 30), np.int64))
    np.save(folder / "records.npy", np.zeros(3, "f4,i4"))
    np.save(folder / "bytes.npy", np.ones((2, 1, 9, 30), np.uint8))
    np.save(folder / "plane.npy", np.ones((9, 30), bool))
    np.save(folder / "planes.npy", np.ones((2, 9, 30), bool))
    np.save(folder / "big_ints.npy", np.ones((2, 1, 9, 30), ">i4"))
    np.save(folder / "doubles.npy", np.ones((2, 1, 9, 30)))
    np.save(folder / "complex.npy", np.ones((2, 1, 9, 30), np.complex64))
    np.save(folder / "strings.npy", np.full(Q, "a"))
    (folder / "short.npy").write_bytes((folder / "q.npy").read_bytes()[:-1])
    (folder / "text.npy").write_text("no array")
    (folder / "empty.npy").touch()
    (folder / "huge.npy").write_bytes((folder / "q.npy").read_bytes().replace(b"(2, 4, 9, 16)", b"(4294967296, 4294967296, 9, 16)"))
    (folder / "folder.npy").mkdir()


@pytest.mark.parametrize("q, line", [
    ("double", "--q double.npy: dtype float64, not float32 or float16; save x.astype('float32')"),
    ("big", "--q big.npy: big-endian float32; save x.astype('<f4')"),
    ("fortran", "--q fortran.npy: is in Fortran order; save numpy.ascontiguousarray(x)"),
    ("rank3", "--q rank3.npy: must have 4 dimensions, not 3: shape (4, 9, 16)"),
    ("rank3", "; save x[None] where the batch is missing, x[:, None] where the heads are"),
    ("plane", "dtype bool, not float32 or float16; save x.astype('float32')"),
    ("complex", "--q complex.npy: dtype complex64, not float32 or float16\n"),
    ("strings", "--q strings.npy: dtype <U1, not float32 or float16\n"),
    ("short", "--q short.npy: the file ends before its data do"),
    ("text", "--q text.npy: no .npy file of numbers"),
    ("records", "--q records.npy: no .npy file of numbers"),
    ("empty", "--q empty.npy: no .npy file of numbers"),
    ("huge", "--q huge.npy: "),
    ("none", "--q none.npy: cannot be opened: No such file or directory"),
    ("folder", "--q folder.npy: is a folder"),
    ("x", "k.shape[0] (B) must equal q's"),
])
def test_bad_files(folder, q, line):
    bad_files(folder)
    refused(folder, attend(folder, "spatial", files=(q, "k", "v")), line)


def test_the_advice_for_masks_is_right(folder):
    bad_files(folder)
    seen = np.random.default_rng(3).random((2, 1, 9, 30)) < 0.5
    for mask in (seen.astype(np.uint8), seen.astype(">i8")):
        np.save(folder / "mask.npy", mask != 0)
        assert attend(folder, "spatial", "--mask", "mask.npy").returncode == 0
        close(folder, "o", spatial(*load(folder, "q", "k", "v"), s=1 / 4, seen=seen)[0])
    for mask, full in ((seen[0, 0][None, None], seen[:1]), (seen[:, 0, 0][:, None, None], seen[:, :, :1]), (seen[:, 0][:, None], seen)):
        np.save(folder / "mask.npy", mask)
        assert attend(folder, "spatial", "--mask", "mask.npy").returncode == 0
        close(folder, "o", spatial(*load(folder, "q", "k", "v"), s=1 / 4, seen=full)[0])


@pytest.mark.parametrize("header", [
    "{'shape': (2, 4, 9, 16), 'fortran_order': False, 'descr': '<f4'}",
    "{'fortran_order': False, 'descr': '<f4', 'shape': (2, 4, 9, 16), }" + 70 * " ",
    '{"shape" : ( 2,4,9, 16 , ) , "descr":"<f4",\n"fortran_order" :False}' + 300 * " ",
])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_of_any_order_and_length(folder, header, version):
    q = np.load(folder / "q.npy")
    length = (len(header) + 1).to_bytes(2 if version == 1 else 4, "little")
    (folder / "other.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + b"\n" + q.tobytes())
    assert np.array_equal(np.load(folder / "other.npy"), q)
    done = attend(folder, "spatial", files=("other", "k", "v"))
    assert (done.returncode, done.stderr) == (0, "")
    close(folder, "o", spatial(*load(folder, "q", "k", "v"), s=1 / 4)[0])


@pytest.mark.parametrize("header, reason", [
    ("{'descr': '<f4', 'shape': (2, 4, 9, 16)}", "no 'fortran_order'"),
    ("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 4, 9, 16)}", "no 'fortran_order'"),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, -4, 9, 16)}", "no 'shape'"),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4, 9, 99999999999999999999)}", "no .npy file of numbers"),
    ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 4, 9, 16)}", "no 'descr'"),
])
def test_damaged_headers(folder, header, reason):
    (folder / "other.npy").write_bytes(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode())
    refused(folder, attend(folder, "spatial", files=("other", "k", "v")), reason)


@pytest.mark.parametrize("options, line", [
    ("--mask ints.npy", "--mask ints.npy: dtype int64, not bool or float32; for a mask of 0 and 1 save x != 0, which is bool"),
    ("--mask bytes.npy", "dtype uint8, not bool or float32; for a mask of 0 and 1 save x != 0, which is bool"),
    ("--mask big_ints.npy", "dtype big-endian int32, not bool or float32; for a mask of 0 and 1 save x != 0, which is bool"),
    ("--mask doubles.npy", "--mask doubles.npy: dtype float64, not bool or float32; save x.astype('float32')"),
    ("--mask plane.npy", "--mask plane.npy: must have 4 dimensions [B, H, n_q, n_k], not 2: shape (9, 30); "
                         "save x[None, None] of [n_q, n_k], x[:, None, None] of [B, n_k]"),
    ("--mask planes.npy", "must have 4 dimensions [B, H, n_q, n_k], not 3: shape (2, 9, 30); save x[None] where"),
    ("--mask q.npy", "mask.shape"),
    ("--scaling mup_mean", "--scaling: mup_mean not in {sp,mup,mup_heads,umup}"),
    ("--alpha 2 --scale 1", "alpha: not where scale is given"),
    ("--alpha 0", "--alpha: must be a number above 0, not 0"),
    ("--scaling mup --power 0", "--power: must be a number above 0, not 0"),
    ("--power 2", "power: only MUATTN_SCALING_MUP has one"),
    ("--output-multiplier nan", "output_multiplier must be 0 or of magnitude 1e-28..1e+38"),
    ("--scale 1,", "--scale: '' is not a number"),
    ("--scale 1,2", "--scale: needs 1 number, or one for each of H = 4 heads, not 2"),
    ("--scale nan", "scale"),
    ("--scale 1e99", "--scale: 1e99 is out of range"),
    ("--causal left", "--causal: 'left' is not none, top_left, bottom_right or integers"),
    ("--window 3", "--window: '3' is not L,R"),
    ("--window -1,3", "--window: a side is at least 0"),
    ("--window a,3", "--window: 'a' is not an integer"),
    ("--key-lengths 3", "--key-lengths: needs B = 2 numbers, not 1"),
    ("--key-lengths 3,31", "key_lengths[1] must lie in 0..n_k = 30, not be 31"),
    ("--softcap -1", "softcap"),
    ("--sink 1,2", "--sink: needs H = 4 numbers, not 2"),
    ("--sink 1,2,3,1e38", "sink[3] must be -inf, for none, or lie in -1e+37..1e+37, not be 1e+38"),
    ("--d-base -4", "d_base"),
    ("--threads 0", "1"),
    ("--threads many", "--threads"),
    ("--backend cpu:z80", "backend: unknown 'cpu:z80'"),
    ("--normalize", "--normalize"),
    ("--lse o.npy", "--lse and --out name the same file"),
    ("--lse nowhere/l.npy", "cannot be created: No such file or directory"),
    ("--lse /dev/null", "--lse /dev/null: is no name for a file"),
])
def test_bad_options(folder, options, line):
    bad_files(folder)
    refused(folder, attend(folder, "spatial", *options.split()), line)


@pytest.mark.parametrize("option", ["--sink", "--causal", "--scale", "--window", "--mask", "--key-lengths", "--lse"])
def test_a_value_that_is_not_there_is_refused(folder, option):
    """As of a shell's variable that is not set."""
    refused(folder, attend(folder, "spatial", option, ""), f"{option}: is empty")


def test_an_output_that_exists_stays_when_a_call_fails_and_is_replaced_when_it_works(folder):
    (folder / "o.npy").write_text("before")
    assert attend(folder, "spatial", "--softcap", "-1").returncode == 2
    assert (folder / "o.npy").read_text() == "before"
    assert attend(folder, "spatial").returncode == 0
    assert np.load(folder / "o.npy").shape == (2, 4, 9, 12)
    assert not list(folder.glob("*.tmp"))


def test_channel_errors(folder):
    refused(folder, attend(folder, "channel", "--scaling", "mup", files="xxx"), "d_base")
    refused(folder, attend(folder, "channel", "--causal", "none", files="xxx"), "--causal")
    refused(folder, attend(folder, "channel", "--layout", "nchw", files="xxx"), "--layout: nchw not in")


@pytest.mark.parametrize("case, s, o, why", [
    ("spatial --d 64", 1 / 8, 1, "1/sqrt(d)"),
    ("spatial --rule mup --d 128 --d-base 64", 1 / 16, 1, "sqrt(d_base)/d = sqrt(64)/128"),
    ("spatial --rule mup --d 128", 1 / 128, 1, "1/d"),
    ("spatial --rule mup_heads --d 64", 1 / 8, 1, "1/sqrt(d)"),
    ("spatial --rule mup --d 16 --d-base 4 --power 0.75 --alpha 3", 0.75, 1, "sqrt(d_base)/d^p = sqrt(4)/16^0.75"),
    ("spatial --d 64 --alpha 0.5", 1 / 16, 1, "; s times alpha = 0.5"),
    ("spatial --rule umup --d 16 --n 16 --alpha 8", 0.5, 2, "1/d = 1/16"),
    ("spatial --rule umup --d 16 --n 1 --causal", 1 / 16, 1, "over 1 causal keys"),
    ("channel --n 100", 0.1, 1, "1/sqrt(n)"),
    ("channel --n 100 --alpha 5", 0.5, 1, "alpha = 5"),
    ("channel --rule mup --n 100 --d 128 --d-base 64", 0.1, 0.5, "d_base/d = 64/128"),
    ("channel --rule mup_heads --n 100", 0.1, 1, "heads"),
    ("channel --rule mup_mean --n 100 --d 128 --d-base 64", 0.1, 1, "without the division"),
])
def test_scale(case, s, o, why):
    lines = dict(line.split(maxsplit=1) for line in printed("scale", *case.split()).splitlines())
    assert float(lines["s"]) == pytest.approx(s, rel=1e-6) and float(lines["o"]) == o and why in lines["why"]


@pytest.mark.parametrize("case, line", [
    ("spatial", "--d is required"),
    ("spatial --d 0", "d must be at least 1"),
    ("spatial --d 4 --rule mup_mean", "--rule: mup_mean not in"),
    ("spatial --d 4 --rule umup", "--rule umup needs --n"),
    ("spatial --d 4 --power 2", "power: only MUATTN_SCALING_MUP has one"),
    ("spatial --d 4 --alpha 0", "--alpha: must be a number above 0, not 0"),
    ("channel --n 4 --alpha x", "--alpha: must be a number above 0, not x"),
    ("channel --n 4 --rule umup", "--rule: umup not in"),
    ("channel --n 100 --rule mup --d 64", "--rule mup needs --d and --d-base"),
])
def test_scale_errors(tmp_path, case, line):
    refused(tmp_path, muattn("scale", *case.split()), line)


def test_info():
    text = printed("info")
    for word in ("muattn   0.", "Halide   2", "cpu:sse41", "runs here", "the best that this machine can run",
                 "spatial_attention/forward/float32", "spatial_attention/backward/float32", "channel_attention/forward/float32"):
        assert word in text
    assert "chosen   cpu:sse41: forced by --backend" in printed("info", "--backend", "cpu:sse41")
    assert "threads  3" in printed("info", "--threads", "3")


def backends(kind):
    lines = printed("info").splitlines()
    listed = [line.split() for line in lines[lines.index("backends, best first") + 1 : lines.index(next(x for x in lines if x.startswith("chosen")))]]
    return [name for name, *words in listed if words == ["runs", "here"] and name.startswith("cpu:") == (kind == "cpu")]


def test_check():
    """The processor alone, however many GPUs are there, and it says which it left out."""
    text = printed("check")
    assert "results are right" in text
    for words in ("spatial, mask, key lengths, softcap", "gradients, spatial", "gradients, channel"):
        assert words in text
    assert text.splitlines()[0].split()[-len(backends("cpu")) :] == backends("cpu")
    gpus = backends("gpu")
    assert (", ".join(gpus) + ": not checked; `muattn check --gpu` does" in text) == bool(gpus)
    done = muattn("check", "--tolerance", "0")
    assert done.returncode == 1 and "FAIL" in done.stdout
    assert done.stderr.startswith("muattn: check: ") and done.stderr.count("\n") == 1


def test_check_of_gpus():
    text = printed("check", "--gpu")
    assert "not checked" not in text and "results are right" in text
    assert text.splitlines()[0].split()[4:] == backends("cpu") + backends("gpu")


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="no qemu-x86_64, which plays an older processor")
def test_check_where_nothing_runs():
    old = ["qemu-x86_64", "-cpu", "qemu64", os.environ["MUATTN"]]
    assert "chosen   none: this machine can run none of them" in subprocess.check_output([*old, "info"], text=True)
    done = subprocess.run([*old, "check"], text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (1, "muattn: check: this machine can run none of this build's backends\n"), done
    assert "cpu:sse41: not for this machine" in done.stdout and "right" not in done.stdout


def test_help(tmp_path):
    for words in ([], ["attend"], ["attend", "spatial"], ["attend", "channel"], ["scale"], ["info"], ["check"]):
        assert "Usage: muattn" in printed(*words, "--help")
    assert printed("--version").startswith("muattn 0.")
    refused(tmp_path, muattn(), "A subcommand is required")
    refused(tmp_path, muattn("attack"), "")
