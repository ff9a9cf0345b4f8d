"""Rows that Python makes: a user's generator, a set of scikit-learn or Hugging Face, the host's telemetry."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import ray.data

from pipelines.failure import describe
from pipelines.ingest.sources.errors import BadSource, shown
from pipelines.ingest.sources.files import conform, with_types
from pipelines.ingest.sources.spec import SourceSpec
from pipelines.ingest.sources.tabular import to_table
from pipelines.run import Whereabouts

ROWS = 4_096


@dataclass(frozen=True, slots=True)
class Generate:
    """Calls a user's function inside a Ray task, once per part."""

    source: SourceSpec
    folder: str
    n_parts: int
    whereabouts: Whereabouts | None = None

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[pa.Table]:
        if self.whereabouts is not None:
            self.whereabouts.say()
        for i in batch["part"]:
            yield from generated(self.source, Path(self.folder), int(i), self.n_parts)


def read_python(
    source: SourceSpec, folder: Path, options: Mapping[str, float], whereabouts: Whereabouts | None
) -> ray.data.Dataset:
    assert source.python is not None, "a source in Python"
    n = source.python.parts
    parts = ray.data.from_items([{"part": i} for i in range(n)], override_num_blocks=n)
    return parts.map_batches(Generate(source, str(folder), n, whereabouts), batch_size=None, **options)


def generated(source: SourceSpec, folder: Path, part: int = 0, n_parts: int = 1) -> Iterator[pa.Table]:
    """Yield the rows of one part as tables of one schema; the user's own error is told by the user's own line."""
    assert source.python is not None, "a source in Python"
    spec, name = source.python, f"python {source.python.call}"
    arguments = {**spec.args, **({"part": part, "n_parts": n_parts} if n_parts > 1 else {})}
    try:
        values = iter(function(spec.call, folder)(**arguments))
    except Exception as error:
        raise _users(name, error, folder) from None
    schema: pa.Schema | None = None
    n_rows = 0
    while True:
        try:
            some = list(itertools.islice(values, ROWS))
        except Exception as error:
            raise _users(f"{name}, after about row {n_rows}", error, folder) from None
        if not some:
            return
        for table in _tables(some, schema, name, n_rows):
            if schema is None:
                schema = with_types(table.schema.remove_metadata(), source)
            yield conform(name, table, schema, source, n_rows)
            n_rows += table.num_rows


def _users(name: str, error: Exception, folder: Path) -> BadSource:
    return error if isinstance(error, BadSource) else BadSource(f"{name}: {describe(error, folder).message}")


def function(call: str, folder: Path) -> Any:
    """Return what ``module:function`` names, from the user's folder first."""
    module, _, attribute = call.partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise BadSource(
                f"{call}: no module {module!r} in the working_dir: does it lie there, and is it named so?"
            ) from None
        raise
    except AttributeError:
        raise BadSource(f"{call}: module {module!r} has no {attribute!r}") from None


def _tables(values: list[Any], schema: pa.Schema | None, name: str, n_before: int) -> Iterator[pa.Table]:
    rows: list[dict[str, Any]] = []
    for value in values:
        match value:
            case dict():
                rows.append(value)
            case pa.Table():
                yield value
            case pa.RecordBatch():
                yield pa.Table.from_batches([value])
            case pd.DataFrame():
                yield pa.Table.from_pandas(value, preserve_index=False).replace_schema_metadata()
            case _:
                raise BadSource(f"{name}: yields {shown(value)}: yield rows as dicts, Arrow tables or pandas frames")
    if rows:
        yield to_table(rows, schema, name, n_before)


def host_samples(n: int, every_s: float) -> Iterator[dict[str, Any]]:
    """Yield telemetry of this machine as it is, one row each ``every_s`` seconds: real sensors, nothing simulated."""
    import psutil

    began = time.monotonic()
    psutil.cpu_percent()
    for i in range(n):
        time.sleep(max(0.0, began + i * every_s - time.monotonic()))
        memory, disk, net = psutil.virtual_memory(), psutil.disk_io_counters(), psutil.net_io_counters()
        yield {
            "sample": i,
            "at": pd.Timestamp.now(tz="UTC").to_pydatetime(),
            "cpu_percent": psutil.cpu_percent(),
            "load": psutil.getloadavg()[0],
            "memory_percent": memory.percent,
            "memory_used": memory.used,
            "disk_read": disk.read_bytes if disk else None,
            "disk_written": disk.write_bytes if disk else None,
            "net_received": net.bytes_recv if net else None,
            "net_sent": net.bytes_sent if net else None,
            "processes": len(psutil.pids()),
        }


def read_host(source: SourceSpec, options: Mapping[str, float], whereabouts: Whereabouts | None) -> ray.data.Dataset:
    """Return telemetry of the node on which the task runs."""
    assert source.host is not None, "a source of telemetry"
    n, every_s = source.host.samples, source.host.every

    def sample(batch: Mapping[str, Any]) -> Iterator[pa.Table]:
        if whereabouts is not None:
            whereabouts.say()
        yield pa.Table.from_pylist(list(host_samples(n, every_s)))

    return ray.data.from_items([{"part": 0}], override_num_blocks=1).map_batches(sample, batch_size=None, **options)


def read_huggingface(source: SourceSpec) -> ray.data.Dataset:
    """Return a data set of the hub, or of a folder, through its own library."""
    assert source.huggingface is not None, "a source of Hugging Face"
    spec = source.huggingface
    try:
        import datasets
    except ModuleNotFoundError:
        raise BadSource(
            "source.huggingface: the library is not installed on this node: install aios[huggingface]"
        ) from None
    try:
        found = datasets.load_dataset(spec.name, spec.config, split=spec.split, revision=spec.revision)
    except Exception as error:  # its library raises a dozen kinds
        raise BadSource(f"huggingface {spec.name} ({spec.split}): {shown(str(error).splitlines()[0])}") from None
    return ray.data.from_huggingface(found)


def sklearn_frame(name: str) -> pd.DataFrame:
    """Return a set that ships with scikit-learn, its columns named without blanks."""
    from sklearn import datasets

    frame: pd.DataFrame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    frame.columns = pd.Index([str(column).strip().replace(" ", "_") for column in frame.columns])
    return frame
