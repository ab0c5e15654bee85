"""What is not a candidate: numbers that a generator refuses, results that are wrong, processes that crash; bad arguments."""

import sys

import pytest
from build import Build, Clock, OutOfTime, run
from cases import small
from conftest import BUILD
from library import Library
from measure import Rejected, check
from space import SPACES, Search


def test_a_refusal_of_the_generator_is_recorded(tuner):
    code, output, errors = tuner.run("channel_attention_first", "--values", "map_rows=1")
    assert (code, errors) == (0, "") and "no shape of shapes.json runs it; nothing to tune" in output
    code, output, errors = tuner.run("spatial_attention", "--values", "value_group=2", "--gain=-1000")
    assert (code, errors) == (0, "")
    [record] = [r for r in tuner.records("spatial_attention") if r["numbers"] == {"value_group": 2}]
    assert record["result"] == "rejected" and "value_group must be at least 4" in record["reason"]
    assert "spatial_attention: none of 1 candidates is better than the default" in output
    assert not (tuner.out / "spatial_attention.sse41.json").exists()


@pytest.mark.parametrize("operation", ["spatial", "channel"])
def test_a_wrong_result_is_rejected(tuner, operation):
    folder = tuner.state
    library = Library(Build(BUILD).present_library(folder, Clock(60)), "sse41")
    case = small(operation)[0]
    check(library, [case])
    right = case.expected()["out"]
    case.expected = lambda: {"out": right * 1.001}
    with pytest.raises(Rejected, match="out is wrong"):
        check(library, [case])


def test_a_process_that_crashes_or_takes_too_long_is_told_apart():
    crash = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    assert run(crash, Clock(60)).reason() == "crashes: SIGSEGV"
    endless = [sys.executable, "-c", "while True: pass"]
    assert run(endless, Clock(60), limit=0.2).reason() == "takes too long"
    with pytest.raises(OutOfTime):
        run(endless, Clock(0.2))
    greedy = [sys.executable, "-c", "import os; os.kill(os.getppid(), 0); bytearray(1 << 32)"]
    assert "MemoryError" in run(greedy, Clock(60), memory=1 << 30).errors


def test_the_spaces_fit_the_generators():
    build = Build(BUILD)
    assert set(SPACES) <= set(build.generators)
    for generator in build.generators:
        for backend, machine in build.machines.items():
            space = Search(generator, build.numbers(generator, backend), machine)
            candidates = list(space.neighbours({}))
            assert candidates and {} not in candidates
            assert all(space.broken_rule(candidate) is None for candidate in candidates)


def test_a_step_leads_back_to_the_default():
    space = Search("new", {"a": 4, "b": 8}, {"lanes": 8, "registers": 16})
    assert list(space.neighbours({"a": 6}))[:3] == [{"a": 8}, {}, {"a": 6, "b": 12}]


@pytest.mark.parametrize("arguments, message", [
    (["softmax"], "op: 'softmax' is no operator"),
    (["--target", "neon"], "--target: 'neon': unknown; this machine runs"),
    (["spatial_attention", "--values", "colour=1"], "--values: no generator has colour: spatial_attention has row_vectors"),
    (["--values", "span_keys=many"], "--values: 'span_keys=many' is not NAME=N,N"),
    (["--budget", "0"], "--budget and --seconds must be above 0"),
    (["--threads", "0"], "--threads: from 1 to"),
    (["--shapes", "nowhere.json"], "--shapes: nowhere.json"),
    (["--build", "nowhere"], "--build:"),
    (["--unknown"], "--unknown"),
])  # fmt: skip
def test_a_bad_argument_is_one_line(tuner, arguments, message):
    tuner_options, tuner.options = tuner.options, [*tuner.options, *arguments]
    try:
        code, output, errors = tuner.run()
    finally:
        tuner.options = tuner_options
    assert (code, output) == (2, "")
    assert errors.startswith("tune: ") and message in errors and errors.count("\n") == 1
