"""Includes run one way: docs/design.md has the order."""

from __future__ import annotations

import re
from pathlib import Path

from sources import ROOT, files, texts

INCLUDE = re.compile(r"^\s*#\s*include\s+\"([^\"]+)\"", re.M)
# In front: what a file of a row may include, its own row and the rows before. Of the rows of one name, each goes its own way.
RUNTIME = [r"system/", r"common/", r"gpu/", r"kernels/", r"(spatial_attention|channel_attention|merge|convert)/", r"[^/]*$"]
KERNELS = [
    r"schedules/common/",
    r"schedules/([^/]+/[^/]+_numbers|all_numbers)\.h$",
    r"generators/common/",
    r"generators/.*\.h$",
    r"schedules/.*_(cpu|gpu)\.h$",
    r"generators/.*\.cpp$",
]


def resolved(name: str, include: str) -> str | None:
    """The path from the root: a header lies beside the file, or is named from one of these folders."""
    beside = (ROOT / name).parent / include
    for path in (beside, ROOT / include, ROOT / "runtime/src" / include, ROOT / "runtime/include" / include, ROOT / "tests" / include):
        if path.is_file():
            return path.resolve().relative_to(ROOT).as_posix()
    return None  # generated, or of another package


def includes() -> list[tuple[str, str]]:
    """Every file and what it includes of this repository."""
    sources = texts(".c", ".cpp", ".h", ".hpp")
    pairs = [(name, resolved(name, include)) for name, text in sources.items() for include in INCLUDE.findall(text)]
    return [(name, included) for name, included in pairs if included]


def row(rows: list[str], path: str) -> tuple[int, str]:
    """And the room, where a row has several."""
    for number, pattern in enumerate(rows):
        if found := re.match(pattern, path):
            return number, found[1] if "attention" in pattern else ""
    raise AssertionError(f"{path} has no place in {rows}")


def upward(rows: list[str], prefix: str) -> list[str]:
    """Within what begins with the prefix."""
    wrong = []
    for name, included in includes():
        if re.match(prefix, name) and re.match(prefix, included):
            (own, room), (other, other_room) = (row(rows, re.sub("^runtime/src/", "", path)) for path in (name, included))
            if other > own or other == own and room != other_room:
                wrong.append(f"{name} includes {included}")
    return wrong


def test_the_runtime_includes_downwards():
    assert upward(RUNTIME, "runtime/src/") == []


def test_generators_and_schedules_include_downwards():
    assert upward(KERNELS, "generators/|schedules/") == []


def test_the_runtime_knows_numbers_and_no_halide_code():
    wrong = [
        f"{name} includes {included}"
        for name, included in includes()
        if name.startswith("runtime/") and re.match("generators/|schedules/", included) and row(KERNELS, included)[0] > 1
    ]
    assert wrong == []


def test_nothing_includes_the_tests():
    assert [pair for pair in includes() if pair[1].startswith("tests/") and not pair[0].startswith("tests/")] == []


def test_python_outside_the_tests_does_not_import_them():
    modules = {Path(name).stem for name in files() if re.fullmatch(r"tests/.*\.py", name)}
    modules -= {Path(name).stem for name in files() if re.fullmatch(r"(demo|tools)/.*\.py", name)}
    wrong = [
        f"{name} imports {module}"
        for name, text in texts(".py").items()
        if not name.startswith("tests/")
        for module in re.findall(r"^\s*(?:from|import) (\w+)", text, re.M)
        if module in modules
    ]
    assert wrong == []


def test_no_two_tools_have_the_same_name():
    names = [Path(name).stem for name in files() if re.fullmatch(r"tools/.*\.py", name) and not name.endswith("/__init__.py")]
    assert sorted(names) == sorted(set(names))
