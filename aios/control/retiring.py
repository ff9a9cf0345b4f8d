"""Which ended workloads the next turns may retire: looked for now and then, and handed out in parts."""

from __future__ import annotations

from collections import deque

from aios.kernel.events import WorkloadId
from aios.kernel.retention import Keep, retirable
from aios.kernel.state import State

LOOK_S = 10.0
"""From one look at all that ended to the next: it takes some milliseconds."""
TOGETHER = 500
"""How many workloads one turn retires at most: two milliseconds' work."""


class Retiring:
    """Candidates for ``aios.kernel.retention``; what is forgotten here is found again at the next look.

    Parameters
    ----------
    keep : Keep or None
        How long what is over stays in the state; None: for ever.
    """

    def __init__(self, keep: Keep | None = None, together: int = TOGETHER) -> None:
        self.keep, self._together = keep, together
        self._found: deque[WorkloadId] = deque()
        self._look_s = float("-inf")

    def next(self, state: State, now_s: float) -> tuple[WorkloadId, ...]:
        """Return what the turn at hand may retire."""
        if self.keep is None:
            return ()
        if not self._found and now_s >= self._look_s:
            self._found.extend(retirable(state, now_s, self.keep))
            self._look_s = now_s + LOOK_S
        return tuple(self._found.popleft() for _ in range(min(self._together, len(self._found))))
