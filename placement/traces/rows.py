"""Tables of text, plain or gzipped, read line by line; what is wrong is said with file, line and column."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from placement.traces.model import Job, Trace, TraceError

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: its fields by the name of their column."""

    file: str
    line: int
    names: Mapping[str, int]
    fields: Sequence[str]

    def text(self, name: str, default: str | None = None) -> str:
        """Return a field; ``default``, where given, where the file has no such column."""
        if name not in self.names and default is not None:
            return default
        return self.fields[self.names[name]].strip()

    def number(self, name: str, least: float = -math.inf, default: float | None = None) -> float:
        """Return a finite number of at least ``least``; ``default``, where given, for an empty or absent field."""
        text = self.text(name, None if default is None else "")
        if not text and default is not None:
            return default
        try:
            value = float(text)
        except ValueError:
            raise self.error(name, f"{name} is {text!r}", "write a number") from None
        if not math.isfinite(value) or value < least:
            raise self.error(name, f"{name} is {text}", f"write a finite number of at least {least:g}")
        return value

    def count(self, name: str, least: int = 0, default: int | None = None) -> int:
        """Return a whole number of at least ``least``."""
        value = self.number(name, least, None if default is None else float(default))
        if value != int(value) or value > 1_000_000_000_000:
            raise self.error(name, f"{name} is {self.text(name)}", "write a whole number")
        return int(value)

    def time(self, name: str) -> float:
        """Return a date and time as seconds since 1970, in its own zone or else in UTC."""
        text = self.text(name)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self.error(name, f"{name} is {text!r}", "write a time such as 2017-10-09 07:01:55") from None
        zone = moment.utcoffset()
        seconds = (moment.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
        return seconds - (zone.total_seconds() if zone is not None else 0.0)

    def error(self, name: str, problem: str, hint: str) -> TraceError:
        return TraceError(self.file, self.line, self.names[name] + 1, problem, hint)


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file of text, unpacked where it is gzipped."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
        with gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, EOFError) as error:
        raise TraceError(
            str(path), None, None, f"cannot be read: {error}", "give the path of a readable file"
        ) from None
    except UnicodeDecodeError:
        raise TraceError(
            str(path), None, None, "is not a text file", "give a file in UTF-8, plain or gzipped"
        ) from None


def head(path: Path, n: int = 2) -> list[str]:
    """Return the first lines of a file, fewer where it is shorter."""
    out: list[str] = []
    for line in lines(path):
        out.append(line.rstrip("\r\n"))
        if len(out) == n:
            break
    return out


def table(
    path: Path, columns: Sequence[str], *, optional: Sequence[str] = (), header: bool = True, separator: str = ","
) -> Iterator[Row]:
    """Yield the rows of a table that has these columns; ``header``: its first line names them, in any order."""
    reader = csv.reader(
        lines(path), delimiter=separator, quoting=csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
    )
    names = {name: i for i, name in enumerate(columns)}
    width = len(columns)
    if header:
        first = [name.strip() for name in next(reader, [])]
        for name in columns:
            if name not in first:
                raise TraceError(
                    str(path), 1, None, f"it has no column {name!r}", f"the first line names {', '.join(columns)}"
                )
        names = {name: first.index(name) for name in (*columns, *optional) if name in first}
        width = len(first)
    for fields in reader:
        if not fields:
            continue
        if len(fields) < width:
            hint = f"write {width}, separated by {'tabs' if separator == chr(9) else 'commas'}"
            raise TraceError(str(path), reader.line_num, len(fields), f"it has {len(fields)} fields", hint)
        yield Row(str(path), reader.line_num, names, fields)


def trace(name: str, jobs: Sequence[Job], sentence: str, first_s: float | None = None) -> Trace:
    """Return a trace in the order of arrival, its time counted from the first job (or from ``first_s``)."""
    ordered = sorted(jobs, key=lambda job: job.submitted_s)
    if not ordered:
        return Trace(name, (), sentence)
    begin = ordered[0].submitted_s if first_s is None else first_s
    return Trace(name, tuple(_shifted(job, begin) for job in ordered), sentence)


def _shifted(job: Job, begin: float) -> Job:
    return Job(
        job.id,
        job.tenant,
        max(0.0, job.submitted_s - begin),
        job.runtime_s,
        job.bundles,
        job.priority,
        job.speed,
        job.scaling,
        job.min_bundles,
    )
