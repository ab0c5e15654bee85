"""Both operators on a photograph: every scaling rule from width 32 to 1024, checked against float64, as a table and pictures.

    ./dev demo [--out DIR]

Exit status 1 if a result is wrong.
"""

import argparse
import pathlib
import sys

import muattn
import pictures
from measure import TOLERANCE, measure
from photograph import Photograph
from rich.console import Console
from rich.progress import Progress
from rules import RULES
from table import table

WIDTHS = [32, 64, 128, 256, 512, 1024]
PICTURES = {
    "spatial_attention.png": lambda path, photograph, _: pictures.spatial_attention(path, photograph),
    "spatial_width.png": lambda path, photograph, _: pictures.spatial_width(path, photograph, WIDTHS),
    "channel_attention.png": lambda path, photograph, _: pictures.channel_attention(path, photograph),
    "coordinates.png": lambda path, _, measurements: pictures.coordinates(path, measurements),
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/demo"), help="where the pictures go")
    out = parser.parse_args(arguments).out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: {error}")

    photograph = Photograph()
    measurements = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(RULES) * len(WIDTHS) + len(PICTURES))
        for rule in RULES:
            for width in WIDTHS:
                progress.update(task, description=f"{rule.operator}, {rule.name}, width {width}")
                measurements.append(measure(photograph, rule, width))
                progress.advance(task)
        for name, draw in PICTURES.items():
            progress.update(task, description=name)
            draw(out / name, photograph, measurements)
            progress.advance(task)

    title = (
        f"muattn {muattn.__version__} on a photograph of {photograph.rows} x {photograph.columns} patches; "
        f"{muattn.current_backend()}, {muattn.get_num_threads()} threads"
    )
    Console(width=max(120, Console().width)).print(table(measurements, title))
    for name in PICTURES:
        print(out / name)

    wrong = [m for m in measurements if m.wrong]
    for m in wrong:
        print(
            f"demo: WRONG RESULT: {m.rule.operator} attention, {m.rule.name}, heads {m.heads}, d {m.d}: "
            f"error {m.error:.1e}, more than {TOLERANCE:.0e}",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
