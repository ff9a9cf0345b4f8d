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

from aios.errors import UnreadableEvent
from aios.kernel.events import Event, WorkloadId
from aios.kernel.ports import Snapshot, StaleEpoch
from aios.store import walk as walking
from aios.store.chain import GENESIS, chained, snapshot_checksum
from aios.store.codec import dumps, loads
from aios.store.copying import Head, head_of
from aios.store.databases import damage_of, display_name, explained, open_engine, writing
from aios.store.holding import Holding
from aios.store.schema import (
    SCHEMA,
    EventRow,
    MetaRow,
    events_table,
    insert_events,
    meta_table,
    prepare,
    read_meta,
    refuse_stranger,
    snapshots_table,
)
from aios.store.walk import Walk, checksum_at, corrupt, next_page, verify_row

_log = structlog.get_logger("aios.store")


class SqlLog:
    """The event log (``aios.kernel.ports.Log``) behind a SQLAlchemy URL, such as ``sqlite:////var/aios/aios.db``.

    Safe to use from several threads and processes; the epoch decides who may write.

    Parameters
    ----------
    look : bool
        Only read, and change nothing of it: one that is not there is an error, an older one stays as it is.

    Raises
    ------
    CorruptLog
        The file is damaged, or events are not as they were written.
    StoreUnavailable, StoreFull
        Nothing was written; the same call may be tried again.
    """

    def __init__(self, url: str, look: bool = False) -> None:
        self.name = display_name(url)
        self._holding = Holding(url)
        self._schema = SCHEMA
        with self._errors("open"):
            self._engine = open_engine(url, look)
            if look:
                self._schema = refuse_stranger(self._engine, self.name)
            else:
                prepare(self._engine, self.name)

    def begin(self) -> int:
        """Take over: return a new epoch; appends of earlier ones raise StaleEpoch from here on.

        From here until ``close``, or until this process ends, nobody can put another log in this one's place.
        """
        with self._errors("hold"):
            self._holding.take()
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
            insert_events(connection, rows)
            head = {"head_seq": rows[-1]["seq"], "head_checksum": rows[-1]["checksum"]}
            connection.execute(meta_table.update().values(head))
        return int(meta.head_seq) + len(rows)

    def read(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        """Give (number, event) in order after number ``after``, each verified against the one before it.

        Read page by page, each from one snapshot: a slow reader never holds up the writer.
        """
        walk = self._walk_from(after)
        if walk is None:
            return
        while True:
            with self._errors("read"), self._engine.connect() as connection:
                head = read_meta(connection, self.name)
                page = next_page(connection, walk.seq)
            for row in page:
                walk.step(row)
                yield row.seq, self._event(row)
            if len(page) < walking.PAGE:
                walk.end(head)
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
                    .limit(walking.PAGE)
                ).all()
            for row in page:
                if row.seq > 1 and row.chained_to is None:
                    raise corrupt(self.name, row.seq - 1, "is missing")
                verify_row(self.name, row, row.chained_to if row.seq > 1 else GENESIS)
                yield row.seq, self._event(row)
                after = row.seq
            if len(page) < walking.PAGE:
                return

    def save_snapshot(self, epoch: int, sequence: int, body: bytes) -> None:
        """Keep what folding the log up to event ``sequence`` gave, in place of the snapshot before it."""
        with self._errors("write"), writing(self._engine) as connection:
            _refuse_stale(read_meta(connection, self.name, lock=True), epoch)
            event = checksum_at(connection, sequence)
            if event is None:
                raise ValueError(f"there is no event {sequence} in the log {self.name} to keep a snapshot of")
            checksum = snapshot_checksum(event, sequence, epoch, body)
            connection.execute(snapshots_table.delete())
            row = {"seq": sequence, "epoch": epoch, "body": body, "checksum": checksum}
            connection.execute(snapshots_table.insert().values(row))

    def load_snapshot(self) -> Snapshot | None:
        """Return the snapshot; one that is not as it was written is passed over, and said so: the log is the truth."""
        if self._schema < 2:
            return None
        with self._errors("read"), self._engine.connect() as connection:
            row = connection.execute(snapshots_table.select().order_by(snapshots_table.c.seq.desc())).first()
            event = None if row is None else checksum_at(connection, row.seq)
        if row is None:
            return None
        whole = event is not None and isinstance(row.body, bytes) and isinstance(row.epoch, int)
        if not whole or row.checksum != snapshot_checksum(str(event), row.seq, row.epoch, row.body):
            _log.warning("snapshot_ignored", log=self.name, seq=row.seq, why="it does not match its checksum")
            return None
        return Snapshot(row.seq, row.body)

    def head(self) -> Head:
        """Return the end of the log as its head has it; nothing is verified."""
        with self._errors("read"):
            return head_of(self._engine, self.name)

    def damage(self) -> str:
        """Return what the database finds wrong with its own structure; nothing where all is well."""
        with self._errors("check"):
            return damage_of(self._engine)

    def close(self) -> None:
        """Close all connections; nothing is lost without it."""
        self._holding.give_back()
        self._engine.dispose()

    def _walk_from(self, after: int) -> Walk | None:
        """Return a walk that goes on after event ``after``; None past the end."""
        if after == 0:
            return Walk(self.name)
        with self._errors("read"), self._engine.connect() as connection:
            row = connection.execute(events_table.select().where(events_table.c.seq == after)).first()
            head = read_meta(connection, self.name)
        if row is None and after <= head.head_seq:
            raise corrupt(self.name, after, "is missing")
        return None if row is None else Walk(self.name, after, row.checksum, row.epoch)

    def _event(self, row: EventRow) -> Event:
        try:
            return loads(row.body)
        except UnreadableEvent as error:
            raise UnreadableEvent(f"event {row.seq} of {self.name}: {error.message}", hint=error.hint) from error

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        with explained(f"{doing} the log {self.name}"):
            yield


def _refuse_stale(meta: MetaRow, epoch: int) -> None:
    if meta.epoch != epoch:
        raise StaleEpoch(f"epoch {epoch} was succeeded by {meta.epoch}: this control plane must stop")
