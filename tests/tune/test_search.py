"""A search that is killed, goes on, and writes a file; a build from that file."""

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
from conftest import BUILD, ROOT, Tuner
from muattn_tools.tune.state import State
from muattn_tools.tune.tuned_file import Kept
from muattn_tools.tune.tuner import if_bad

GENERATOR = "spatial_attention_split_keys"
# Whatever the times are, the second candidate wins: no gain is asked for.
SEARCH = [GENERATOR, "--values", "span_keys=128,512", "--gain=-1000"]


@pytest.fixture(scope="module")
def tuned(tuner):
    """The search, killed after its first candidate; what the second run printed."""
    process = tuner.start(*SEARCH)
    while not tuner.records(GENERATOR) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and len(tuner.records(GENERATOR)) == 1
    code, output, errors = tuner.run(*SEARCH)
    assert (code, errors) == (0, ""), output
    return output


def test_a_killed_search_goes_on(tuned, tuner):
    assert f"{GENERATOR}.sse41: goes on; 1 candidates are known" in tuned
    records = tuner.records(GENERATOR)
    assert [(record["numbers"], record["result"]) for record in records] == [
        ({"span_keys": 512}, "accepted"),
        ({"span_keys": 128}, "accepted"),
        ({"span_keys": 128}, "final"),
    ]
    assert records[1]["than"] == {"span_keys": 512}


def test_the_file_says_where_it_comes_from(tuned, tuner):
    [path] = tuner.out.iterdir()
    assert path.name == f"{GENERATOR}.sse41.json" and f"{path} written" in tuned
    content = json.loads(path.read_text())
    assert content["parameters"] == {"span_keys": 128} and content["defaults"]["span_keys"] == 256
    assert content["shapes"] == ["spatial/few"] and content["halide"].count(".") == 2
    assert content["command"] == f"./dev tune {shlex.join(map(str, [*SEARCH, *tuner.options]))}"
    for key in ("device", "backend", "date", "commit", "ratio", "load", "processors"):
        assert content[key]
    times = content["time_ms"]["spatial/few"]["1 threads"]
    assert content["ratio"] == pytest.approx(times["default"] / times["tuned"], rel=2e-3)


def configure(build, tuned_dir):
    return [
        os.environ["CMAKE"], "-S", ROOT, "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={os.environ['CMAKE_MAKE_PROGRAM']}",
        f"-DMUATTN_TUNED_DIR={tuned_dir}", f"-Dmuattn-halide_generators_ROOT={BUILD}", f"-DPython_EXECUTABLE={sys.executable}",
        "-DMUATTN_TESTS=OFF", "-DMUATTN_BENCH=OFF",
    ]  # fmt: skip


def test_a_build_has_the_numbers_of_the_file(tuned, tuner, tmp_path):
    """CMake with this folder of tuned files: the table of the registry, and a kernel, the same as the tuner measured."""
    subprocess.run(configure(tmp_path, tuner.out), check=True, stdout=subprocess.DEVNULL)
    symbol = "kernel_spatial_attention_forward_float32_split_keys_sse41"
    subprocess.run([os.environ["CMAKE"], "--build", tmp_path, "--target", symbol], check=True, stdout=subprocess.DEVNULL)

    table = (tmp_path / "generated/kernel_table.inc").read_text().splitlines()
    tuned_rows = [row for row in table if '{"span_keys", 128})' in row]
    guarded = "split_keys+mask=any+softcap=optional+guard"
    names = ("split_keys", "split_keys+lse", guarded, guarded + "+lse")
    found = [re.search(r'"([^"]*sse41)"', row)[1] for row in tuned_rows]
    assert [name for name in found if "/float32/" in name] == [f"spatial_attention/forward/float32/{name}/cpu:sse41" for name in names]
    assert {name.split("/")[2] for name in found} == {"float32", "float32_float16", "float32_bfloat16", "float32_int8"}  # all types have them
    measured = tuner.state / f"{GENERATOR}.sse41/span_keys-128/{symbol}.o"
    assert (tmp_path / f"{symbol}.o").read_bytes() == measured.read_bytes()


@pytest.mark.parametrize("name", ["spatial_attention_block.opencl", "merge_general.cuda"])
def test_a_file_for_a_gpu_is_refused(tmp_path, name):
    """Its numbers would go to every head dimension, and the library would reckon with other blocks."""
    (tmp_path / f"{name}.json").write_text('{"parameters": {"block_rows": 16}}')
    done = subprocess.run([*configure(tmp_path / "build", tmp_path), "-DMUATTN_GPU=ON"], capture_output=True, text=True)
    assert done.returncode != 0
    assert f"{name}.json: there are no tuned files for GPUs" in " ".join(done.stderr.split())


def test_other_sources_start_anew(tuned, tuner):
    path = tuner.state / f"{GENERATOR}.sse41/state.jsonl"
    known = path.read_text()
    try:
        key, rest = known.split("\n", 1)
        path.write_text(json.dumps(json.loads(key) | {"sources": "other"}) + "\n" + rest)
        code, output, _ = tuner.run(GENERATOR, "--values", "span_keys=256", "--gain=-1000")
        assert code == 0 and f"{GENERATOR}.sse41: other sources than before; starts anew" in output
        assert f"{GENERATOR}: none of 1 candidates is better than" in output
        assert [record["numbers"] for record in tuner.records(GENERATOR)] == [{"span_keys": 128}]  # the kept file's
        assert path.with_suffix(".old.jsonl").read_text().endswith(rest)
    finally:
        path.write_text(known)


def test_two_at_once_do_not_share_a_folder(tmp_path):
    tuner = Tuner(tmp_path)
    tuner.state.mkdir()
    with (tuner.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, output, errors = tuner.run(GENERATOR)
    assert (code, output) == (2, "") and errors.startswith(f"tune: --state: another ./dev tune works in {tuner.state}")


def test_a_kept_file_that_is_slower_is_named(tmp_path):
    state = State(tmp_path / "state.jsonl", {})
    kept = Kept(tmp_path / "file.json", {"span_keys": 512}, "")
    assert if_bad(kept, state) == ""
    state.add(kept.numbers, "slower", than={}, ratio=0.8)
    assert if_bad(kept, state) == ", at 0.800 x default: better move it away"


def test_a_kept_file_stays_unless_it_is_beaten(tmp_path):
    tuner = Tuner(tmp_path)
    tuner.out.mkdir()
    path = tuner.out / f"{GENERATOR}.sse41.json"
    path.write_text(json.dumps({"parameters": {"span_keys": 512, "gone": 3}, "ratio": 1.5, "device": "here", "date": "today"}))
    kept = path.read_bytes()

    code, output, _ = tuner.run(GENERATOR, "--values", "span_keys=512", "--gain=-1000")
    assert code == 0 and f"there is {path}: span_keys=512 (1.500 x the default, here, today); the schedule has no gone" in output
    [first] = tuner.records(GENERATOR)
    assert (first["numbers"], first["result"], first["than"]) == ({"span_keys": 512}, "accepted", {})
    assert f"none of 1 candidates is better than {path}" in output and path.read_bytes() == kept

    code, output, _ = tuner.run(*SEARCH)
    assert code == 0 and "goes on; 1 candidates are known" in output
    *_, tried, final = tuner.records(GENERATOR)
    assert (tried["numbers"], tried["than"]) == ({"span_keys": 128}, {"span_keys": 512})
    assert final["result"] == "final" and final["kept"] == {"span_keys": 512}
    beaten = final["than_kept"] > 1
    assert (path.read_bytes() != kept) is beaten and (f"{path}, which stays" in output) is not beaten

    path.write_text("{}")
    code, output, errors = tuner.run(*SEARCH)
    assert (code, output) == (2, "") and errors.startswith(f"tune: {path}: not JSON") and errors.count("\n") == 1
