"""The command line of python -m muattn.coord_check. The standard library alone: as a program of its own, ./dev coord-check --help, it needs no
build."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"coord-check: {message}", file=sys.stderr)
        sys.exit(2)


def command_line(program: str = "python -m muattn.coord_check") -> Parser:
    parser = Parser(
        program, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""Does what a model computes depend on its width? Trains small models of many widths for some steps under a rule of
parametrization: a transformer of spatial attention on the text of Python's help, an XCiT-like one of channel attention, without
its normalisation, on scikit-learn's digits. Says of logits, attention output, block output and network output whether they are
stable, grow or vanish with width, and why that matters; draws a picture and writes a CSV file for each rule, in the columns of
mup.coord_check. All rules take some minutes on two processors without other work.

Exit code 0: everything is stable under every rule that was looked at; 1: something is not; 2: nothing was looked at.""",
    )  # fmt: skip
    parser.add_argument("--operation", choices=("spatial", "channel"), help="default: both, or that which the rule is for")
    parser.add_argument("--rule", type=_words, metavar="R,R",
                        help="sp (PyTorch's own parametrization), mup, mup_sqrt (muP, but 1/sqrt(d) left in), mup_heads, mup_mean, umup "
                        "(default: all)")  # fmt: skip
    parser.add_argument("--grow", choices=("head_dim", "heads"),
                        help="what becomes more as the model gets wider (default: what the rule is for; sp: head_dim)")  # fmt: skip
    parser.add_argument("--widths", type=_widths, metavar="N,N", help="muP's base width is 128 (default: 32,64,128,256,512,1024)")
    parser.add_argument("--seeds", type=_count, metavar="N",
                        help="models of each width, and their own data; one has no interval, two or three a wide one (default: 6; "
                        "--quick: 8)")  # fmt: skip
    parser.add_argument("--steps", type=_steps, metavar="N", help="default: 8 of texts, 16 of digits")
    parser.add_argument("--threads", type=_count, default=2, metavar="N", help="of PyTorch and of muattn (default: 2)")
    parser.add_argument("--quick", action="store_true", help="widths to 256: a minute, and wider intervals")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="folder for the results (default: results)")
    return parser


def _words(text: str) -> tuple[str, ...]:
    if not all(words := text.split(",")):
        raise argparse.ArgumentTypeError(f"must be names with commas between them, not '{text}'")
    return tuple(dict.fromkeys(words))


def _count(text: str, least: int = 1) -> int:
    if not (text.isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"must be a whole number from {least}, not '{text}'")
    return int(text)


def _steps(text: str) -> int:
    return _count(text, 2)


def _widths(text: str) -> tuple[int, ...]:
    widths = tuple(sorted({_count(word) for word in _words(text)}))
    if len(widths) < 2:
        raise argparse.ArgumentTypeError(f"must be at least two widths, not '{text}'")
    return widths


if __name__ == "__main__":
    command_line("./dev coord-check").parse_args()
