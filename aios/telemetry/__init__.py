"""What people and their tools see of the control plane: logs, traces and metrics.

Traces and metrics are read from the event stream, after the fact and on its clock: a simulated run reports as a real
one does. Each sink is called with the events of a turn, once they are durable, and the state after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aios.kernel.events import Event
from aios.kernel.state import State


class Sink(Protocol):
    """Gets the events of a turn, in order and once each, and the state after them; must be quick."""

    def __call__(self, events: Sequence[Event], state: State) -> None: ...
