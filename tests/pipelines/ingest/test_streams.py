"""Streams from real brokers: a killed reader loses nothing and doubles nothing that has a key."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pyarrow as pa
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pipelines.ingest.rowset import distinct
from pipelines.ingest.sources.errors import BadSource
from pipelines.ingest.sources.messages import Message, Parser, schema_from, schema_text
from pipelines.ingest.sources.mqtt import MqttStream
from pipelines.ingest.sources.spec import KafkaSpec, MqttSpec
from pipelines.ingest.sources.spool import Spool
from tests.support.brokers import MOSQUITTO, kafka, mosquitto

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
needs_kafka = pytest.mark.skipif(
    sys.platform != "linux" or __import__("platform").machine() != "x86_64",
    reason="the broker is built for Linux on x86-64",
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mosquitto(tmp_path_factory.mktemp("mosquitto")) as port:
        yield port


def publish(port: int, topic: str, payloads: list[bytes]) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for info in [client.publish(topic, payload, qos=1) for payload in payloads]:
        info.wait_for_publish(20)
    client.disconnect()
    client.loop_stop()


def samples(start: int, n: int) -> list[bytes]:
    return [json.dumps({"id": i, "value": i / 2}).encode() for i in range(start, start + n)]


def never() -> bool:
    return False


def stream(port: int, folder: Path, writer: str, **settings: Any) -> MqttStream:
    given = {"host": "127.0.0.1", "port": port, "topic": "s/#", "until": {"idle": 0.5}, **settings}
    spec = MqttSpec.model_validate(given)
    return MqttStream(spec, "reader", Spool(folder, writer), Parser(spec, {}, print))


def read(stream: MqttStream, position: Any = None) -> tuple[pa.Table, Any]:
    """Read to the end; return all rows and the position behind them."""
    tables, at = [], position or {}
    for batch in stream.batches(at, never):
        tables.append(batch.rows)
        at = batch.position
    stream.close()
    return pa.concat_tables(tables) if tables else pa.table({}), at


@needs_mosquitto
def test_what_came_while_nobody_listened_is_there_later_and_each_row_once(broker: int, tmp_path: Path) -> None:
    read(stream(broker, tmp_path, "w.1"))  # the broker keeps a session from here on
    publish(broker, "s/a", samples(0, 3000))
    rows, position = read(stream(broker, tmp_path, "w.2", batch={"rows": 700, "seconds": 60}))
    assert sorted(rows["id"].to_pylist()) == list(range(3000))
    assert set(rows["topic"].to_pylist()) == {"s/a"}
    publish(broker, "s/b", samples(3000, 10))
    more, position = read(stream(broker, tmp_path, "w.3"), position)
    assert sorted(more["id"].to_pylist()) == list(range(3000, 3010))
    none, _ = read(stream(broker, tmp_path, "w.4"), position)
    assert none.num_rows == 0


@needs_mosquitto
def test_a_reader_that_dies_before_its_commit_loses_nothing_and_key_tells_doubles_apart(
    broker: int, tmp_path: Path
) -> None:
    read(stream(broker, tmp_path, "k.1", topic="k/#", client_id="k"))
    publish(broker, "k/x", samples(0, 500))
    # 1. One batch is taken and never committed; the rest is somewhere between broker and spool.
    dying = stream(broker, tmp_path, "k.2", topic="k/#", batch={"rows": 100, "seconds": 60})
    next(iter(dying.batches({}, never)))
    dying._client._sock_close()  # as a killed process leaves it: no goodbye
    dying._spool.close()
    # 2. The next attempt begins at the last published position: none.
    rows, _ = read(stream(broker, tmp_path, "k.3", topic="k/#"))
    assert set(rows["id"].to_pylist()) == set(range(500))
    assert sorted(distinct(rows, ["id"])["id"].to_pylist()) == list(range(500))


@needs_mosquitto
def test_a_broker_that_is_not_there_or_refuses_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadSource, match=r"cannot connect.*is the broker up"):
        read(stream(1, tmp_path / "s", "w.1"))
    monkeypatch.setenv("AIOS_SECRET_BROKER", "wrong-password")
    with mosquitto(tmp_path, password="right") as port, pytest.raises(BadSource, match="refused") as told:
        read(stream(port, tmp_path / "s", "w.2", user="reader", password="secret:broker"))
    assert "wrong-password" not in str(told.value)


def test_a_spool_gives_back_what_was_made_durable_and_passes_over_a_torn_end(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w.1")
    spool.append([b"a", b"b", b"c"])
    got, position = spool.read({}, 2)
    assert got == [b"a", b"b"]
    (segment,) = spool.segments()
    with segment.open("ab") as file:
        file.write(b"\x09\x00\x00\x00torn")
    later = Spool(tmp_path, "w.2")
    later.append([b"d"])
    got, position = later.read(position, 10)
    assert got == [b"c", b"d"]
    assert later.read(position, 10) == ([], position)


def test_a_spool_is_cleared_only_of_what_a_published_version_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w.1")
    spool.append([b"a", b"b"])
    _, half = spool.read({}, 1)
    _, whole = spool.read({}, 2)
    later = Spool(tmp_path, "w.2")
    later.clear({})
    later.clear(half)
    assert later.read({}, 10)[0] == [b"a", b"b"]
    later.clear(whole)
    assert later.read({}, 10)[0] == []


SPEC = KafkaSpec(servers="none", topic="t")


def parsed(messages: list[bytes], spec: KafkaSpec = SPEC, schema: pa.Schema | None = None) -> pa.Table:
    return Parser(spec, {}, print, schema).table([Message(m, {"offset": i}) for i, m in enumerate(messages)])


def test_the_columns_of_a_stream_stay_and_grow_as_fields_come() -> None:
    parser = Parser(SPEC, {}, print)
    first = parser.table([Message(b'{"a": 1}', {"offset": 0})])
    second = parser.table([Message(b'{"b": "x"}', {"offset": 1})])
    assert first.schema.names == ["a", "offset"]
    assert second.to_pylist() == [{"a": None, "offset": 1, "b": "x"}]
    assert schema_from(schema_text(parser.schema)) == parser.schema


BAD = [
    (b"{", "is not JSON"),
    (b"[1]", "is no object"),
    (b"\xff", "not UTF-8"),
]


@pytest.mark.parametrize("payload, said", BAD)
def test_a_bad_message_is_named_or_skipped(payload: bytes, said: str) -> None:
    with pytest.raises(BadSource, match=rf"offset 1.*{said}"):
        parsed([b'{"a": 1}', payload])
    skipping = SPEC.model_copy(update={"bad_messages": "skip"})
    assert parsed([b'{"a": 1}', payload], skipping).num_rows == 1


def test_a_field_that_changes_its_type_is_an_error_that_names_the_row() -> None:
    with pytest.raises(BadSource, match="row 2, column 'a': warm is no int64"):
        parsed([b'{"a": 1}', b'{"a": "warm"}'], schema=pa.schema([("a", pa.int64()), ("offset", pa.int64())]))


@needs_kafka
def test_kafka_goes_on_where_the_last_version_ended_and_loses_and_doubles_nothing() -> None:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    from pipelines.ingest.sources.kafka import KafkaStream

    with kafka() as address:
        admin = AdminClient({"bootstrap.servers": address})
        for made in admin.create_topics([NewTopic("t", 2, 1)]).values():
            made.result(20)
        producer = Producer({"bootstrap.servers": address})

        def produce(start: int, n: int) -> None:
            for i, payload in enumerate(samples(start, n)):
                producer.produce("t", payload, partition=i % 2)
            assert producer.flush(20) == 0

        def consume(position: Any, most: int | None = None) -> tuple[list[int], Any]:
            spec = KafkaSpec.model_validate(
                {
                    "servers": address,
                    "topic": "t",
                    "until": {"idle": 1, "rows": most},
                    "batch": {"rows": 150, "seconds": 60},
                }
            )
            stream = KafkaStream(spec, Parser(spec, {}, print))
            found: list[int] = []
            for batch in stream.batches(position, never):
                found += batch.rows["id"].to_pylist()
                position = batch.position
            stream.close()
            return found, position

        produce(0, 400)
        first, position = consume({}, most=250)
        assert len(first) == 250
        rest, end = consume(position)  # as after a kill: from what was committed
        assert sorted(first + rest) == list(range(400))
        produce(400, 6)
        assert sorted(consume(end)[0]) == list(range(400, 406))
        spec = KafkaSpec(servers=address, topic="nothing")
        nothing = KafkaStream(spec, Parser(spec, {}, print)).batches({}, never)
        with pytest.raises(BadSource, match="no topic 'nothing'"):
            next(nothing)
