"""Signs each model version that the log has, and moves an alias where an evaluation's gates were met.

It hears of events before anything that needs a version is started. What a crash left out is done at the next start: a
version without signature is signed, and a promotion that was not asked for is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from aios.adapters.fence import write_atomically
from aios.kernel.events import Artefact, AttemptEnded, EpochStarted, Event, Outcome, Published, WorkloadId
from aios.kernel.inputs import key_of, named
from aios.kernel.ports import Request, TagVersion
from aios.kernel.state import State
from aios.models.bundle import sign
from aios.models.keys import signing_key
from aios.models.manifest import MANIFEST, SIGNATURE, digest_of_bytes

_log = structlog.get_logger(__name__)


class Registrar:
    """A listener of the control plane's loop.

    Parameters
    ----------
    home, storage : Path
        Where the private key is, and where its public half goes.
    submit : callable
        Hands a request to the loop; it is answered in a later turn.
    """

    def __init__(self, home: Path, storage: Path, submit: Callable[[Request], object]) -> None:
        self._key = signing_key(home, storage)
        self._submit = submit

    def __call__(self, events: Sequence[Event], state: State) -> None:
        for event in events:
            match event:
                case EpochStarted():
                    self._catch_up(state)
                case Published() if event.artefact.type == "model":
                    self._sign(event)
                case AttemptEnded() if event.outcome is Outcome.SUCCEEDED:
                    for artefact in event.artefacts:
                        self._promote(event.workload, artefact, state)

    def _catch_up(self, state: State) -> None:
        for key, versions in state.versions.items():
            gone = state.removed.get(key, frozenset())
            for one in versions:
                if one.artefact.type == "model" and one.version not in gone:
                    self._sign(one)
        for workload in state.workloads.values():
            for artefact in workload.artefacts:
                self._promote(workload.id, artefact, state)

    def _sign(self, published: Published) -> None:
        """Sign the manifest that the log has the digest of; a version from before there were manifests has none."""
        artefact = published.artefact
        recorded = json.loads(artefact.meta).get("manifest")
        folder = Path(artefact.uri)
        if not recorded or (folder / SIGNATURE).exists():
            return
        try:
            statement = (folder / MANIFEST).read_bytes()
            if digest_of_bytes(statement) != recorded:
                raise ValueError(f"{MANIFEST} is not the one that was registered")
            write_atomically(folder / SIGNATURE, sign(statement, self._key))
            (folder / SIGNATURE).chmod(0o644)
        except (OSError, ValueError) as error:  # it stays unsigned, so that nothing uses it
            _log.warning("model_not_signed", model=key_of(artefact), version=published.version, why=str(error))

    def _promote(self, workload: WorkloadId, artefact: Artefact, state: State) -> None:
        """Ask for the alias that an evaluation was to move; each evaluation moves it once."""
        if artefact.type != "report":
            return
        meta: dict[str, Any] = json.loads(artefact.meta)
        model, alias = named(str(meta.get("model", ""))), meta.get("promote")
        if model is None or not alias or meta.get("missed"):
            return
        key, version = model
        by = f"gates of {workload}"
        if not any(tagged.tag == alias and tagged.by == by for tagged in state.tags.get(key, ())):
            self._submit(TagVersion(key, alias, version, by))
