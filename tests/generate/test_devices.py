"""./dev generate for GPUs that are no backend of the library: the device code of every kernel is there, with a function for each
stage that has a loop over thread blocks, and within what a thread block may share."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from muattn_tools.generate import target_libraries

# The stages of each kernel, as generators/*/*.cpp name them.
CHANNEL = {"QK", "S", "M", "P", "R", "out"}
NORMALIZED = CHANNEL | {"QQ", "KK", "QQ_span_global_wrapper", "KK_span_global_wrapper"}
ANY = "+mask=any+softcap=optional+lse"
SPATIAL = {"block": {"out"}, "block+lse": {"out"}, "block" + ANY: {"out"}, "block_split_keys+lse": {"partial", "out"},
           "block_split_keys" + ANY: {"partial", "out"}}  # fmt: skip
STAGES = {
    "spatial_attention": SPATIAL,
    "channel_attention": {"tiles": CHANNEL, "tiles+layout=channels_first": CHANNEL, "tiles+normalize": NORMALIZED,
                          "tiles+layout=channels_first+normalize": NORMALIZED},
    "merge": {"general": {"out"}},
}
METAL = r"^kernel void _kernel_(\w+)\("
WGSL = r"^@compute @workgroup_size\(wgsize_x, wgsize_y, wgsize_z\)\nfn _kernel_(\w+)\("


def stage(function: str) -> str:
    """Halide names a device function after a stage, its loops and a number: out_s0_e_block__3."""
    return re.match(r"(\w+?)_*(?:\d+)?_s\d+_", function)[1]


@pytest.mark.parametrize("target, head_dim, ending, pattern", [
    ("arm-64-osx-metal", 64, "metal", METAL),
    ("wasm-32-wasmrt-webgpu", 64, "wgsl", WGSL),
    ("wasm-32-wasmrt-webgpu", 256, "wgsl", WGSL),
])  # fmt: skip
def test_every_stage_has_device_code(tmp_path, target, head_dim, ending, pattern):
    out = tmp_path / "out"
    assert target_libraries.main(["--target", target, "--head-dim", str(head_dim), "--out", str(out)]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    kernels = {(kernel["operation"], kernel["kernel"].split("+max_d=")[0]): kernel["symbol"] for kernel in manifest["kernels"]}
    assert set(kernels) == {(operation, name) for operation, names in STAGES.items() for name in names}
    assert len(manifest["kernels"]) == len(kernels) and manifest["runtime"] == "none"
    for (operation, name), symbol in kernels.items():
        source = (out / f"source/{symbol}.{ending}").read_text()
        functions = re.findall(pattern, source, re.M)
        assert sorted(map(stage, functions)) == sorted(STAGES[operation][name]), symbol
        assert source.count("{") == source.count("}")
        assert f"int {symbol}(" in (out / f"include/{symbol}.h").read_text()
        assert (out / f"lib/lib{symbol}.a").is_file() or (out / f"lib/{symbol}.a").is_file()


def test_no_kernels_for_a_head_dimension_that_none_holds(tmp_path):
    words = ["--target", "arm-64-osx-metal", "--head-dim", "512", "--ops", "spatial_attention,merge", "--out", str(tmp_path / "out")]
    assert target_libraries.main(words) == 0
    assert [kernel["operation"] for kernel in json.loads((tmp_path / "out/manifest.json").read_text())["kernels"]] == ["merge"]


@pytest.mark.parametrize("target, message", [
    ("x86-64-linux-metal", "metal is for osx and ios alone"),
    ("x86-64-linux-webgpu", "webgpu is for wasmrt alone"),
    ("arm-64-osx-metal-webgpu", "one of metal, webgpu at a time"),
])  # fmt: skip
def test_where_there_is_no_such_device(capsys, target, message):
    with pytest.raises(SystemExit) as stop:
        target_libraries.main(["--target", target])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and message in error
