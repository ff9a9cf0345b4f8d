"""TFRecord files of ``tf.train.Example``, read without TensorFlow.

A record is: length (8 bytes), masked CRC-32C of it, the content, masked CRC-32C of the content; see
https://www.tensorflow.org/tutorials/load_data/tfrecord. The content is a protocol buffer of three plain messages.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pyarrow as pa

from pipelines.ingest.sources.errors import BadSource, first_line
from pipelines.ingest.sources.tabular import ROWS, to_table

MASK = 0xA282EAD8
LONGEST = 1 << 31


def read_tfrecord(name: str, open_: Callable[[], Any], schema: pa.Schema | None) -> Iterator[pa.Table]:
    """Yield the examples of a file as rows; a feature of one value is a plain value, of several a list."""
    n_rows, pending = 0, []
    for record in records(name, open_):
        pending.append(_row(name, n_rows + len(pending) + 1, record))
        if len(pending) >= ROWS:
            yield to_table(pending, schema, name, n_rows)
            n_rows, pending = n_rows + len(pending), []
    if pending:
        yield to_table(pending, schema, name, n_rows)


def records(name: str, open_: Callable[[], Any]) -> Iterator[bytes]:
    """Yield the contents of a file's records; raises BadSource where one is torn or its checksum is wrong."""
    from crc32c import crc32c

    with open_() as file:
        number = 0
        while head := file.read(12):
            number += 1
            if len(head) < 12:
                raise BadSource(f"{name}: record {number}: breaks off: is it half-written?")
            length, check = struct.unpack("<QI", head)
            if _masked(crc32c(head[:8])) != check or length > LONGEST:
                raise BadSource(f"{name}: record {number}: not readable as tfrecord: its checksum is wrong")
            body = file.read(length + 4)
            if len(body) < length + 4:
                raise BadSource(f"{name}: record {number}: breaks off after {len(body)} bytes: is it half-written?")
            if _masked(crc32c(body[:-4])) != struct.unpack("<I", body[-4:])[0]:
                raise BadSource(f"{name}: record {number}: damaged: its checksum is wrong")
            yield body[:-4]


def frame(content: bytes) -> bytes:
    """Return a record as it stands in a file."""
    from crc32c import crc32c

    head = struct.pack("<Q", len(content))
    return b"".join(
        (head, struct.pack("<I", _masked(crc32c(head))), content, struct.pack("<I", _masked(crc32c(content))))
    )


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + MASK) & 0xFFFFFFFF


def _row(name: str, number: int, record: bytes) -> dict[str, Any]:
    from google.protobuf.message import DecodeError

    example = example_type()()
    try:
        example.ParseFromString(record)
    except DecodeError as error:
        raise BadSource(f"{name}: record {number}: no tf.train.Example: {first_line(error)}") from None
    row: dict[str, Any] = {}
    for key, feature in sorted(example.features.feature.items()):
        kind = feature.WhichOneof("kind")
        values = [_plain(v) for v in getattr(feature, kind).value] if kind else []
        row[key] = values[0] if len(values) == 1 else values or None
    return row


def _plain(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


@cache
def example_type() -> Any:
    """Return the message ``tf.train.Example``, made from its description."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="aios/example.proto", package="aios.tf", syntax="proto3")
    for list_name, type_ in (
        ("BytesList", kind.TYPE_BYTES),
        ("FloatList", kind.TYPE_FLOAT),
        ("Int64List", kind.TYPE_INT64),
    ):
        message = file.message_type.add(name=list_name)
        message.field.add(name="value", number=1, label=kind.LABEL_REPEATED, type=type_)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (field, of) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1
    ):
        feature.field.add(
            name=field, number=number, label=kind.LABEL_OPTIONAL, type=kind.TYPE_MESSAGE,
            type_name=f".aios.tf.{of}", oneof_index=0,
        )  # fmt: skip
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=kind.LABEL_OPTIONAL, type=kind.TYPE_STRING)
    entry.field.add(
        name="value", number=2, label=kind.LABEL_OPTIONAL, type=kind.TYPE_MESSAGE, type_name=".aios.tf.Feature"
    )
    features.field.add(
        name="feature", number=1, label=kind.LABEL_REPEATED, type=kind.TYPE_MESSAGE,
        type_name=".aios.tf.Features.FeatureEntry",
    )  # fmt: skip
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features", number=1, label=kind.LABEL_OPTIONAL, type=kind.TYPE_MESSAGE, type_name=".aios.tf.Features"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("aios.tf.Example"))
