"""python -m muattn.transfer"""

from __future__ import annotations

import dataclasses
import sys

from .arguments import command_line
from .plan import QUICK, SHOWN, WHOLE, runs_of


def panels_of(arguments, known):
    """(operation, rule, setting) of each panel."""
    operations = [arguments.operation] if arguments.operation else list(SHOWN)
    for rule in arguments.rule or ():
        if not any(rule in known[operation] for operation in operations):
            choices = dict.fromkeys(rule for operation in operations for rule in known[operation])
            raise ValueError(f"--rule must be of {', '.join(choices)}, not '{rule}'")
    given = {name: getattr(arguments, name) for name in ("widths", "lrs", "steps", "seeds") if getattr(arguments, name)}
    panels = []
    for operation in operations:
        setting = dataclasses.replace((QUICK if arguments.quick else WHOLE)[operation], **given)
        rules = [rule for rule in arguments.rule or SHOWN[operation] if rule in known[operation]]
        panels += [(operation, rule, setting) for rule in rules]
    return panels


def perform_all(panels, finished, Progress):
    runs = [run for panel in panels for run in runs_of(*panel)]
    missing = [run for run in runs if run not in finished]
    already, done = sum(run.work() for run in runs if run in finished), 0.0
    with Progress("transfer", sum(run.work() for run in runs), already) as progress:
        for count, run in enumerate(missing, len(runs) - len(missing) + 1):
            says = f"run {count} of {len(runs)}: {run.says()}"
            finished.finish(run, lambda step: progress.at(done + run.work() * step / run.steps, says))
            done += run.work()


def main(words: list[str]) -> None:
    parser = command_line()
    arguments = parser.parse_args(words)
    try:
        from ..proving import RULES, make_model, need

        need("matplotlib")
        import torch

        from ..proving.origin import command, origin
        from ..proving.progress import Progress
        from .report import report
        from .runs import Finished
    except ImportError as error:
        parser.error(str(error))
    torch.set_num_threads(arguments.threads or (1 if arguments.quick else 2))
    try:
        panels = panels_of(arguments, {name: [rule.name for rule in RULES.values() if name in rule.operations] for name in SHOWN})
        with torch.device("meta"):  # a width that a rule refuses is better known before the first run
            for operation, rule, setting in panels:
                for width in setting.widths:
                    make_model(operation, rule, width)
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {arguments.out}: {error.strerror}")
    except ValueError as error:
        parser.error(str(error))
    finished = Finished(arguments.out / "transfer-runs.jsonl", origin())
    try:
        perform_all(panels, finished, Progress)
    except KeyboardInterrupt:
        print("\ntransfer: interrupted; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
    print(report(panels, finished, command("muattn.transfer", words), arguments.out))


if __name__ == "__main__":
    main(sys.argv[1:])
