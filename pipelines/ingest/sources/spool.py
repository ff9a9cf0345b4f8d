"""A durable log of what a broker delivered, between its delivery and the version that has it.

A broker of MQTT forgets a message once it is acknowledged, and hands over only a few that are not. So each message is
written here and made durable first, acknowledged then, and read from here into versions. The position of a version is
kept with it; what a published version has passed is cleared away by a later run. Each attempt writes its own segments.
A segment's record is: length (4 bytes), CRC-32 (4 bytes), content; a torn last record was never acknowledged.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.files import sync_folder

HEAD = struct.Struct("<II")
SEGMENT = re.compile(r"\d{8}-[\w.-]+\.log")
SEGMENT_BYTES = 64 << 20
Position = Mapping[str, int]
"""How far a reader is: bytes by segment."""


class Spool:
    """Messages in a folder on shared storage, in the order in which they came."""

    def __init__(self, folder: Path, writer: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._writer = re.sub(r"[^\w.-]", "-", writer)
        self._file: int | None = None
        self._size = 0

    def append(self, messages: list[bytes]) -> None:
        """Write messages and return once they are durable."""
        if self._file is None or self._size >= SEGMENT_BYTES:
            self._open_next()
        assert self._file is not None, "a segment is open"
        block = b"".join(HEAD.pack(len(m), zlib.crc32(m)) + m for m in messages)
        view = memoryview(block)
        while view:
            view = view[os.write(self._file, view) :]
        os.fsync(self._file)
        self._size += len(block)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def segments(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if SEGMENT.fullmatch(path.name))

    def read(self, after: Position, most: int) -> tuple[list[bytes], dict[str, int]]:
        """Return up to ``most`` messages after a position, and the position behind them."""
        found: list[bytes] = []
        position = dict(after)
        for path in self.segments():
            if len(found) >= most:
                break
            start = position.get(path.name, 0)
            for message, end in _records(path, start):
                found.append(message)
                position[path.name] = end
                if len(found) >= most:
                    break
        present = {path.name for path in self.segments()}
        return found, {name: end for name, end in position.items() if name in present}

    def clear(self, passed: Position) -> None:
        """Remove the segments that were read to their end, but this writer's own."""
        for path in self.segments():
            ended = not path.name.endswith(f"-{self._writer}.log")
            if ended and passed.get(path.name, -1) >= _whole(path):
                path.unlink(missing_ok=True)

    def _open_next(self) -> None:
        self.close()
        last = max((int(path.name[:8]) for path in self.segments()), default=0)
        path = self._folder / f"{last + 1:08d}-{self._writer}.log"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._size = 0
        sync_folder(self._folder)


def _records(path: Path, start: int) -> Iterator[tuple[bytes, int]]:
    """Yield each whole record and where it ends."""
    with path.open("rb") as file:
        file.seek(start)
        while len(head := file.read(HEAD.size)) == HEAD.size:
            length, check = HEAD.unpack(head)
            content = file.read(length)
            if len(content) < length or zlib.crc32(content) != check:
                return
            start += HEAD.size + length
            yield content, start


def _whole(path: Path) -> int:
    """Return how many bytes of a segment are whole records."""
    return max((end for _, end in _records(path, 0)), default=0)
