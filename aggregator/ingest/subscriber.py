"""The MQTT session of the aggregator: the only file that imports paho.

paho's own thread receives and puts payloads into a bounded inbox; the pipeline takes them from
there and publishes acks. The session is clean and PUBACKs are automatic: what is lost between
broker and store was not acknowledged end to end, so its edge sends it again.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from aggregator.config import BrokerSection
from aggregator.events import BrokerConnected, BrokerLost, Counter, Events
from contract.topics import MessageKind, filter_for

_KINDS = (MessageKind.META, MessageKind.STATE, MessageKind.DATA, MessageKind.REPLY)
_RECONNECT_S = (1, 30)
_OVERHEAD_BYTES = 256
"""What CPython keeps of a message beside the characters: three objects and a place in the queue."""


class Message(NamedTuple):
    """One payload as it came."""

    topic: str
    payload: bytes


class Inbox:
    """A queue bounded by bytes. Full means drop and count: the edge resends."""

    def __init__(self, limit_bytes: int, events: Events) -> None:
        self._limit_bytes = limit_bytes
        self._events = events
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._ready = threading.Condition()

    def put(self, message: Message) -> None:
        """Queue a message, or drop it when there is no room."""
        with self._ready:
            size = _size(message)
            if self._bytes + size > self._limit_bytes:
                self._events.count(Counter.INBOX_DROPPED)
                return
            self._bytes += size
            self._messages.append(message)
            self._ready.notify()

    def take(self, wait_s: float, most_bytes: int = 4_194_304) -> list[Message]:
        """Return what waits, up to ``most_bytes``; an empty list when nothing came in time."""
        taken: list[Message] = []
        size = 0
        with self._ready:
            if not self._messages:
                self._ready.wait(wait_s)
            while self._messages and size < most_bytes:
                message = self._messages.popleft()
                size += _size(message)
                taken.append(message)
            self._bytes -= size
        return taken

    def wake(self) -> None:
        """Let a waiting ``take`` return."""
        with self._ready:
            self._ready.notify_all()


def _size(message: Message) -> int:
    return len(message.payload) + len(message.topic) + _OVERHEAD_BYTES


class Subscriber:
    """Subscribes to the regions' meta, state, data and replies; publishes acks and commands."""

    def __init__(
        self,
        settings: BrokerSection,
        client_id: str,
        regions: Sequence[str],
        inbox: Inbox,
        events: Events,
    ) -> None:
        self._settings = settings
        self._filters = [(filter_for(kind, region), 1) for region in regions for kind in _KINDS]
        self._inbox = inbox
        self._events = events
        self._told: set[str] = set()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.on_message = self._on_message
        self._said = _LastError()
        client.enable_logger(self._said.logger)
        client.reconnect_delay_set(*_RECONNECT_S)
        client.max_queued_messages_set(10_000)
        if settings.username:
            file = settings.password_file
            password = Path(file).read_text("utf-8").strip() if file else None
            client.username_pw_set(settings.username, password)
        if settings.tls_ca:
            client.tls_set(
                settings.tls_ca, settings.tls_certificate or None, settings.tls_key or None
            )

    def start(self) -> None:
        """Connect, now or as soon as the broker is there, and receive in a thread of its own."""
        self._client.connect_async(
            self._settings.host, self._settings.port, self._settings.keepalive_s
        )
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send with QoS 1. Lost while disconnected: what it would have said is said again."""
        if self._client.is_connected():
            self._client.publish(topic, payload, qos=1)

    def stop(self, drain_s: float = 2.0) -> None:
        """Let queued acks leave (bounded), then disconnect and end the thread; idempotent."""
        deadline = time.monotonic() + drain_s
        while self._client.want_write() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._client.is_connected()

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._lost(f"refused: {reason}")
            return
        client.subscribe(self._filters)
        self._told.clear()
        self._events.emit(BrokerConnected(self._settings.host, self._settings.port))

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._lost(f"{reason}; {self._said.text}" if self._said.text else str(reason))

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        """Paho calls this where it has caught the error, and does not hand it over."""
        error = sys.exception()
        self._lost("not reached" if error is None else f"{type(error).__name__}: {error}")

    def _lost(self, reason: str) -> None:
        """Count each failure; say each reason once until the broker is there again."""
        self._said.text = ""
        self._events.count(Counter.BROKER_LOST)
        if reason not in self._told:
            self._told.add(reason)
            self._events.emit(BrokerLost(reason))

    def _on_message(self, _client: paho.Client, _data: Any, message: Any) -> None:
        self._inbox.put(Message(message.topic, message.payload))


class _LastError(logging.Handler):
    """Keeps the last error that paho tells its log and nobody else, as why TLS was refused."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""
        self.logger = logging.Logger("mqtt", logging.ERROR)  # noqa: LOG001 - stands alone
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        self.text = record.getMessage()


Publish = Callable[[str, bytes], None]
"""How the pipeline sends an ack: topic, payload."""
