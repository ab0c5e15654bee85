"""Whether the machine has other work: times that are measured then say little."""

from __future__ import annotations

import os
import sys

BUSY = 0.25  # of the processors


def load() -> float:
    """Processes that ran, or waited for a processor, on average over the last minute."""
    return os.getloadavg()[0]


def busy_line(average: float, count: int) -> str | None:
    if average <= BUSY * count:
        return None
    return (
        f"the machine is busy: {average:.1f} processes on average over the last minute, {count} processors. Times that are "
        "measured beside other work mislead; a build that has just ended counts, too."
    )


def warn(verb: str) -> dict[str, str]:
    """What a result has to keep of it: nothing, where the machine has no other work."""
    line = busy_line(load(), os.cpu_count() or 1)
    if line:
        print(f"{verb}: {line}", file=sys.stderr, flush=True)
    return {"busy": line} if line else {}


def kept_warning(results: dict) -> list[str]:
    """What a table says of it."""
    return [f"When this began, {results['busy'].replace(' is busy', ' was busy', 1)}"] if "busy" in results else []
