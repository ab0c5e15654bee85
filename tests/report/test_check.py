"""The command itself on a build of two small kernels: what --check lets pass, what it stops, and what it says."""

import json
import re
import subprocess
import sys

import pytest

TARGET = "x86-64-linux-sse41-avx-f16c-fma-avx2"
KERNEL = "1:\nvmovaps (%rdi), %ymm12\n" + "".join(f"vfmadd231ps %ymm12, %ymm13, %ymm{n}\n" for n in range(12)) + "{}\ndecq %rsi\njne 1b"


def report(*arguments):
    return subprocess.run([sys.executable, "-m", "muattn_tools.report.kernel_report", *map(str, arguments)], text=True, capture_output=True)


@pytest.fixture
def build(tmp_path, assemble):
    """A function that makes a build of kernels from what their loops hold more than the FMA, and its --kernels argument."""

    def run(**extra):
        kernels = []
        for name, lines in extra.items():
            library = assemble(KERNEL.format(lines)).rename(tmp_path / f"{name}.o")
            kernels.append({"symbol": f"kernel_{name}_avx2", "operation": "op", "direction": "forward", "dtype": "float32", "kernel": name,
                            "backend": "avx2", "generator": "op", "target": TARGET, "library": str(library)})  # fmt: skip
        (tmp_path / "kernels.json").write_text(json.dumps(kernels))
        return ["--kernels", tmp_path / "kernels.json", "--baseline", tmp_path / "baseline.json"]

    return run


@pytest.fixture
def baseline(build):
    """Of kernels "general" and "lse"."""
    assert report(*build(general="nop", lse="nop"), "--update").returncode == 0


def test_table(build):
    done = report(*build(general="vmovups 0x20(%rsp), %ymm14", lse="nop"))
    assert done.returncode == 0 and done.stderr.startswith("report: 0 of 6")  # kernels and cores
    row = next(line.split() for line in done.stdout.splitlines() if line.strip().startswith("general"))
    assert row == ["general", "0.1", "1", "12", "75", "1", "0", "0", "1", "0", "99", "99", "99", "99"]


def test_same_build_passes(build, baseline):
    done = report(*build(general="nop", lse="nop"), "--check")
    assert (done.returncode, done.stdout) == (0, "report: 2 kernels, none worse than baseline.json\n")


@pytest.mark.parametrize("lines, message", [
    ("vmovups %ymm14, 0x20(%rsp)", "spills in a product loop 0 -> 1"),
    ("movq 0x20(%rsp), %rax", "reloads in a product loop 0 -> 1"),
    ("vpinsrd $1, (%rdi), %xmm14, %xmm14", "gathers in a product loop 0 -> 1"),
    ("nop\nnop", "FMA share 75.0% -> 70.6%"),
    ("vmulps %ymm14, %ymm14, %ymm14", r"cycles per FMA on znver3 0.50\d -> [\d.]+"),
    ("nopw 0x1000(%rax)\nnopw 0x1000(%rax)", r"code size \d+ -> \d+ bytes"),
])  # fmt: skip
def test_regressions(build, baseline, lines, message):
    done = report(*build(general=lines, lse="nop"), "--check")
    assert done.returncode == 1
    assert re.search(f"worse: kernel_general_avx2: {message}\n", done.stdout), done.stdout
    assert re.match(r"report: kernel_general_avx2: .*; if that is meant: ./dev report --update$", done.stdout.splitlines()[-1])
    assert "kernel_lse" not in done.stdout


def test_better_is_told(build):
    report(*build(general="vmovups %ymm14, 0x20(%rsp)"), "--update")
    done = report(*build(general="nop"), "--check")
    assert done.returncode == 0
    assert "better: kernel_general_avx2: spills in a product loop 1 -> 0\n" in done.stdout
    assert done.stdout.endswith("none worse than baseline.json; to keep what is better: ./dev report --update\n")


def test_kernels_that_come_and_go(build, baseline):
    done = report(*build(general="nop", other="nop"), "--check")
    assert done.returncode == 1
    assert "worse: kernel_other_avx2: is not in the baseline\n" in done.stdout
    assert "worse: kernel_lse_avx2: is in the baseline, not in the build\n" in done.stdout
    assert report(*build(general="nop", other="nop"), "--check", "--filter", "general").returncode == 0


def test_backends_of_another_build_stay(build, baseline, tmp_path):
    path = tmp_path / "baseline.json"
    kept = json.loads(path.read_text())
    kept["kernels"]["kernel_general_neon"] = kept["kernels"]["kernel_general_avx2"] | {"backend": "neon"}
    path.write_text(json.dumps(kept))
    arguments = build(general="nop", lse="nop")
    assert report(*arguments, "--update").returncode == 0
    assert json.loads(path.read_text()) == kept
    assert report(*arguments, "--check").returncode == 0


def test_other_llvm_compares_no_cycles(build, baseline, tmp_path):
    path = tmp_path / "baseline.json"
    path.write_text(re.sub(r'"znver3": [\d.]+', '"znver3": 1.0', re.sub(r'"llvm": "[^"]+"', '"llvm": "1.2.3"', path.read_text())))
    done = report(*build(general="nop", lse="nop"), "--check")
    assert done.returncode == 0 and done.stdout.startswith("cycles are not compared: here is LLVM ")


def test_json_and_markdown(build, tmp_path):
    files = tmp_path / "facts.json", tmp_path / "table.md"
    assert report(*build(general="nop"), "--all", "--json", files[0], "--markdown", files[1]).returncode == 0
    loop = json.loads(files[0].read_text())["kernels"]["kernel_general_avx2"]["loops"][0]
    assert (loop["multiply_adds"], loop["instructions"], loop["product_loop"]) == (12, 16, True)
    assert files[1].read_text().count("### ") == 2


@pytest.mark.parametrize("arguments, line", [
    (["--filter", "nothing"], "--filter: no kernel's symbol contains 'nothing'"),
    (["--update", "--filter", "general"], "--update takes all kernels: no --filter with it"),
    (["--check"], "--baseline: no file .*; --update writes it"),
    (["--kernels", "nowhere"], "--kernels: no file nowhere; ./dev setup builds it"),
    (["--json", f"{__file__}/facts.json"], "--json: .*test_check.py is no folder"),
    (["--markdown", "/"], "--markdown: / is a folder"),
])  # fmt: skip
def test_errors(build, arguments, line):
    done = report(*build(general="nop"), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(f"report: {line}\n", done.stderr)


def test_unknown_target(build, tmp_path):
    """Which cores judge a backend, and what its code is, tables/machines.json has to say."""
    for old, new, message in [
        ("\"avx2\"", "\"avx3\"", "has no machine 'avx3'"),
        ("\"avx2\"", "\"rvv_256\"", "has no cores for rvv_256, by which kernel_general_avx2 would be judged"),
        (TARGET, "riscv-64-linux", "has no llvm for riscv-64-linux, by which kernel_general_avx2 would be judged"),
    ]:
        arguments = build(general="nop")
        path = tmp_path / "kernels.json"
        path.write_text(path.read_text().replace(old, new))
        done = report(*arguments)
        assert done.returncode == 1 and f"report: tables/machines.json {message}\n" in done.stderr
