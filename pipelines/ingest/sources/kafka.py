"""Kafka: partitions read from the positions of the last version; the positions behind a batch are committed with it.

No consumer group decides what is read, so nothing is lost or doubled by what a broker remembers: the version has the
truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from pipelines.ingest.sources.errors import BadSource
from pipelines.ingest.sources.messages import Message, MicroBatch, Parser
from pipelines.ingest.sources.secret import secret, without
from pipelines.ingest.sources.spec import KafkaSpec

ANSWER_S = 15.0
TICK_S = 0.1
GROUP = "aios-ingest"
Clock = Callable[[], float]


class KafkaStream:
    """A reader of all partitions of a topic."""

    def __init__(self, spec: KafkaSpec, parser: Parser, clock: Clock = time.monotonic) -> None:
        self._spec, self._parser, self._clock = spec, parser, clock
        self._password = secret(spec.password)
        self._last_error = ""
        self._consumer = Consumer(self._settings(), logger=None)

    def batches(self, position: Mapping[str, Any], stop: Callable[[], bool]) -> Iterator[MicroBatch]:
        """Yield micro-batches from the positions by partition on."""
        at = {int(partition): int(offset) for partition, offset in position.get("kafka", {}).items()}
        self._assign(at)
        until, batch = self._spec.until, self._spec.batch
        began = last = since = self._clock()
        n_rows = 0
        waiting: list[Any] = []
        while True:
            limit = batch.rows if until.rows is None else min(batch.rows, until.rows - n_rows)
            got = self._consume(limit - len(waiting))
            now = self._clock()
            if got:
                last = now
                if not waiting:
                    since = now
                waiting += got
            idle = until.idle is not None and now - last >= until.idle
            over = stop() or idle or (until.seconds is not None and now - began >= until.seconds)
            if waiting and (over or len(waiting) >= limit or now - since >= batch.seconds):
                for message in waiting:
                    at[message.partition()] = message.offset() + 1
                yield self._batch(waiting, at)
                n_rows += len(waiting)
                waiting = []
            if (over and not waiting) or (until.rows is not None and n_rows >= until.rows):
                return

    def close(self) -> None:
        self._consumer.close()

    def _batch(self, messages: list[Any], at: Mapping[int, int]) -> MicroBatch:
        rows = self._parser.table(
            [
                Message(m.value() or b"", {"partition": m.partition(), "offset": m.offset()})
                for m in messages
                if m.value() is not None
            ]
        )
        position = {"kafka": {str(partition): offset for partition, offset in sorted(at.items())}}
        return MicroBatch(rows, position, len(messages), sum(len(m.value() or b"") for m in messages))

    def _settings(self) -> dict[str, Any]:
        spec = self._spec
        settings: dict[str, Any] = {
            "bootstrap.servers": spec.servers,
            "group.id": GROUP,  # librdkafka wants one; nothing is committed to it
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "error_cb": self._failed,
            "log_level": 0,
            "security.protocol": f"{'SASL_' if spec.user else ''}{'SSL' if spec.tls else 'PLAINTEXT'}",
        }
        if spec.user is not None:
            settings |= {
                "sasl.username": spec.user, "sasl.password": self._password or "", "sasl.mechanism": spec.mechanism,
            }  # fmt: skip
        return settings

    def _failed(self, error: KafkaError) -> None:
        self._last_error = without(str(error.str()), [self._password])

    def _assign(self, at: dict[int, int]) -> None:
        where = f"kafka {self._spec.servers}"
        try:
            topic = self._consumer.list_topics(self._spec.topic, ANSWER_S).topics[self._spec.topic]
        except KafkaException as error:
            why = self._last_error or error.args[0].str()
            raise BadSource(f"{where}: no broker answers: {why}: check servers, user and password") from None
        if topic.error is not None or not topic.partitions:
            raise BadSource(f"{where}: no topic {self._spec.topic!r}: {topic.error or 'it has no partition'}")
        for partition in topic.partitions:
            if partition not in at and self._spec.start == "latest":  # kept with the version from the first one on
                end = self._consumer.get_watermark_offsets(TopicPartition(self._spec.topic, partition), ANSWER_S)
                at[partition] = end[1]
        self._consumer.assign(
            [TopicPartition(self._spec.topic, p, at.get(p, OFFSET_BEGINNING)) for p in topic.partitions]
        )

    def _consume(self, most: int) -> list[Any]:
        good = []
        for message in self._consumer.consume(max(1, most), TICK_S):
            error = message.error()
            if error is None:
                good.append(message)
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                raise BadSource(
                    f"kafka {self._spec.servers} {self._spec.topic}: the position of the last version is gone (the "
                    "broker keeps messages too short a time): rows are lost; give the dataset a new name to begin anew"
                )
            elif not error.retriable() and error.code() != KafkaError._PARTITION_EOF:
                raise BadSource(f"kafka {self._spec.servers} {self._spec.topic}: {error.str()}")
        return good
