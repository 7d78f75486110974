"""MQTT connections that many edges share; the only file of the fleet that knows paho.

One thread serves all of them. A connection that is lost is made anew with a new client, so that
nothing of the old session is sent again behind the edges' back. A broker knows one last will per
connection: it is the first edge's.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from contract.state import encode_state, offline_state
from contract.topics import MessageKind, topic
from simulators.fleet.plan import Plan

_FILTERS_AT_ONCE = 500
_IN_FLIGHT = 60_000
"""More than edges ever have on the way; paho counts to 65 535."""
_MISC_MS = 1_000
_RETRY_MS = (250, 5_000)
_CONNECT_S = 3.0
_KEEPALIVE_S = 30


class Connection:
    """One connection and the edges behind it. `up`, `down` and `ack` are told what happens."""

    def __init__(
        self,
        number: int,
        plan: Plan,
        edges: Sequence[int],
        broker: tuple[str, int],
        run: str,
        *,
        up: Callable[[Sequence[int]], None],
        down: Callable[[Sequence[int]], None],
        ack: Callable[[int, bytes], None],
    ) -> None:
        self._plan = plan
        self._broker = broker
        self._name = f"fleet-{run}-{number}"
        self._up, self._down, self._ack = up, down, ack
        self._edges = edges
        self._by_topic = {topic(plan.address(edge), MessageKind.ACK): edge for edge in edges}
        self._client: paho.Client | None = None
        self._acks: list[tuple[str, bytes]] = []
        self._unanswered = self._events = 0
        self._ready = self._lost = False
        self._try_ms = 0.0
        self._wait_ms: float = _RETRY_MS[0]
        self._misc_ms = 0.0
        self.connects = 0
        self.reason = ""
        """Why the last attempt failed or the last connection ended."""

    @property
    def ready(self) -> bool:
        """Whether it is connected and its subscriptions are answered."""
        return self._ready

    def send(self, edge: int, kind: MessageKind, payload: bytes) -> None:
        """Queue a message with QoS 1; metas and states are retained."""
        assert self._client is not None  # noqa: S101 - an edge that is not up sends nothing
        name = topic(self._plan.address(edge), kind)
        self._client.publish(name, payload, qos=1, retain=kind is not MessageKind.DATA)

    def work(self, selector: selectors.BaseSelector, now_ms: float) -> None:
        """Connect when it is time to, write what waits, keep the connection alive."""
        if self._client is None:
            if now_ms >= self._try_ms:
                self._connect(selector, now_ms)
            return
        if now_ms >= self._misc_ms:
            self._misc_ms = now_ms + _MISC_MS
            self._lost |= self._client.loop_misc() != paho.MQTT_ERR_SUCCESS
        if self._client.want_write():
            self._lost |= self._client.loop_write() != paho.MQTT_ERR_SUCCESS
        socket: Any = self._client.socket()
        if self._lost or socket is None:
            self._end(selector, now_ms)
            return
        events = selectors.EVENT_READ
        if self._client.want_write():
            events |= selectors.EVENT_WRITE
        if events != self._events:
            self._events = selector.modify(socket, events, self).events

    def read(self) -> None:
        """Take what the socket has."""
        if self._client is None:
            return
        self._lost |= self._client.loop_read() != paho.MQTT_ERR_SUCCESS
        acks, self._acks = self._acks, []
        for name, payload in acks:
            self._ack(self._by_topic[name], payload)

    def close(self) -> None:
        """Take leave of the broker, once all that waits is written."""
        if self._client is not None:
            while self._client.want_write() and self._client.loop_write() == paho.MQTT_ERR_SUCCESS:
                pass
            self._client.disconnect()
            self._client = None

    @property
    def writing(self) -> bool:
        """Whether something waits to be written."""
        return self._client is not None and self._client.want_write()

    def _connect(self, selector: selectors.BaseSelector, now_ms: float) -> None:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._name,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.connect_timeout = _CONNECT_S
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        first = topic(self._plan.address(self._edges[0]), MessageKind.STATE)
        client.will_set(first, encode_state(offline_state(int(now_ms))), qos=1, retain=True)
        try:
            client.connect(*self._broker, keepalive=_KEEPALIVE_S)
        except OSError as error:
            self._later(now_ms, f"{type(error).__name__}: {error}")
            return
        self._client, self._lost, self._unanswered = client, False, 0
        socket: Any = client.socket()
        self._events = selector.register(socket, selectors.EVENT_READ, self).events

    def _end(self, selector: selectors.BaseSelector, now_ms: float) -> None:
        # A socket that is closed cannot be named to the selector any more: found by its owner.
        for key in [key for key in selector.get_map().values() if key.data is self]:
            selector.unregister(key.fileobj)
        self._client = None
        self._acks.clear()
        if self._ready:
            self._ready = False
            self._down(self._edges)
        self._later(now_ms, self.reason or "the broker closed the connection")

    def _later(self, now_ms: float, reason: str) -> None:
        self.reason = reason
        self._try_ms = now_ms + self._wait_ms
        self._wait_ms = min(2 * self._wait_ms, _RETRY_MS[1])

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self.reason, self._lost = f"refused: {reason}", True
            return
        topics = list(self._by_topic)
        for first in range(0, len(topics), _FILTERS_AT_ONCE):
            client.subscribe([(name, 1) for name in topics[first : first + _FILTERS_AT_ONCE]])
            self._unanswered += 1

    def _on_subscribe(self, *_: Any) -> None:
        self._unanswered -= 1
        if self._unanswered == 0:
            self._ready, self._wait_ms, self.reason = True, _RETRY_MS[0], ""
            self.connects += 1
            self._up(self._edges)

    def _on_message(self, _client: paho.Client, _data: Any, message: Any) -> None:
        self._acks.append((message.topic, message.payload))
