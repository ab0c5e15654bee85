"""Halide's Adams2019 autoscheduler on the same algorithm, once per operator: how far is its schedule from ours?"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from muattn_tools.paths import SHAPES
from muattn_tools.tune.build import Build, Clock, Failed, OutOfTime, run
from muattn_tools.tune.search import MEASURE, Options
from muattn_tools.tune.space import Numbers
from muattn_tools.tune.state import State

LEAST_SECONDS = 240  # the search alone took 170 seconds for channel attention
# A generator, a shape of bench/shapes.json and the kernel that runs it; generators/<operation>/inputs.h has the same sizes.
ESTIMATED = {
    "spatial_attention_general": ("spatial", "gpt2_1024", "general"),
    "channel_attention_channels_last": ("channel", "mup_d128", "channels_last"),
}


class Adams:
    def __init__(self, build: Build, generator: str, state: State, options: Options, show):
        self.build, self.state, self.options, self.show = build, state, options, show
        self.table, self.shape, name = ESTIMATED[generator]
        self.name = f"{self.table}/{self.shape}"
        self.kernel = next(k for k in build.kernels_for(options.backend) if k.generator == generator and k.name == name)

    def run(self, ours: Numbers, clock: Clock) -> str:
        """A sentence. What is known from an earlier run is not done again, unless there is more time for it now."""
        allowed = clock.left()
        known = self.state.records[-1] if self.state.records else None
        if known is None and allowed < LEAST_SECONDS:
            return f"Adams2019: left out; of this budget it would have {allowed / 60:.1f} minutes, and needs {LEAST_SECONDS // 60}"
        if known is None or known["result"] == "timeout" and allowed > 1.5 * known["seconds"]:
            self.show.doing("Adams2019: schedule")
            try:
                known = self._try(ours, clock)
            except OutOfTime:
                known = self.state.add({}, "timeout", text="no result in the time that it had", seconds=allowed)
        minutes = f"{known['seconds'] / 60:.1f} minutes"
        return f"Adams2019 on {self.name}, {minutes}: {known['text']}"

    def _try(self, ours: Numbers, clock: Clock) -> dict:
        start = time.monotonic()

        def done(result: str, what: str) -> dict:
            return self.state.add({}, result, text=what, seconds=time.monotonic() - start)

        folder, backend, kernels = self.state.path.parent, self.options.backend, [self.kernel]
        extra = ("-p", self.build.facts["autoscheduler"], "autoscheduler=Adams2019",
                 f"autoscheduler.parallelism={self.build.processors}")  # fmt: skip
        memory = _available_memory() // 2
        made = self.build.generate(self.kernel, {}, _empty(folder / "adams2019"), clock, extra, memory)
        if "bad_alloc" in made.errors:
            return done("failed", f"failed: not enough memory, {memory / 2**30:.0f} GiB")
        if made.code != 0:
            return done("failed", f"failed: {made.reason()}")
        try:
            libraries = {
                "candidate": self.build.link(kernels, {}, folder / "adams2019", clock),
                "best": self.build.candidate(kernels, ours, _empty(folder / "ours"), clock),
            }
        except Failed as failure:
            return done("failed", f"failed: {failure}")
        self.show.doing("Adams2019: time")
        shape = next(s for s in json.loads(SHAPES.read_text())[self.table] if s["name"] == self.shape)
        job = {
            "step": "measure", "backend": backend, "libraries": {k: str(v) for k, v in libraries.items()},
            "shapes": [[self.table, "forward", shape]], "problems": [], "times": ["full"], "threads": self.options.threads,
            "seconds": self.options.seconds, "gain": 0, "quick_loss": 0,
        }  # fmt: skip
        measured = run(MEASURE, clock, stdin=json.dumps(job))
        lines = [json.loads(line) for line in measured.output.splitlines()]
        for line in lines:
            if "rejected" in line:
                return done("failed", f"rejected: {line['rejected']}")
            if "rows" in line:
                return done("measured", "; ".join(_compare(row) for row in line["rows"]))
        return done("failed", f"failed: {measured.reason()}")


def _compare(row: dict) -> str:
    ours, theirs = row["milliseconds"]["best"], row["milliseconds"]["candidate"]
    threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
    return f"{theirs:.3g} ms against our {ours:.3g} ms with {threads}, {theirs / ours:.2f} times as long"


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return 1024 * int(line.split()[1])
    return 8 << 30


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
