"""Times the kernels on bench/shapes.json with Google Benchmark: a table here, and in files the table and every counter.
docs/benchmarks.md says what the columns mean.

Other arguments go to Google Benchmark, for example
  --benchmark_filter=REGEX         only these; e.g. channel/mup, or /1_threads
  --benchmark_min_time=SECONDS     per entry (default: 0.5)
  --benchmark_repetitions=N        the table has the best repetition

./dev bench runs this."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from arguments import Parser
from kernels_table import markdown, read_rows, table, verdict
from provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
USAGE = """./dev bench [--out FILE] [GOOGLE-BENCHMARK-ARGUMENT...]
       ./dev bench --scaling [ARGUMENT...]
       ./dev bench --peers [ARGUMENT...]"""


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
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    arguments = [*arguments, f"--benchmark_out={out}", "--benchmark_out_format=json", "--benchmark_color=false"]
    with (
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
    ):
        task = progress.add_task(names[0], total=len(names))
        remaining = set(names)
        for line in process.stdout:
            remaining.discard(line.split(" ")[0])
            following = next((name for name in names if name in remaining), "")
            progress.update(task, completed=len(names) - len(remaining), description=following)
        errors = process.stderr.read()
    if process.returncode != 0:
        print(errors, file=sys.stderr)
    return process.returncode


def main() -> int:
    parser = Parser("./dev bench", usage=USAGE, description=__doc__)
    parser.add_argument("--out", "--benchmark_out", type=Path, default=ROOT / "results" / "bench.json", metavar="FILE",
                        help="JSON; the table goes beside it as .md (default: results/bench.json)")  # fmt: skip
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "release" / "bench" / "muattn_bench",
                        help="the compiled benchmarks (default: those of build/release)")  # fmt: skip
    options, others = parser.parse_known_args()
    if options.out.suffix != ".json":
        parser.error(f"--out must name a .json file, not {options.out}")
    if not options.program.is_file():
        parser.error(f"--program must name a file, not {options.program}")
    names = listed(parser, options.program, others)
    if "--benchmark_list_tests" in others or "--benchmark_list_tests=true" in others:
        print("\n".join(names))
        return 0

    options.out.parent.mkdir(parents=True, exist_ok=True)
    status = run(options.program, others, names, options.out)
    if status != 0:
        return status
    results = json.loads(options.out.read_text())
    for private in ("host_name", "executable"):
        del results["context"][private]
    command = "./dev bench " + shlex.join(sys.argv[1:])
    results = {**provenance(results["context"]["backend"], command), **results}
    options.out.write_text(json.dumps(results, indent=1) + "\n")

    rows = read_rows(results)
    console = Console()
    console.width = max(120, console.width)
    console.print(table(results, rows))
    print("\n".join(verdict(results, rows)))
    options.out.with_suffix(".md").write_text(markdown(results, rows))
    print(f"{options.out}, .md")
    return 1 if any(row.error for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
