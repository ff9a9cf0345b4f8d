"""The event log in a SQL database: SQLite in a file, or PostgreSQL by its URL.

One row of ``meta`` holds the epoch and the head of the log; every append locks it, so that the check of the epoch,
the events and the new head are one transaction. Each event's checksum covers its row and the checksum before it: a
row that was changed, lost or moved shows when it is read, and nothing is repaired in silence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from aios.errors import CorruptLog, StoreError, UnreadableEvent
from aios.kernel.events import Event, Submitted, WorkloadId
from aios.kernel.ports import StaleEpoch
from aios.store.codec import dumps, loads
from aios.store.databases import RESTORE, creating, display_name, explained, open_engine, writing

SCHEMA = 1
PAGE = 2000
GENESIS = hashlib.sha256(b"aios event log").hexdigest()
"""What the first event's checksum is chained to."""

_tables = sa.MetaData()
_Seq = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite keys its rows by INTEGER alone

events_table = sa.Table(
    "events",
    _tables,
    sa.Column("seq", _Seq, primary_key=True, autoincrement=False),
    sa.Column("epoch", _Seq, nullable=False),
    sa.Column("at_s", sa.Double, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("workload", sa.Text, nullable=True, index=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
)
meta_table = sa.Table(
    "meta",
    _tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("epoch", _Seq, nullable=False),
    sa.Column("head_seq", _Seq, nullable=False),
    sa.Column("head_checksum", sa.Text, nullable=False),
)


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
            self._prepare()

    def begin(self) -> int:
        """Take over: return a new epoch; appends of earlier ones raise StaleEpoch from here on."""
        with self._errors("write"), writing(self._engine) as connection:
            epoch = self._meta(connection, lock=True).epoch + 1
            connection.execute(meta_table.update().values(epoch=epoch))
            return int(epoch)

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        """Write all the events or none, durable on return; return the number of the last event of the log."""
        lines = [dumps(event) for event in events]
        with self._errors("write"), writing(self._engine) as connection:
            meta = self._meta(connection, lock=True)
            if meta.epoch != epoch:
                raise StaleEpoch(f"epoch {epoch} was succeeded by {meta.epoch}: this control plane must stop")
            rows = _chained(meta.head_seq, meta.head_checksum, epoch, events, lines)
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
                head = self._meta(connection)
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

    def close(self) -> None:
        """Close all connections; nothing is lost without it."""
        self._engine.dispose()

    def _prepare(self) -> None:
        with self._engine.connect() as connection:
            new = not sa.inspect(connection).has_table(meta_table.name)
        if new:
            with creating(self._engine) as connection:
                _tables.create_all(connection)
                if connection.execute(meta_table.select()).first() is None:
                    head = {"epoch": 0, "head_seq": 0, "head_checksum": GENESIS}
                    connection.execute(meta_table.insert().values(id=1, schema_version=SCHEMA, **head))
        with self._engine.connect() as connection:
            schema = self._meta(connection).schema_version
        if schema > SCHEMA:
            raise StoreError(
                f"the log {self.name} has schema {schema}, this version of AIOS knows {SCHEMA}",
                hint="start the newer version of AIOS that wrote it",
            )

    def _meta(self, connection: Connection, lock: bool = False) -> Row[tuple[int, int, int, int, str]]:
        query = meta_table.select()
        row = connection.execute(query.with_for_update() if lock else query).first()
        if row is None or not all(isinstance(value, int) for value in row[:4]):
            raise CorruptLog(f"the log {self.name} has lost its head", hint=RESTORE)
        return row

    def _before(self, after: int) -> tuple[str, int] | None:
        """Return checksum and epoch of event ``after``, to which the next one is chained; None past the end."""
        if after == 0:
            return GENESIS, 0
        with self._errors("read"), self._engine.connect() as connection:
            row = connection.execute(events_table.select().where(events_table.c.seq == after)).first()
            head = self._meta(connection)
        if row is None and after <= head.head_seq:
            raise self._corrupt(after, "is missing")
        return None if row is None else (row.checksum, row.epoch)

    def _verified(self, row: Row[tuple[int, int, float, str, str | None, str, str]], chained_to: str) -> Event:
        wanted = _checksum(chained_to, row.seq, row.epoch, row.at_s, row.type, row.workload, row.body)
        if wanted != row.checksum:
            raise self._corrupt(row.seq, "does not match its checksum")
        try:
            return loads(row.body)
        except UnreadableEvent as error:
            raise UnreadableEvent(f"event {row.seq} of {self.name}: {error.message}", hint=error.hint) from error

    def _check_end(self, head: Row[tuple[int, int, int, int, str]], seq: int, checksum: str, epoch: int) -> None:
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


def workload_of(event: Event) -> WorkloadId | None:
    """Return the workload that an event is about, None for events of the whole cluster."""
    if isinstance(event, Submitted):
        return event.work.id
    workload: WorkloadId | None = getattr(event, "workload", None)
    return workload


def _chained(
    seq: int, checksum: str, epoch: int, events: Sequence[Event], lines: Sequence[str]
) -> list[dict[str, object]]:
    """Return the rows of new events, each chained to the one before it."""
    rows: list[dict[str, object]] = []
    for event, body in zip(events, lines, strict=True):
        seq += 1
        kind, at_s, workload = type(event).__name__, float(event.at_s), workload_of(event)
        checksum = _checksum(checksum, seq, epoch, at_s, kind, workload, body)
        rows.append(
            {
                "seq": seq, "epoch": epoch, "at_s": at_s, "type": kind, "workload": workload,
                "body": body, "checksum": checksum,
            }
        )  # fmt: skip
    return rows


def _checksum(before: str, seq: int, epoch: int, at_s: float, kind: str, workload: str | None, body: str) -> str:
    text = f"{before}\n{seq}\n{epoch}\n{at_s!r}\n{kind}\n{'' if workload is None else workload}\n{body}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
