"""The one way by which work gets at a model version: checked against its signature first."""

from __future__ import annotations

from pathlib import Path

from aios.engines import Input, WorkloadFailed
from aios.errors import NotFound, Rejected
from aios.models.verify import verify


def verified(model: Input, storage: Path) -> Path:
    """Return a model version's folder; raises WorkloadFailed where any byte is not as it was registered."""
    folder = Path(model.uri)
    try:
        verify(folder, model.reference, dict(model.meta), storage)
    except (NotFound, Rejected) as error:
        raise WorkloadFailed(f"{error.message}: {error.hint}") from None
    return folder
