"""What users write under ``source``: exactly one of the kinds of source, with its own settings."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from aios.spec import Seconds, Strict

SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet",
    ".avro": "avro", ".tfrecord": "tfrecord", ".tfrecords": "tfrecord", ".tar": "webdataset", ".txt": "text",
    ".png": "images", ".jpg": "images", ".jpeg": "images", ".bmp": "images", ".tif": "images", ".tiff": "images",
    ".webp": "images", ".wav": "audio", ".flac": "audio", ".ogg": "audio", ".mp3": "audio", ".mp4": "video",
    ".mkv": "video", ".avi": "video", ".mov": "video", ".webm": "video",
}  # fmt: skip
"""Format by file suffix, where ``format`` is not given."""
Format = Literal["csv", "json", "parquet", "images", "audio", "video", "webdataset", "avro", "tfrecord", "text"]
COMPRESSED = (".gz", ".bz2", ".zst")
SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "az", "http", "https")
KINDS = ("sklearn", "path", "sql", "kafka", "mqtt", "python", "huggingface", "host")
SECRET = re.compile(r"secret:[A-Za-z0-9][\w.-]{0,63}")
IN_URL = re.compile(r"://[^/@:]*:[^/@]+@")
Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, strict=True)]
Secret = Annotated[str, Field(pattern=SECRET.pattern)]
"""``secret:NAME``: looked up where the work runs, never written anywhere."""


def suffix_of(path: str) -> str:
    """Return the suffix that says the format, below one of compression; lower case, empty where there is none."""
    name = PurePosixPath(path.partition("?")[0])
    if name.suffix.lower() in COMPRESSED:
        name = name.with_suffix("")
    return name.suffix.lower()


class CsvOptions(Strict):
    """How a CSV file is written."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: Name = "utf-8"
    columns: tuple[Name, ...] | None = None
    null_values: tuple[str, ...] | None = None


class MediaOptions(Strict):
    """What becomes of pictures: one size and one mode for all; ``every`` keeps each n-th frame of a video."""

    size: tuple[Count, Count] | None = None
    mode: Literal["L", "RGB"] = "RGB"
    every: Count = 1
    label: Literal["folder"] | None = None


class FilesystemOptions(Strict):
    """How to reach an object store; without them as its own library finds its settings."""

    endpoint: Name | None = None
    region: Name | None = None
    anonymous: bool = False
    access_key: Secret | None = None
    secret_key: Secret | None = None


class SqlSpec(Strict):
    """Rows of a database, read in parallel by ranges of a key; with ``watermark`` only what is newer than last time."""

    url: Name
    password: Secret | None = None
    table: Name | None = None
    query: Name | None = None
    partition: Name | None = None
    parts: Count = 1
    watermark: Name | None = None
    timeout: Seconds = 30.0

    @model_validator(mode="after")
    def _well(self) -> SqlSpec:
        if (self.table is None) == (self.query is None):
            raise ValueError("sql: give exactly one of table and query")
        if "://" not in self.url:
            raise ValueError("sql.url: write DIALECT+DRIVER://USER@HOST/DATABASE, such as sqlite:////data/records.db")
        if IN_URL.search(self.url):
            raise ValueError("sql.url holds a password: take it out and write password: secret:NAME")
        if self.parts > 1 and self.partition is None:
            raise ValueError("sql.parts needs sql.partition: name the column whose ranges are read in parallel")
        return self


class Until(Strict):
    """When a run of a stream ends: after so many rows, so long, or so long without a message."""

    rows: Count | None = None
    seconds: Seconds | None = None
    idle: Seconds | None = 10.0


class Batching(Strict):
    """When a micro-batch is committed: whichever comes first."""

    rows: Count = 10_000
    seconds: Seconds = 5.0


class StreamSpec(Strict):
    """What streams have in common; ``value: json`` makes a column of each field, ``text`` one column ``value``."""

    value: Literal["json", "text", "bytes"] = "json"
    bad_messages: Literal["stop", "skip"] = "stop"
    until: Until = Until()
    batch: Batching = Batching()
    user: Name | None = None
    password: Secret | None = None


class MqttSpec(StreamSpec):
    """Messages of an MQTT broker, QoS 1 over a session that the broker keeps while nothing listens."""

    host: Name
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    topic: Name
    client_id: Name | None = None
    tls: bool = False


class KafkaSpec(StreamSpec):
    """Messages of a Kafka topic; the position is committed together with the rows."""

    servers: Name
    topic: Name
    start: Literal["earliest", "latest"] = "earliest"
    tls: bool = False
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"


class PythonSpec(Strict):
    """A generator of the user: ``module:function(**args)`` yields rows (dicts), Arrow tables or pandas frames.

    With ``parts`` it is called once per part, in parallel, with ``part`` and ``n_parts`` beside its own arguments.
    """

    call: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    args: dict[str, Any] = Field(default_factory=dict)
    parts: Count = 1


class HuggingFaceSpec(Strict):
    """A data set of the Hugging Face hub or a folder of one; needs the extra ``huggingface``."""

    name: Name
    split: Name = "train"
    config: Name | None = None
    revision: Name | None = None


class HostSpec(Strict):
    """Telemetry of the host that the work runs on: processors, memory, disks, network."""

    samples: Count = 100
    every: Seconds = 0.1


class SourceSpec(Strict):
    """Where rows come from: exactly one of the kinds of source.

    ``path`` is a file, a folder, a glob or an address (``s3://``, ``gs://``, ``abfs://``, ``https://``), or a list.
    """

    sklearn: Literal["digits", "breast_cancer", "wine", "iris", "diabetes"] | None = None
    path: Name | Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    sql: SqlSpec | None = None
    kafka: KafkaSpec | None = None
    mqtt: MqttSpec | None = None
    python: PythonSpec | None = None
    huggingface: HuggingFaceSpec | None = None
    host: HostSpec | None = None

    format: Format | None = None
    csv: CsvOptions = CsvOptions()
    media: MediaOptions = MediaOptions()
    filesystem: FilesystemOptions = FilesystemOptions()
    types: dict[Name, Name] = Field(default_factory=dict)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    bad_files: Literal["stop", "skip"] = "stop"
    columns_differ: Literal["stop", "fill"] = "stop"
    timeout: Seconds = 60.0

    @model_validator(mode="after")
    def _one(self) -> SourceSpec:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            what = f"not {' and '.join(given)}" if given else "none is there"
            raise ValueError(f"give exactly one of {', '.join(KINDS[:-1])} and {KINDS[-1]}: {what}")
        for path in self.paths:
            self._check_path(path)
        if self.sha256 is not None and len(self.paths) != 1:
            raise ValueError("sha256 belongs to a single path")
        return self

    def _check_path(self, path: str) -> None:
        scheme, there, _ = path.partition("://")
        if there and scheme.lower() not in SCHEMES:
            raise ValueError(f"path {path!r}: no scheme {scheme!r}: use one of {', '.join(SCHEMES)}, or a plain path")
        if there and IN_URL.search(path):
            raise ValueError("path holds a password: take it out of the address")
        suffix = suffix_of(path)
        if suffix and self.format is None and suffix not in SUFFIXES and not set(suffix) & set("*?["):
            raise ValueError(
                f"path ends in {suffix!r}: use one of {', '.join(SUFFIXES)}, a folder of such files, or say format"
            )

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def paths(self) -> tuple[str, ...]:
        if self.path is None:
            return ()
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def stream(self) -> MqttSpec | KafkaSpec | None:
        return self.mqtt or self.kafka

    def __str__(self) -> str:
        """Say which source this is, in a few words and without anything secret."""
        match self.kind:
            case "path":
                return f"{self.paths[0]}{f' and {len(self.paths) - 1} more' if len(self.paths) > 1 else ''}"
            case "sql" if self.sql is not None:
                return f"{self.sql.url.partition('?')[0]} {self.sql.table or 'query'}"
            case "kafka" if self.kafka is not None:
                return f"kafka {self.kafka.servers} {self.kafka.topic}"
            case "mqtt" if self.mqtt is not None:
                return f"mqtt {self.mqtt.host}:{self.mqtt.port} {self.mqtt.topic}"
            case "python" if self.python is not None:
                return f"python {self.python.call}"
            case "huggingface" if self.huggingface is not None:
                return f"huggingface {self.huggingface.name}"
            case "sklearn":
                return f"sklearn {self.sklearn}"
        return "telemetry of the host"
