"""The one tree of errors that a caller can cause.

::

    AiosError
    ├── InvalidSpec            422  a file or request is wrong: what, where, how to mend it
    │   ├── UnknownTenant
    │   └── MissingPackage      a working_dir that was not uploaded (yet)
    ├── Rejected               409  well-formed, but refused
    │   ├── NameTaken               same name, other content
    │   ├── TooMany            429  as much of a tenant's or a user's work waits as may
    │   └── Unsatisfiable           no node could ever hold it
    ├── NotFound               404  no such workload, tenant, dataset or model
    ├── Ambiguous              409  a prefix that fits several
    ├── Unauthorized           401  no bearer token, or a wrong one
    ├── NotFinished          408  still going on when the time to wait was over
    ├── NoControlPlane         503  nothing answers where it should
    ├── VersionMismatch        409  a cluster of another Ray or Python version
    ├── StaleFence             409  a write by an attempt that is no longer current
    └── StoreError             500  the event log
        ├── StoreUnavailable   503  locked or not reachable: nothing was written, try again
        │   └── StoreAnswerLost     the connection broke: it may have been written or not
        ├── StoreFull          507  no room: nothing was written
        ├── CorruptLog              an event is not as it was written
        └── UnreadableEvent         an event of another version
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file or request: where (path of keys), what, and how to mend it."""

    loc: tuple[str | int, ...]
    message: str
    hint: str = ""


class AiosError(Exception):
    """Base of all errors that a caller can mend. ``code`` is stable; ``hint`` says what to do next."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 109

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = tuple(problems)


class InvalidSpec(AiosError):
    code = "invalid_spec"
    http_status = 422
    exit_code = 2


class UnknownTenant(InvalidSpec):
    code = "unknown_tenant"


class MissingPackage(InvalidSpec):
    code = "missing_package"


class Rejected(AiosError):
    code = "rejected"
    http_status = 409
    exit_code = 104


class NameTaken(Rejected):
    code = "name_taken"


class TooMany(Rejected):
    code = "too_many"
    http_status = 429


class Unsatisfiable(Rejected):
    code = "unsatisfiable"


class NotFound(AiosError):
    code = "not_found"
    http_status = 404
    exit_code = 102


class Ambiguous(AiosError):
    code = "ambiguous"
    http_status = 409
    exit_code = 2


class Unauthorized(AiosError):
    code = "unauthorized"
    http_status = 401
    exit_code = 107


class NotFinished(AiosError):
    code = "not_finished"
    http_status = 408
    exit_code = 101


class NoControlPlane(AiosError):
    code = "no_control_plane"
    http_status = 503
    exit_code = 108


class VersionMismatch(AiosError):
    code = "version_mismatch"
    http_status = 409
    exit_code = 108


class StaleFence(AiosError):
    code = "stale_fence"
    http_status = 409
    exit_code = 109


class StoreError(AiosError):
    code = "store_error"


class StoreUnavailable(StoreError):
    code = "store_unavailable"
    http_status = 503


class StoreAnswerLost(StoreUnavailable):
    """The connection broke: what was asked for may have been written or not. To be looked up, not to be told."""

    code = "store_answer_lost"


class StoreFull(StoreError):
    code = "store_full"
    http_status = 507


class CorruptLog(StoreError):
    """An event is not as it was written, from ``seq`` on. Nothing is repaired: that is for people to decide."""

    code = "corrupt_log"

    def __init__(self, message: str, *, seq: int = 0, hint: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, hint=hint, problems=problems)
        self.seq = seq


class UnreadableEvent(StoreError):
    code = "unreadable_event"
