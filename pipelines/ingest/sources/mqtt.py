"""MQTT: a session that the broker keeps, QoS 1, acknowledged once a message is durable in the spool.

The broker delivers again what it heard no acknowledgement of, so a message may come twice, and rows are told apart by
the spec's ``key``. Of two that listen under one name the later one has the session, and the earlier one ends with an
error.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pipelines.ingest.sources.errors import BadSource
from pipelines.ingest.sources.messages import Message, MicroBatch, Parser
from pipelines.ingest.sources.secret import secret
from pipelines.ingest.sources.spec import MqttSpec
from pipelines.ingest.sources.spool import Spool

KEEPS_SESSION_S = 7 * 24 * 3600
CONNECT_S = 15.0
AT_ONCE = 1000
TICK_S = 0.05
TRIES = 5
Clock = Callable[[], float]


class MqttStream:
    """A subscription; ``heard`` and ``acknowledged`` count messages."""

    def __init__(self, spec: MqttSpec, client_id: str, spool: Spool, parser: Parser, clock: Clock = time.monotonic):
        self._spec, self._id, self._spool, self._parser, self._clock = spec, client_id, spool, parser, clock
        self._came: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
        self._state: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._client = self._made()
        self._tries = 0
        self._over = False

    def batches(self, position: Mapping[str, Any], stop: Callable[[], bool]) -> Iterator[MicroBatch]:
        """Yield micro-batches: first what the spool still has, then what comes."""
        at = dict(position.get("spool", {}))
        self._spool.clear(at)
        self._connect()
        began = last = self._clock()
        until, batch = self._spec.until, self._spec.batch
        n_rows, waiting, since = 0, 0, self._clock()
        waiting = len(self._spool.read(at, batch.rows)[0])
        while True:
            got = self._receive()
            now = self._clock()
            if got:
                last = now
                if waiting == 0:
                    since = now
                waiting += got
            idle = until.idle is not None and now - last >= until.idle
            over = stop() or idle or (until.seconds is not None and now - began >= until.seconds)
            enough = until.rows is not None and n_rows + waiting >= until.rows
            if waiting and (over or enough or waiting >= batch.rows or now - since >= batch.seconds):
                most = batch.rows if until.rows is None else min(batch.rows, until.rows - n_rows)
                contents, behind = self._spool.read(at, most)
                rows = self._parser.table([Message.unpack(content) for content in contents])
                yield MicroBatch(rows, {"spool": behind}, len(contents), sum(map(len, contents)))
                at = behind
                n_rows += len(contents)
                waiting = max(0, waiting - len(contents))
                since = self._clock()
            if until.rows is not None and n_rows >= until.rows:
                return
            if over and waiting == 0:
                return

    def close(self) -> None:
        """End the connection; the broker keeps the session, and what comes meanwhile."""
        self._over = True
        self._client.disconnect()
        self._client.loop_stop()
        self._spool.close()

    def _made(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self._id, protocol=paho.MQTTv5, manual_ack=True,
            reconnect_on_failure=False,
        )  # fmt: skip
        if self._spec.user is not None:
            client.username_pw_set(self._spec.user, secret(self._spec.password))
        if self._spec.tls:
            client.tls_set()
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = lambda _client, _data, message: self._came.put(message)
        client.on_disconnect = self._disconnected
        return client

    def _connect(self) -> None:
        """Connect and subscribe; raises BadSource that says why not."""
        where = f"mqtt {self._spec.host}:{self._spec.port}"
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = KEEPS_SESSION_S
        properties.ReceiveMaximum = AT_ONCE
        try:
            self._client.connect(
                self._spec.host, self._spec.port, keepalive=30, clean_start=False, properties=properties
            )
        except OSError as error:
            raise BadSource(f"{where}: cannot connect: {error}: is the broker up, and the port right?") from None
        self._client.loop_start()
        try:
            for _ in ("connected", "subscribed"):
                what, why = self._state.get(timeout=CONNECT_S)
                if what == "refused":
                    raise BadSource(f"{where}: refused: {why}: check user, password and rights of {self._id!r}")
                if what == "lost":
                    raise BadSource(f"{where}: the broker closed the connection: {why}")
        except queue.Empty:
            raise BadSource(f"{where}: the broker said nothing for {CONNECT_S:g} s: is it one of MQTT 5?") from None

    def _receive(self) -> int:
        """Take what has come into the spool, then acknowledge it; returns how many messages."""
        messages: list[paho.MQTTMessage] = []
        try:
            messages.append(self._came.get(timeout=TICK_S))
            while len(messages) < AT_ONCE:
                messages.append(self._came.get_nowait())
        except queue.Empty:
            pass
        if messages:
            self._spool.append([Message(m.payload, {"topic": m.topic}).pack() for m in messages])
            for message in messages:
                self._client.ack(message.mid, message.qos)
            self._tries = 0
        elif not self._state.empty():
            self._look_after()
        return len(messages)

    def _look_after(self) -> None:
        """Connect again after a loss, a few times with growing pauses; a session taken over is an error at once."""
        what, why = self._state.get_nowait()
        if what != "lost" or self._over:
            return
        if "taken over" in why.lower():
            raise BadSource(
                f"mqtt {self._spec.host}: another client took the session {self._id!r}: give each its own client_id"
            )
        self._client.loop_stop()
        while self._tries < TRIES:
            self._tries += 1
            self._parser.log(f"mqtt {self._spec.host}: connection lost ({why}): try {self._tries} of {TRIES}")
            try:
                self._client = self._made()
                return self._connect()
            except BadSource as error:
                why = str(error)
                time.sleep(min(2.0**self._tries * 0.25, 5.0))
        raise BadSource(f"mqtt {self._spec.host}:{self._spec.port}: the connection is lost ({why}): {TRIES} tries")

    def _connected(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._state.put(("refused", str(reason)))
            return
        self._state.put(("connected", ""))
        client.subscribe(self._spec.topic, qos=1)

    def _subscribed(self, client: paho.Client, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        bad = [reason for reason in reasons if reason.is_failure]
        self._state.put(("refused", f"topic {self._spec.topic!r}: {bad[0]}") if bad else ("subscribed", ""))

    def _disconnected(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if client is self._client:
            self._state.put(("lost", str(reason)))
