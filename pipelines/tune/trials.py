"""What is known of each trial, kept as a file: later attempts go on with it, and the table is made of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.files import read_json, write_json

TRIALS = "trials.json"


@dataclass(slots=True)
class Trial:
    """One trial: ``running``, ``finished``, ``stopped`` (by the scheduler or the budget) or ``failed``."""

    name: str
    config: dict[str, Any]
    status: str = "running"
    epochs: int = 0
    score: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(slots=True)
class Trials:
    """All trials of a tuning, in the order in which they began, and how long it has run."""

    root: Path
    metric: str
    mode: str
    found: dict[str, Trial] = field(default_factory=dict)
    spent_s: float = 0.0

    @classmethod
    def read(cls, root: Path, metric: str, mode: str) -> Trials:
        path = root / TRIALS
        if not path.exists():
            return cls(root, metric, mode)
        kept = read_json(path)
        return cls(root, metric, mode, {one["name"]: Trial(**one) for one in kept["trials"]}, kept["spent_s"])

    def write(self) -> None:
        write_json(
            self.root / TRIALS, {"spent_s": self.spent_s, "trials": [asdict(one) for one in self.found.values()]}
        )

    def unfinished(self) -> list[Trial]:
        return [one for one in self.found.values() if one.status == "running"]

    def ranked(self, some: Iterable[Trial] | None = None) -> list[Trial]:
        """Return the trials with a score, the best first; of equal ones the earlier."""
        scored = [one for one in (self.found.values() if some is None else some) if one.score is not None]
        sign = 1.0 if self.mode == "min" else -1.0
        return sorted(scored, key=lambda one: (sign * (one.score or 0.0), one.name))

    def best(self) -> Trial | None:
        """Return the best of those that were trained to their end, else of those that were stopped."""
        done = self.ranked(one for one in self.found.values() if one.status == "finished")
        rest = self.ranked(one for one in self.found.values() if one.status == "stopped")
        return next(iter([*done, *rest]), None)
