"""The chain of checksums: each event's covers its row and the checksum before it, so that no change goes unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from aios.kernel.events import Event, Submitted, WorkloadId

GENESIS = hashlib.sha256(b"aios event log").hexdigest()
"""What the first event's checksum is chained to."""


def checksum_of(before: str, seq: int, epoch: int, at_s: float, kind: str, workload: str | None, body: str) -> str:
    """Return the checksum of an event's row that follows one with the checksum ``before``."""
    text = f"{before}\n{seq}\n{epoch}\n{at_s!r}\n{kind}\n{'' if workload is None else workload}\n{body}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def snapshot_checksum(event_checksum: str, seq: int, epoch: int, body: bytes) -> str:
    """Return the checksum of a snapshot after event ``seq``: bound to that very event, it fits no other log."""
    found = hashlib.sha256(f"aios snapshot\n{event_checksum}\n{seq}\n{epoch}\n".encode("utf-8", "surrogatepass"))
    found.update(body)
    return found.hexdigest()


def chained(
    seq: int, checksum: str, epoch: int, events: Sequence[Event], lines: Sequence[str]
) -> list[dict[str, object]]:
    """Return the rows of new events after event ``seq``, each chained to the one before it."""
    rows: list[dict[str, object]] = []
    for event, body in zip(events, lines, strict=True):
        seq += 1
        kind, at_s, workload = type(event).__name__, float(event.at_s), workload_of(event)
        checksum = checksum_of(checksum, seq, epoch, at_s, kind, workload, body)
        rows.append(
            {
                "seq": seq, "epoch": epoch, "at_s": at_s, "type": kind, "workload": workload,
                "body": body, "checksum": checksum,
            }
        )  # fmt: skip
    return rows


def workload_of(event: Event) -> WorkloadId | None:
    """Return the workload that an event is about, None for events of the whole cluster."""
    if isinstance(event, Submitted):
        return event.work.id
    workload: WorkloadId | None = getattr(event, "workload", None)
    return workload
