"""Devices that publish JSON to a broker of the site, over aiomqtt.

The link subscribes to the topics it is asked for and keeps the newest message of each; a poll takes
what came since the last. Retained messages are passed over: nobody knows how old they are. A meter
that said nothing for `SILENT_S` counts as one that does not answer. The link publishes nothing.
"""

import asyncio
import contextlib

import aiomqtt

from edge_agent.codecs.mqtt_json import Message, ReadTopics
from edge_agent.errors import LinkError, LinkTimeoutError

SILENT_S = 900.0
"""Longest pause between two messages of a device that is well [s]."""
MAX_PAYLOAD = 65_536
"""A longer message is not looked at [bytes]."""


class MqttJsonLink:
    """One broker; see `MeterLink`."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        """Keep the endpoint; nothing is opened yet."""
        self._where = f"mqtt {host}:{port}"
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._client: aiomqtt.Client | None = None
        self._listening: asyncio.Task[None] | None = None
        self._topics: set[str] = set()
        self._newest: dict[str, tuple[float, bytes]] = {}
        self._heard_at: dict[str, float] = {}

    @property
    def is_open(self) -> bool:
        return self._listening is not None and not self._listening.done()

    async def open(self) -> None:
        if self.is_open:
            return
        await self.close()
        client = aiomqtt.Client(self._host, self._port, timeout=self._timeout_s)
        try:
            await client.__aenter__()
            for topic in self._topics:
                await client.subscribe(topic, timeout=self._timeout_s)
        except (aiomqtt.MqttError, AttributeError) as error:
            # The latter is paho's when the broker closes amid the connecting: edge_agent.uplink
            await self._leave(client)
            raise LinkError(self._where, f"cannot connect: {error}") from error
        self._client = client
        self._listening = asyncio.create_task(self._listen(client))

    async def read(self, question: ReadTopics) -> tuple[Message, ...]:
        await self.open()
        now = asyncio.get_running_loop().time()
        await self._subscribe(question.topics, now)
        came = []
        for topic in question.topics:
            if topic in self._newest:
                at, payload = self._newest.pop(topic)
                came.append(Message(topic, payload, now - at))
        silent_s = now - max(self._heard_at[topic] for topic in question.topics)
        if silent_s > SILENT_S:
            reason = f"meter {question.meter} did not answer: silent for {silent_s:.0f} s"
            raise LinkTimeoutError(self._where, reason)
        return tuple(came)

    async def close(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            await self._leave(client)

    async def _subscribe(self, topics: tuple[str, ...], now: float) -> None:
        for topic in topics:
            if topic not in self._topics and self._client is not None:
                try:
                    await self._client.subscribe(topic, timeout=self._timeout_s)
                except aiomqtt.MqttError as error:
                    await self.close()
                    raise LinkError(self._where, f"cannot subscribe {topic}: {error}") from error
                self._topics.add(topic)
                self._heard_at[topic] = now

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Keep what comes, until the connection ends; then the link is no longer open."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(aiomqtt.MqttError):
            async for message in client.messages:
                if message.retain or len(message.payload) > MAX_PAYLOAD:
                    continue
                topic = str(message.topic)
                self._heard_at[topic] = loop.time()
                self._newest[topic] = (loop.time(), bytes(message.payload))

    @staticmethod
    async def _leave(client: aiomqtt.Client) -> None:
        with contextlib.suppress(aiomqtt.MqttError):
            await client.__aexit__(None, None, None)
