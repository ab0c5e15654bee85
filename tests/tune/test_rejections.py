"""What is not a candidate: numbers that a generator refuses, results that are wrong, processes that crash; bad arguments."""

import sys

import pytest
from conftest import BUILD
from muattn_tools.c_library import Library
from muattn_tools.c_structs import SpatialOptions
from muattn_tools.tune.adams import Adams
from muattn_tools.tune.build import Build, Clock, OutOfTime, check_sizes, run
from muattn_tools.tune.measure import Rejected, check
from muattn_tools.tune.search import Options
from muattn_tools.tune.show import Show
from muattn_tools.tune.small_cases import small
from muattn_tools.tune.space import SPACES, Search, TuneError
from muattn_tools.tune.state import State


def test_a_refusal_of_the_generator_is_recorded(tuner):
    code, output, errors = tuner.run("channel_attention_channels_first", "--values", "map_rows=1")
    assert (code, errors) == (0, "") and "no shape of shapes.json runs it; nothing to tune" in output
    code, output, errors = tuner.run("spatial_attention_general", "--values", "value_group=2", "--gain=-1000")
    assert (code, errors) == (0, "")
    [record] = [r for r in tuner.records("spatial_attention_general") if r["numbers"] == {"value_group": 2}]
    assert record["result"] == "rejected" and "value_group must be at least 4" in record["reason"]
    assert "spatial_attention_general: none of 1 candidates is better than the default" in output
    assert not (tuner.out / "spatial_attention_general.sse41.json").exists()


@pytest.mark.parametrize("operation", ["spatial", "channel"])
@pytest.mark.parametrize("direction, output", [("forward", "out"), ("backward", "d_k")])
def test_a_wrong_result_is_rejected(tuner, operation, direction, output):
    folder = tuner.state
    library = Library(Build(BUILD).present_library(folder, Clock(60)), "sse41")
    case = small(operation, direction)[0]
    check(library, [case])
    right = case.expected()[output]
    case.expected = lambda: {output: right * 1.001}
    with pytest.raises(Rejected, match=f"{output} is wrong"):
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
            assert bool(candidates) == space.can_be_tuned and {} not in candidates
            assert all(space.broken_rule(candidate) is None for candidate in candidates)


def test_structs_are_those_of_the_header():
    compiled = Build(BUILD).struct_bytes
    check_sizes(compiled)
    assert SpatialOptions.scale_count.offset == 40 and SpatialOptions.softcap.size == 4
    with pytest.raises(TuneError, match="takes muattn_window for 24 bytes; it has 32"):
        check_sizes(compiled | {"muattn_window": 32})


def test_a_step_leads_back_to_the_default():
    space = Search("new", {"a": 4, "b": 8}, {"lanes": 8, "registers": 16})
    assert list(space.neighbours({"a": 6}))[:3] == [{"a": 8}, {}, {"a": 6, "b": 12}]


def test_a_build_that_is_not_built_is_named(tmp_path):
    (tmp_path / "CMakeCache.txt").touch()
    with pytest.raises(TuneError, match="is configured without the tuner; MUATTN_BENCH=ON adds it"):
        Build(tmp_path)
    (tmp_path / "bench/tune").mkdir(parents=True)
    facts = (BUILD / "bench/tune/facts.json").read_text()
    (tmp_path / "bench/tune/facts.json").write_text(facts.replace("/libmuattn.a", "/missing.a"))
    with pytest.raises(TuneError, match="is configured, but not built: no .*/missing.a; cmake --build"):
        Build(tmp_path)


def test_the_autoscheduler_needs_time(tmp_path):
    state = State(tmp_path / "state.jsonl", {})
    adams = Adams(Build(BUILD), "channel_attention_channels_last", state, Options("sse41", [1], 0.1, 0.01), None)
    assert adams.run({}, Clock(120)) == "Adams2019: left out; of this budget it would have 2.0 minutes, and needs 4"
    assert state.records == []


def test_a_log_has_a_line_at_the_start(capsys):
    show = Show(Clock(90))
    show.doing("a search")
    with show:
        pass
    assert capsys.readouterr().out == "tune: 1:30 left; a search\n"


@pytest.mark.parametrize("arguments, message", [
    (["softmax"], "op: 'softmax' is no operator"),
    (["--target", "neon"], "--target: 'neon': no backend of this build; this machine runs"),
    (["spatial_attention", "--values", "colour=1"], "--values: no generator has colour: spatial_attention_general has row_vectors"),
    (["--values", "span_keys=many"], "--values: 'span_keys=many' is not NAME=N,N"),
    (["--budget", "0"], "--budget: must be above 0, not 0"),
    (["--threads", "0"], "--threads: must be a whole number from 1 to"),
    (["--seconds", "soon"], "--seconds: must be a number, not soon"),
    (["--shapes", "nowhere.json"], "--shapes: nowhere.json: No such file or directory"),
    (["--shapes", __file__], "test_rejections.py is no table of shapes"),
    (["--build", "nowhere"], "--build: no folder "),
    (["--build", "/"], "--build: / is no build: CMake has not configured it"),
    (["--out", __file__], "--out: "),
    (["--state", "/proc/none"], "--state: cannot write into /proc/none"),
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
