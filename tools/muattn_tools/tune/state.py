"""What is known about the candidates of one generator on one backend: a file with a line of JSON per candidate, written as
soon as it is known, so that an interrupted search goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

from muattn_tools.tune.space import Numbers


class State:
    """The first line is the key: what the results hold for. A file with another key is put aside."""

    def __init__(self, path: Path, key: dict):
        self.path, self.records, self.put_aside = path, [], []
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [row for row in map(_parse, lines) if row is not None]  # a line may have been cut off in the middle
        if rows and rows[0] == key:
            self.records = rows[1:]
        else:
            if rows:
                self.put_aside = sorted(name for name in key if rows[0].get(name) != key[name])
                path.rename(path.with_suffix(".old.jsonl"))
            self._append(key)

    def add(self, numbers: Numbers, result: str, **facts) -> dict:
        """result: "verified" (the default), "accepted", "slower", "rejected" or "final"."""
        record = {"numbers": numbers, "result": result, **facts}
        self._append(record)
        self.records.append(record)
        return record

    def _append(self, row: dict) -> None:
        cut_off = self.path.exists() and not self.path.read_text().endswith("\n") and self.path.stat().st_size
        with self.path.open("a") as file:
            file.write("\n" * bool(cut_off) + json.dumps(row) + "\n")

    def find(self, numbers: Numbers, result: str) -> dict | None:
        """The last such record."""
        return next((r for r in reversed(self.records) if r["numbers"] == numbers and r["result"] == result), None)

    def candidates(self) -> list[dict]:
        return [record for record in self.records if record["result"] in ("accepted", "slower", "rejected")]

    def best(self) -> Numbers:
        """The last that was accepted, and not rejected after all when all of its kernels were built."""
        rejected = [record["numbers"] for record in self.records if record["result"] == "rejected"]
        accepted = [r["numbers"] for r in self.records if r["result"] == "accepted" and r["numbers"] not in rejected]
        return accepted[-1] if accepted else {}

    def ratio(self) -> float:
        """Default over best, as far as the steps of the search say: each was measured against the one before."""
        best, product = self.best(), 1.0
        while best:
            record = self.find(best, "accepted")
            product *= record["ratio"]
            best = record["than"]
        return product

    def tried(self, numbers: Numbers) -> bool:
        return not numbers or any(record["numbers"] == numbers for record in self.candidates())


def _parse(line: str) -> dict | None:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
