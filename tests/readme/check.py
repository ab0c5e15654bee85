"""Runs an example of a Markdown file and compares what it prints with the output block that follows it.

usage: check.py FILE LANGUAGE [COMPILER ARGUMENT...]

The example is the fenced block after the line `<!-- example: LANGUAGE -->`, its output the one after the next
`<!-- output -->`. With a compiler command, {source} and {program} in it are replaced; without one, the shell runs an example
in sh, and Python any other.
"""

import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def fenced_block(text, marker, start=0):
    """The block whose fence follows the marker's line, and where it ends."""
    pattern = re.compile(rf"^<!-- {re.escape(marker)} -->\n+```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    match = pattern.search(text, start)
    if match is None:
        sys.exit(f"no block marked <!-- {marker} -->")
    return match.group(1), match.end()


def main():
    file, language, *compiler = sys.argv[1:]
    text = Path(file).read_text()
    example, end = fenced_block(text, f"example: {language}")
    expected, _ = fenced_block(text, "output", end)

    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, f"example.{language}"), Path(folder, "program")
        source.write_text(example)
        command = ["sh" if language == "sh" else sys.executable, str(source)]
        if compiler:
            subprocess.run([word.format(source=source, program=program) for word in compiler], check=True)
            command = [str(program)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    if printed != expected:
        sys.exit("".join(difflib.unified_diff(expected.splitlines(True), printed.splitlines(True), file, "printed")))


main()
