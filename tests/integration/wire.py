"""What passes over the broker, seen and sent by a test: a plain MQTT client beside the product."""

import threading
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

TIMEOUT_S = 20.0


class Wire:
    """Keeps every message of its topic filters in order of arrival. Use as `with Wire(...)`."""

    def __init__(self, port: int, *filters: str) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self._filters = [(text, 1) for text in filters]
        self._port = port
        self._ready = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._ready.wait(TIMEOUT_S), "the broker does not answer"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 1; returns when the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(TIMEOUT_S)

    def of(self, kind: str) -> list[tuple[str, bytes]]:
        """The messages of one kind so far."""
        return [message for message in list(self.messages) if message[0].endswith(f"/{kind}")]

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        if self._filters:
            client.subscribe(self._filters)
        else:
            self._ready.set()

    def _on_message(self, _client: paho.Client, _data: Any, message: Any) -> None:
        if message.retain:
            self.retained[message.topic] = message.payload
        else:
            self.messages.append((message.topic, message.payload))
