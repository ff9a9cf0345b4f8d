"""The best epoch so far by a metric, and for how long nothing was better: when to stop, and what to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Best:
    """The best value of ``metric``, the epoch that reached it (0: none yet), ``since`` how many epochs it stands."""

    metric: str
    min_delta: float = 0.0
    value: float = 0.0
    epoch: int = 0
    since: int = 0

    def after(self, metrics: Mapping[str, Any]) -> Best:
        """Return what is best once an epoch has these metrics."""
        value = float(metrics[self.metric])
        if self.epoch == 0 or better(self.metric, value, self.value, self.min_delta):
            return replace(self, value=value, epoch=int(metrics["epoch"]), since=0)
        return replace(self, since=self.since + 1)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def better(metric: str, value: float, than: float, by: float = 0.0) -> bool:
    """Return whether a value is better than another by more than ``by``."""
    return value > than + by if metric.endswith("accuracy") else value < than - by


def kept(scores: Mapping[str, float | None], metric: str | None, last: int, best: int) -> frozenset[str]:
    """Return which checkpoints stay: the last ones in the order given, and the best ones that have a score.

    A checkpoint inside an epoch has no score.
    """
    names = list(scores)
    stay = set(names[-last:])
    if metric is not None and best:
        scored = [(value, name) for name, value in scores.items() if value is not None]
        scored.sort(key=lambda one: -one[0] if metric.endswith("accuracy") else one[0])
        stay.update(name for _, name in scored[:best])
    return frozenset(stay)
