"""What a submission may refer to, worked out only where it refers to something."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from aios.kernel.inputs import find, split, there
from aios.kernel.state import State
from aios.submission import Known
from aios.tenants import with_default

_V = TypeVar("_V")


class Lazily(Mapping[str, _V]):
    """A mapping that is made when it is first looked at: most submissions name no version."""

    def __init__(self, make: Callable[[], Mapping[str, _V]]) -> None:
        self._make = make
        self._made: Mapping[str, _V] | None = None

    def _all(self) -> Mapping[str, _V]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, key: str) -> _V:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def known_of(state: State) -> Known:
    return Known(
        tenants=with_default(state.tenants),
        versions=Lazily(lambda: _versions(state)),
        has=lambda reference: find(state, *split(reference)) is not None,
        makers=Lazily(lambda: _makers(state)),
    )


def _versions(state: State) -> Mapping[str, list[int]]:
    return {key: [version.version for version in there(state, key)] for key in state.versions if "@" not in key}


def _makers(state: State) -> Mapping[str, str]:
    """Return which live workload will make a dataset or model."""
    return {reference.partition("@")[0]: id for id in state.live for _, reference in state.workloads[id].work.outputs}
