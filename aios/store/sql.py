"""The event log in a SQL database: SQLite in a file, or PostgreSQL by its URL.

One row of ``meta`` holds the epoch and the head of the log; every append locks it, so that the check of the epoch,
the events and the new head are one transaction. Each event's checksum covers its row and the checksum before it: a
row that was changed, lost or moved shows when it is read, and nothing is repaired in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from aios.errors import CorruptLog, UnreadableEvent
from aios.kernel.events import Event, WorkloadId
from aios.kernel.ports import Snapshot, StaleEpoch
from aios.store.chain import GENESIS, chained, checksum_of, snapshot_checksum
from aios.store.codec import dumps, loads
from aios.store.databases import RESTORE, display_name, explained, open_engine, writing
from aios.store.schema import EventRow, MetaRow, events_table, meta_table, prepare, read_meta, snapshots_table

PAGE = 2000

_log = structlog.get_logger("aios.store")


class SqlLog:
    """The event log (``aios.kernel.ports.Log``) behind a SQLAlchemy URL, such as ``sqlite:////var/aios/aios.db``.

    Safe to use from several threads and processes; the epoch decides who may write.

    Raises
    ------
    CorruptLog
        The file is damaged, or events are not as they were written.
    StoreUnavailable, StoreFull
        Nothing was written; the same call may be tried again.
    """

    def __init__(self, url: str) -> None:
        self.name = display_name(url)
        with self._errors("open"):
            self._engine = open_engine(url)
            prepare(self._engine, self.name)

    def begin(self) -> int:
        """Take over: return a new epoch; appends of earlier ones raise StaleEpoch from here on."""
        with self._errors("write"), writing(self._engine) as connection:
            epoch = read_meta(connection, self.name, lock=True).epoch + 1
            connection.execute(meta_table.update().values(epoch=epoch))
            return int(epoch)

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        """Write all the events or none, durable on return; return the number of the last event of the log."""
        lines = [dumps(event) for event in events]
        with self._errors("write"), writing(self._engine) as connection:
            meta = read_meta(connection, self.name, lock=True)
            _refuse_stale(meta, epoch)
            rows = chained(meta.head_seq, meta.head_checksum, epoch, events, lines)
            if not rows:
                return int(meta.head_seq)
            connection.execute(events_table.insert(), rows)
            head = {"head_seq": rows[-1]["seq"], "head_checksum": rows[-1]["checksum"]}
            connection.execute(meta_table.update().values(head))
        return int(meta.head_seq) + len(rows)

    def read(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        """Give (number, event) in order after number ``after``, each verified against the one before it.

        Read page by page, each from one snapshot: a slow reader never holds up the writer.
        """
        before = self._before(after)
        if before is None:
            return
        checksum, epoch = before
        while True:
            with self._errors("read"), self._engine.connect() as connection:
                head = read_meta(connection, self.name)
                page = connection.execute(
                    events_table.select().where(events_table.c.seq > after).order_by(events_table.c.seq).limit(PAGE)
                ).all()
            for row in page:
                if row.seq != after + 1:
                    raise self._corrupt(after + 1, f"is missing; the next one is {row.seq}")
                if not isinstance(row.epoch, int) or row.epoch < epoch:
                    raise self._corrupt(row.seq, f"is of epoch {row.epoch}, after one of epoch {epoch}")
                yield row.seq, self._verified(row, checksum)
                after, checksum, epoch = row.seq, row.checksum, row.epoch
            if len(page) < PAGE:
                self._check_end(head, after, checksum, epoch)
                return

    def read_workload(self, workload: WorkloadId) -> Iterator[tuple[int, Event]]:
        """Give (number, event) of one workload in order, each verified against the event before it in the log."""
        before = events_table.alias("before")
        after = 0
        while True:
            with self._errors("read"), self._engine.connect() as connection:
                page = connection.execute(
                    sa.select(events_table, before.c.checksum.label("chained_to"))
                    .select_from(events_table.outerjoin(before, before.c.seq == events_table.c.seq - 1))
                    .where(events_table.c.workload == workload, events_table.c.seq > after)
                    .order_by(events_table.c.seq)
                    .limit(PAGE)
                ).all()
            for row in page:
                if row.seq > 1 and row.chained_to is None:
                    raise self._corrupt(row.seq - 1, "is missing")
                yield row.seq, self._verified(row, row.chained_to if row.seq > 1 else GENESIS)
                after = row.seq
            if len(page) < PAGE:
                return

    def save_snapshot(self, epoch: int, sequence: int, body: bytes) -> None:
        """Keep what folding the log up to event ``sequence`` gave, in place of the snapshot before it."""
        with self._errors("write"), writing(self._engine) as connection:
            _refuse_stale(read_meta(connection, self.name, lock=True), epoch)
            event = self._checksum_at(connection, sequence)
            if event is None:
                raise ValueError(f"there is no event {sequence} in the log {self.name} to keep a snapshot of")
            checksum = snapshot_checksum(event, sequence, epoch, body)
            connection.execute(snapshots_table.delete())
            row = {"seq": sequence, "epoch": epoch, "body": body, "checksum": checksum}
            connection.execute(snapshots_table.insert().values(row))

    def load_snapshot(self) -> Snapshot | None:
        """Return the snapshot; one that is not as it was written is passed over, and said so: the log is the truth."""
        with self._errors("read"), self._engine.connect() as connection:
            row = connection.execute(snapshots_table.select().order_by(snapshots_table.c.seq.desc())).first()
            event = None if row is None else self._checksum_at(connection, row.seq)
        if row is None:
            return None
        whole = event is not None and isinstance(row.body, bytes) and isinstance(row.epoch, int)
        if not whole or row.checksum != snapshot_checksum(str(event), row.seq, row.epoch, row.body):
            _log.warning("snapshot_ignored", log=self.name, seq=row.seq, why="it does not match its checksum")
            return None
        return Snapshot(row.seq, row.body)

    def close(self) -> None:
        """Close all connections; nothing is lost without it."""
        self._engine.dispose()

    def _before(self, after: int) -> tuple[str, int] | None:
        """Return checksum and epoch of event ``after``, to which the next one is chained; None past the end."""
        if after == 0:
            return GENESIS, 0
        with self._errors("read"), self._engine.connect() as connection:
            row = connection.execute(events_table.select().where(events_table.c.seq == after)).first()
            head = read_meta(connection, self.name)
        if row is None and after <= head.head_seq:
            raise self._corrupt(after, "is missing")
        return None if row is None else (row.checksum, row.epoch)

    def _checksum_at(self, connection: Connection, seq: int) -> str | None:
        checksum: str | None = connection.scalar(sa.select(events_table.c.checksum).where(events_table.c.seq == seq))
        return checksum

    def _verified(self, row: EventRow, chained_to: str) -> Event:
        wanted = checksum_of(chained_to, row.seq, row.epoch, row.at_s, row.type, row.workload, row.body)
        if wanted != row.checksum:
            raise self._corrupt(row.seq, "does not match its checksum")
        try:
            return loads(row.body)
        except UnreadableEvent as error:
            raise UnreadableEvent(f"event {row.seq} of {self.name}: {error.message}", hint=error.hint) from error

    def _check_end(self, head: MetaRow, seq: int, checksum: str, epoch: int) -> None:
        if seq < head.head_seq:
            raise self._corrupt(seq + 1, f"is missing; the log had {head.head_seq} events")
        if seq > head.head_seq or epoch > head.epoch or (0 < seq == head.head_seq and checksum != head.head_checksum):
            raise self._corrupt(seq, "is not the one that was written last")

    def _corrupt(self, seq: int, what: str) -> CorruptLog:
        return CorruptLog(f"event {seq} of the log {self.name} {what}", seq=seq, hint=RESTORE)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        with explained(f"{doing} the log {self.name}"):
            yield


def _refuse_stale(meta: MetaRow, epoch: int) -> None:
    if meta.epoch != epoch:
        raise StaleEpoch(f"epoch {epoch} was succeeded by {meta.epoch}: this control plane must stop")
