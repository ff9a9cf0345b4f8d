"""What Ray 2.60 has only in private: tried once at start-up, and left out where it does not answer as expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ray._private.state
import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Private:
    """Private accessors that passed their check; without them AIOS sees no use by others and no draining nodes."""

    _available: Callable[[], Mapping[str, Mapping[str, float]]] | None
    _draining: Callable[[], Mapping[str, int]] | None

    @classmethod
    def checked(cls) -> Private:
        """Try each accessor on the connected cluster."""
        available = ray._private.state.available_resources_per_node
        draining = ray._private.state.state.get_draining_nodes
        return cls(
            available if _answers("available_resources_per_node", available) else None,
            draining if _answers("get_draining_nodes", draining) else None,
        )

    def available(self) -> Mapping[str, Mapping[str, float]] | None:
        """Return what is free on each node, in Ray's units; None where Ray does not tell."""
        return None if self._available is None else self._available()

    def draining(self) -> Mapping[str, int]:
        """Return the nodes that Ray drains, with their deadlines in UNIX milliseconds; 0: none was given."""
        return {} if self._draining is None else self._draining()


def _answers(name: str, accessor: Callable[[], object]) -> bool:
    try:
        answer = accessor()
    except Exception as error:  # whatever a changed private function may raise
        log.warning("private_accessor_failed", accessor=name, error=str(error))
        return False
    if not isinstance(answer, Mapping):
        log.warning("private_accessor_changed", accessor=name, answer=type(answer).__name__)
        return False
    return True
