"""Best times of contestants that run in turn."""

from __future__ import annotations

import time
from collections.abc import Callable

# Worker threads of some peers spin for some time after a call, on the processor that the next contestant needs: with more threads than
# one, a turn begins with a pause. Then come calls that are not timed, for processors, caches and sleeping threads, then those that are.
SPIN_SECONDS = 0.02
WARM_SECONDS = 0.005
BURST_SECONDS = 0.01

Parts = tuple[float, ...]  # seconds of the parts of a call


def turn(timed: Callable[[], Parts], threads: int) -> list[Parts]:
    """Times of one or more calls."""
    if threads > 1:
        time.sleep(SPIN_SECONDS)
    start = time.perf_counter()
    while True:
        timed()
        if time.perf_counter() > start + WARM_SECONDS:
            break
    times, spent = [], 0.0
    while spent < BURST_SECONDS:
        times.append(timed())
        spent += sum(times[-1])
    return times


def all_times(calls: dict[str, Callable[[], Parts]], seconds: float, threads: int) -> dict[str, list[Parts]]:
    """Times of each over turns: at least 20 calls and the given time, but 3 calls where that takes four times as long."""
    times: dict[str, list[Parts]] = {name: [] for name in calls}

    def wanting(name: str) -> bool:
        count, spent = len(times[name]), sum(map(sum, times[name]))
        return count < 3 or (count < 20 or spent < seconds) and spent < 4 * seconds

    while any(wanting(name) for name in calls):
        for name in filter(wanting, calls):
            times[name] += turn(calls[name], threads)
    return times


def timed(call: Callable[[], object]) -> Callable[[], Parts]:
    """The call as one part."""

    def run() -> Parts:
        start = time.perf_counter()
        call()
        return (time.perf_counter() - start,)

    return run


def best_times(calls: dict[str, Callable[[], object]], seconds: float, threads: int = 1) -> dict[str, float]:
    """Best time of each, in seconds."""
    times = all_times({name: timed(call) for name, call in calls.items()}, seconds, threads)
    return {name: min(of_call)[0] for name, of_call in times.items()}
