"""Times the kernels on bench/shapes.json with Google Benchmark; ./dev bench runs this."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from muattn_tools import command_lines
from muattn_tools.arguments import Parser
from muattn_tools.bench.kernels_table import markdown, read_rows, table, verdict
from muattn_tools.machine_load import warn
from muattn_tools.paths import RESULTS
from muattn_tools.progress import Steps
from muattn_tools.provenance import provenance


def listed(parser: Parser, program: Path, arguments: list[str]) -> list[str]:
    """Names of the benchmarks that would run. The program refuses an argument that it does not know."""
    done = subprocess.run([program, *arguments, "--benchmark_list_tests"], capture_output=True, text=True)
    if done.returncode != 0:
        parser.error(done.stderr.strip().rpartition("\n")[2].removeprefix(f"{program}: error: "))
    names = [line for line in done.stdout.splitlines() if "_threads/" in line]
    if not names:
        parser.error("no benchmark matches --benchmark_filter; --benchmark_list_tests lists them")
    return names


def run(program: Path, arguments: list[str], names: list[str], out: Path) -> int:
    """Runs the program, which writes to out, and shows which benchmark is at work. Its exit status."""
    arguments = [*arguments, f"--benchmark_out={out}", "--benchmark_out_format=json", "--benchmark_color=false"]
    with (
        Steps("bench", len(names)) as steps,
        subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
    ):
        remaining = set(names)
        steps.at(0, names[0])
        for line in process.stdout:
            remaining.discard(line.split(" ")[0])
            following = next((name for name in names if name in remaining), "")
            steps.at(len(names) - len(remaining), following)
        errors = process.stderr.read()
    if process.returncode != 0:
        print(errors, file=sys.stderr)
    return process.returncode


def main() -> int:
    parser = command_lines.kernels()
    options, others = parser.parse_known_args()
    if options.backward:
        others.append("--backward")
    options.out = options.out or RESULTS / ("bench-backward.json" if options.backward else "bench.json")
    if options.out.suffix != ".json":
        parser.error(f"--out must name a .json file, not {options.out}")
    if not options.program.is_file():
        parser.error(f"--program must name a file, not {options.program}")
    if any(word.split("=")[0] == "--filter" for word in others):
        parser.error("--filter: here it is --benchmark_filter=REGEX")
    names = listed(parser, options.program, others)
    if "--benchmark_list_tests" in others or "--benchmark_list_tests=true" in others:
        print("\n".join(names))
        return 0

    parser.need_file("--out", options.out)
    busy = warn("bench")
    status = run(options.program, others, names, options.out)
    if status != 0:
        return status
    results = json.loads(options.out.read_text())
    for private in ("host_name", "executable"):
        del results["context"][private]
    command = "./dev bench " + shlex.join(sys.argv[1:])
    results = {**provenance(results["context"]["backend"], command), **busy, **results}
    options.out.write_text(json.dumps(results, indent=1) + "\n")

    rows = read_rows(results)
    console = Console()
    console.width = max(150 if options.backward else 120, console.width)
    console.print(table(results, rows))
    print("\n".join(verdict(results, rows)))
    options.out.with_suffix(".md").write_text(markdown(results, rows))
    print(f"{options.out}, .md")
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
