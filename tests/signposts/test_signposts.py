"""What comments and pages name of this repository is there: files by their paths, files by their names, headings that links lead to."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path, PurePosixPath

from sources import ROOT, files, folders, texts

ROOMS = sorted({name.split("/")[0] for name in files() if "/" in name})
# Not within a longer path, as build/release/bench, nor after a variable.
PATH = re.compile(rf"(?<![\w/.$}}>~*-])(?:{'|'.join(map(re.escape, ROOMS))})/[\w./*<>+-]*")
NOT_IN_THE_SOURCES = {
    "bench/libmuattn.so": "in a build",
    "bench/muattn_bench": "in a build",
    "bench/tune/facts.json": "in a build",
    "runtime/cli/muattn": "in a build",
    "cmake/toolchains/powerpc-64-linux.cmake": "in an example of docs/targets.md",
}
# The name of a source or a page, alone or as the end of a path.
NAME = re.compile(r"(?<![\w/.<>*}{$+-])(?:[\w-]+/)*[\w-]+\.(?:cpp|h|hpp|cmake|md)(?![\w/*])")
OF_OTHERS = {"Halide.h", "src/runtime/device_interface.h", "internal/memory_resources.h"}  # Halide's
COMMENTS = {
    ".cpp": r"//[^\n]*|/\*.*?\*/", ".h": r"//[^\n]*|/\*.*?\*/", ".hpp": r"//[^\n]*|/\*.*?\*/", ".c": r"//[^\n]*|/\*.*?\*/",
    ".py": r"(?<!\S)#[^\n]*|\"\"\".*?\"\"\"", ".cmake": r"(?<!\S)#[^\n]*", ".txt": r"(?<!\S)#[^\n]*", "": r"(?<!\S)#[^\n]*",
}  # fmt: skip
LINK = re.compile(r"\]\(([^)\s]+)\)")


def matches(pattern: str, path: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern)


def is_there(path: str) -> bool:
    """<operation>, * and words in capitals, as NAME.json, stand for any name."""
    if path in files() or path in folders() or path in NOT_IN_THE_SOURCES:
        return True
    pattern = re.sub(r"<[^>]*>|\b[A-Z]{3,}(?:-[A-Z]+)*\b", "*", path)
    return "*" in pattern and any(matches(pattern, name) for name in files() | folders())


def of_people(name: str, text: str) -> str:
    """A page without its links; the comments of anything else. Lines keep their numbers."""
    suffix = Path(name).suffix
    if suffix == ".md":
        return LINK.sub("]", text)
    kept, end = [], 0
    for comment in re.finditer(COMMENTS[suffix], text, re.S) if suffix in COMMENTS else ():
        kept += ["\n" * text.count("\n", end, comment.start()), comment[0]]
        end = comment.end()
    return "".join(kept)


def numbered(text: str) -> list[tuple[int, str]]:
    return list(enumerate(text.splitlines(), 1))


def anchors(page: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*?) *$", re.sub(r"^```.*?^```", "", page, flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_paths_lead_to_files():
    wrong = [
        f"{name}:{number}: {found}"
        for name, text in texts().items()
        for number, line in numbered(text)
        for found in PATH.findall(line)
        if not is_there(found.rstrip(".,:;)-/"))
    ]
    assert not wrong, "\n".join(["no such files:", *wrong])


def is_a_name(name: str) -> bool:
    """_gpu.h is the end of one, NAME.md stands for one."""
    end = name if name.startswith("_") else f"/{name}"
    return name.startswith("NAME.") or any(f"/{path}".endswith(end) for path in files())


def test_names_are_of_files():
    wrong = [
        f"{name}:{number}: {found}"
        for name, text in texts().items()
        for number, line in numbered(of_people(name, text))
        for found in NAME.findall(line)
        if found not in OF_OTHERS and found.split("/")[0] not in ROOMS and not is_a_name(found)
    ]
    assert not wrong, "\n".join(["no files of such names:", *wrong])


def test_links_lead_to_headings():
    pages, wrong = texts(".md"), []
    for name, text in pages.items():
        for number, line in numbered(text):
            for link in LINK.findall(line):
                if link.startswith(("http:", "https:", "mailto:")):
                    continue
                path, _, anchor = link.partition("#")
                target = (ROOT / PurePosixPath(name).parent / path).resolve() if path else ROOT / name
                if not target.exists() or anchor and anchor not in anchors(target.read_text()):
                    wrong.append(f"{name}:{number}: {link}")
    assert not wrong, "\n".join(["links that lead nowhere:", *wrong])
