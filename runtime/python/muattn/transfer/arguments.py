"""The command line of python -m muattn.transfer. The standard library alone: as a program of its own, ./dev transfer --help, it needs no build."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"transfer: {message}", file=sys.stderr)
        sys.exit(2)


def command_line(program: str = "python -m muattn.transfer") -> Parser:
    parser = Parser(
        program, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""Do learning rates transfer from a narrow model to wide ones? Trains small models of some widths at a grid of learning rates: a
transformer of spatial attention on the text of Python's help, an XCiT-like one of channel attention on scikit-learn's digits.
Draws the final loss against the learning rate, and writes a table and a results file. An interrupted command goes on where it
was when it is called again; finished runs are in FOLDER/transfer-runs.jsonl. The whole takes about 24 minutes on two
processors without other work.""",
    )  # fmt: skip
    parser.add_argument("--rule", type=_words, metavar="R,R",
                        help="sp, mup, mup_sqrt (muP, but 1/sqrt(d) left in), mup_mean, mup_heads, umup (default: sp, mup and mup_sqrt of "
                        "spatial attention, sp, mup and mup_mean of channel attention)")  # fmt: skip
    parser.add_argument("--operation", choices=("spatial", "channel"), help="default: both")
    parser.add_argument("--widths", type=_widths, metavar="N,N",
                        help="losses are compared at the first one's best rate; muP's base width is 32 (default: 32,64,128,256)")  # fmt: skip
    parser.add_argument("--lrs", type=_rates, metavar="LR,LR", help="learning rates, as 0.01 or 2^-7 (default: 2^-11 to 2^-4)")
    parser.add_argument("--steps", type=_count, metavar="N", help="of a run (default: 200 of spatial, 100 of channel attention)")
    parser.add_argument("--seeds", type=_count, metavar="N", help="runs at each point, whose mean counts (default: 1)")
    parser.add_argument("--threads", type=_count, metavar="N",
                        help="of PyTorch and of muattn (default: 2; with --quick 1); on a machine with other work 1 is faster")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="two widths, four rates, 20 steps: a try of the program, not of muP")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="folder for the results (default: results)")
    return parser


def _words(text: str) -> tuple[str, ...]:
    if not all(words := text.split(",")):
        raise argparse.ArgumentTypeError(f"must be names with commas between them, not '{text}'")
    return tuple(dict.fromkeys(words))


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not '{text}'")
    return int(text)


def _widths(text: str) -> tuple[int, ...]:
    widths = tuple(sorted({_count(word) for word in _words(text)}))
    if len(widths) < 2:
        raise argparse.ArgumentTypeError(f"must be at least two widths, not '{text}'")
    return widths


def _rates(text: str) -> tuple[float, ...]:
    return tuple(sorted({_rate(word) for word in _words(text)}))


def _rate(text: str) -> float:
    base, power, exponent = text.partition("^")
    try:
        rate = float(base) ** float(exponent) if power else float(base)
    except (ValueError, OverflowError, ZeroDivisionError):
        rate = math.nan
    if isinstance(rate, complex) or not (math.isfinite(rate) and rate > 0):
        raise argparse.ArgumentTypeError(f"learning rates must be numbers above 0, as 0.01 or 2^-7, not '{text}'")
    return rate


if __name__ == "__main__":
    command_line("./dev transfer").parse_args()
