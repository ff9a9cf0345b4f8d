"""Following a log's rows from one to the next: what is missing, out of place or not as it was written is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aios.errors import CorruptLog
from aios.store.chain import GENESIS, checksum_of
from aios.store.databases import RESTORE
from aios.store.schema import EventRow, MetaRow, events_table

PAGE = 2000


@dataclass(slots=True)
class Walk:
    """The place reached in the log ``name``: the last event's number, checksum and epoch."""

    name: str
    seq: int = 0
    checksum: str = GENESIS
    epoch: int = 0

    def pages(self, connection: Connection) -> Iterator[list[EventRow]]:
        """Give the rows from here on, page by page, of the one snapshot that this connection sees."""
        while True:
            page = next_page(connection, self.seq)
            for row in page:
                self.step(row)
            yield page
            if len(page) < PAGE:
                return

    def step(self, row: EventRow) -> None:
        """Go on to the next row; raises CorruptLog."""
        if row.seq != self.seq + 1:
            raise corrupt(self.name, self.seq + 1, f"is missing; the next one is {row.seq}")
        if not isinstance(row.epoch, int) or row.epoch < self.epoch:
            raise corrupt(self.name, row.seq, f"is of epoch {row.epoch}, after one of epoch {self.epoch}")
        verify_row(self.name, row, self.checksum)
        self.seq, self.checksum, self.epoch = row.seq, row.checksum, row.epoch

    def end(self, head: MetaRow) -> None:
        """Check that the last row is the one that was written last; raises CorruptLog."""
        if self.seq < head.head_seq:
            raise corrupt(self.name, self.seq + 1, f"is missing; the log had {head.head_seq} events")
        ahead = self.seq > head.head_seq or self.epoch > head.epoch
        if ahead or (0 < self.seq == head.head_seq and self.checksum != head.head_checksum):
            raise corrupt(self.name, self.seq, "is not the one that was written last")


def next_page(connection: Connection, after: int) -> list[EventRow]:
    """Return the next rows after number ``after``; fewer than ``PAGE`` at the end."""
    query = events_table.select().where(events_table.c.seq > after).order_by(events_table.c.seq).limit(PAGE)
    return list(connection.execute(query).all())


def verify_row(name: str, row: EventRow, chained_to: str) -> None:
    """Raise CorruptLog unless the row is as it was written after one with the checksum ``chained_to``."""
    wanted = checksum_of(chained_to, row.seq, row.epoch, row.at_s, row.type, row.workload, row.body)
    if wanted != row.checksum:
        raise corrupt(name, row.seq, "does not match its checksum")


def corrupt(name: str, seq: int, what: str) -> CorruptLog:
    return CorruptLog(f"event {seq} of the log {name} {what}", seq=seq, hint=RESTORE)


def checksum_at(connection: Connection, seq: int) -> str | None:
    """Return the checksum of an event, None where there is none."""
    checksum: str | None = connection.scalar(sa.select(events_table.c.checksum).where(events_table.c.seq == seq))
    return checksum
