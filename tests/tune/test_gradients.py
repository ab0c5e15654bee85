"""Gradients: calls of the other direction, which take what a forward call gave, and may run kernels of several generators."""

import pytest
from conftest import BUILD, SHAPES
from muattn_tools.tune.build import Build, Clock
from muattn_tools.tune.tuner import problems_of

DIRECTIONS = ["forward", "backward"]
# That no call of these runs: the tuner says so, and leaves them alone. Their numbers are those of what they are the first half of.
NOT_TUNED = {"spatial_attention_logit_stats", "channel_attention_logit_stats"}


@pytest.fixture(scope="module")
def problems(tuner):
    """By generator, of the shapes of conftest.py in both directions."""
    build = Build(BUILD)
    shapes = [[operation, direction, shape] for direction in DIRECTIONS for operation in SHAPES for shape in SHAPES[operation]]
    return problems_of(build, build.present_library(tuner.state, Clock(60)), "sse41", shapes, Clock(60))


def test_small_problems_reach_every_kernel(problems):
    for kernel in Build(BUILD).kernels_for("sse41"):
        if kernel.generator in NOT_TUNED:
            assert not problems[kernel.generator].shapes
        elif kernel.generator in problems and kernel.dtype == "float32":  # other types have its numbers
            assert kernel in problems[kernel.generator].small, kernel.full_name


def test_a_call_of_several_kernels_counts_for_each_generator(problems):
    for generator in ("channels_last_map", "channels_last_product", "softmax", "transpose", "gradient"):
        found = problems[f"channel_attention_{generator}"]
        assert [(direction, shape["name"]) for _, direction, shape in found.shapes] == [("backward", "map")]
        assert {kernel.algorithm for kernel in found.kernels} == {generator}
        others = {"channels_last_map", "channels_last_product", "squares", "softmax", "transpose", "gradient"} - {generator}
        assert others <= {kernel.algorithm for kernel in found.others}
    assert problems["channel_attention_channels_last"].others == set()


def test_gradients_come_after_a_forward_call(problems):
    found = problems["spatial_attention_key_blocks"]
    assert [shape["name"] for _, _, shape in found.shapes] == ["few", "causal"]
    assert {kernel.direction for kernel in found.others} == {"forward"} and all("+lse" in kernel.name for kernel in found.others)


@pytest.mark.parametrize("generator, values, shapes", [
    ("spatial_attention_key_blocks", "block_queries=48", ["spatial/few backward", "spatial/causal backward"]),
    ("channel_attention_channels_last_product", "tile_tokens=64", ["channel/map backward"]),
])  # fmt: skip
def test_kernels_of_gradients_are_checked_and_timed(tuner, generator, values, shapes):
    code, output, errors = tuner.run(generator, "--values", values, "--gain=1000")  # nothing gains that much
    assert (code, errors) == (0, "") and f"{generator}: none of 1 candidates is better than the default" in output
    [record] = tuner.records(generator)
    assert record["result"] == "slower" and [row["shape"] for row in record["rows"]] == shapes


def test_a_build_without_gradients_is_tuned_without():
    build = Build(BUILD)
    assert build.can_call("channel", "forward") and build.can_call("channel", "backward")
    build.kernels = [kernel for kernel in build.kernels if kernel.direction == "forward"]
    assert build.can_call("channel", "forward") and not build.can_call("channel", "backward")


def test_numbers_that_change_nothing_are_left_alone(tuner):
    code, output, errors = tuner.run("channel_attention_gradient")
    assert (code, errors) == (0, "")
    assert "channel_attention_gradient: no number of it changes how its calls run; nothing to tune" in output
