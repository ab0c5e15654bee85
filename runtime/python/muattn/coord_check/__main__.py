"""python -m muattn.coord_check"""

from __future__ import annotations

import sys

from .arguments import command_line


def main(words: list[str]) -> int:
    parser = command_line()
    arguments = parser.parse_args(words)
    try:
        from ..proving import need

        need("matplotlib")
        import torch

        from ..proving.progress import Progress
        from .picture import draw
        from .program import QUICK, checks_of, perform, table
    except ImportError as error:
        parser.error(str(error))
    torch.set_num_threads(arguments.threads)
    given = {name: getattr(arguments, name) for name in ("grow", "widths", "seeds", "steps") if getattr(arguments, name)}
    try:
        checks = checks_of(arguments.operation, arguments.rule, **({**QUICK, **given} if arguments.quick else given))
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {arguments.out}: {error.strerror}")
    except ValueError as error:
        parser.error(str(error))
    found, files = {}, []
    try:
        with Progress("coord-check", sum(sum(check.costs()) for check in checks)) as progress:
            for check, result in perform(checks, progress):
                found[check] = result
                files.append(arguments.out / f"coord-check-{check.operation}-{check.rule}.csv")
                result.save_csv(files[-1], operation=check.operation, rule=check.rule, grow=check.grows)
    except KeyboardInterrupt:
        print(f"\ncoord-check: interrupted; written: {', '.join(map(str, files)) or 'nothing'}", file=sys.stderr)
        return 130
    print(table(found))
    for operation in dict.fromkeys(check.operation for check in found):
        files.append(arguments.out / f"coord-check-{operation}.png")
        of_operation = {check.label: result for check, result in found.items() if check.operation == operation}
        draw(of_operation, files[-1], f"{operation} attention".capitalize())
    stable = all(result.stable for result in found.values())
    print(f"\n{'everything is stable' if stable else 'not everything is stable'}; written: {', '.join(map(str, files))}")
    return 0 if stable else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
