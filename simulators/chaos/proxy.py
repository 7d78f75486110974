"""A wire between two processes that can be spoilt: TCP in general, MQTT messages in particular.

A `Link` listens for the whole run; what is wrong with it is set and taken away at any time.
Messages that it loses, doubles or shuffles are PUBLISH packets of QoS 1, either way. The wire
answers for a message that it takes from its sender (PUBACK) and swallows the answer that comes for
it later or too often: so both ends see a broker that loses its memory, not a broken protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from simulators.chaos.packets import PUBACK, NotMqttError, Packets, kind_of, message_id, puback

CHUNK_BYTES = 4096
SLICE_S = 0.05
SHUFFLE_S = 0.5
"""Messages are held back at most so long for others to come, else one alone would wait for ever."""


class Link:
    """One wire. `mqtt`: whether it carries MQTT, so that messages can be told apart."""

    def __init__(
        self, host: str, port: int, upstream_port: int, seed: int, *, mqtt: bool = True
    ) -> None:
        """Listens on `port` and passes on to `upstream_port` of the same host."""
        self.port = port
        self.upstream_port = upstream_port
        self._host = host
        self._mqtt = mqtt
        self._draw = random.Random(seed)
        self.touched: Counter[str] = Counter()
        """Trouble -> how many connections, bytes or messages it has hit (`counts` of kinds.csv)."""
        self._trouble = ""
        self._amount = 0.0
        self._before = 0
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, self._host, self.port)

    async def close(self) -> None:
        """End the connections and stop listening."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spoil(self, trouble: str, amount: float | None) -> None:
        """Begin with "cut", "half-open", "slow", "reorder", "duplicate" or "drop"."""
        self._trouble, self._amount = trouble, amount or 0.0
        self._before = self.touched[trouble]
        if trouble == "cut":
            for connection in list(self._connections):
                connection.abort()
                self.touched["cut"] += 1

    def mend(self) -> int:
        """All that comes from now on passes; returns what the trouble has hit.

        A connection that has lost bytes stays dead.
        """
        trouble, self._trouble = self._trouble, ""
        for connection in list(self._connections):
            connection.flush()
            if connection.dead and not self._mqtt:
                connection.abort()  # whoever speaks HTTP has no keep-alive that would notice
        return self.touched[trouble] - self._before

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._trouble == "cut":
            self.touched["cut"] += 1
            writer.transport.abort()
            return
        try:
            far = await asyncio.open_connection(self._host, self.upstream_port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection((reader, writer), far, self._pass, self.touched)
        task = asyncio.create_task(connection.run())
        self._connections.add(connection)
        self._tasks.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _pass(self, connection: _Connection, way: _Way, data: bytes) -> None:
        """Let what came one way go on, as far as the trouble of the moment lets it."""
        if self._trouble == "half-open":
            connection.dead = True
        if connection.dead:
            self.touched["half-open"] += len(data)
            return
        if self._trouble == "slow":
            await self._crawl(way, data)
            return
        if not self._mqtt:
            await way.send(data)
            return
        for packet in way.packets.feed(data):
            for part in self._spoilt(way, packet):
                await way.send(part)

    async def _crawl(self, way: _Way, data: bytes) -> None:
        pieces = way.packets.feed(data) if self._mqtt else [data]
        for piece in pieces:
            sent = 0
            while sent < len(piece):
                rate = self._amount if self._trouble == "slow" else 0.0
                step = max(1, round(rate * SLICE_S)) if rate else len(piece)
                part = piece[sent : sent + step]
                await way.send(part)
                sent += step
                if rate:
                    self.touched["slow"] += len(part)
                    await asyncio.sleep(SLICE_S)

    def _spoilt(self, way: _Way, packet: bytes) -> list[bytes]:
        """What goes on in place of one packet."""
        identifier = message_id(packet)
        if identifier is None:
            return [packet]
        if kind_of(packet) == PUBACK:
            if way.owed[identifier] > 0:
                way.owed[identifier] -= 1
                return []
            return [packet]
        chance = self._draw.random() * 100
        if self._trouble == "drop" and chance < self._amount:
            self.touched["drop"] += 1
            way.answer(puback(identifier))
            return []
        if self._trouble == "duplicate" and chance < self._amount:
            self.touched["duplicate"] += 1
            way.back.owed[identifier] += 1
            return [packet, packet]
        if self._trouble == "reorder":
            way.answer(puback(identifier))
            way.back.owed[identifier] += 1
            way.hold(packet, round(self._amount), self._draw)
            return []
        return [packet]


class _Way:
    """One direction of a connection."""

    back: _Way

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, touched: Counter[str]
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.packets = Packets()
        self.owed: Counter[int] = Counter()
        """PUBACKs that come this way and that nobody waits for."""
        self._touched = touched
        self._held: list[tuple[int, bytes]] = []
        """In the order in which they will go on, each with its place in that of their coming."""
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, data: bytes) -> None:
        """Pass on."""
        self.writer.write(data)
        await self.writer.drain()

    def answer(self, packet: bytes) -> None:
        """Say something to the sender in the receiver's place."""
        self.back.writer.write(packet)

    def hold(self, packet: bytes, most: int, draw: random.Random) -> None:
        """Keep a packet until there are `most`, or for a while; then pass on all in any order."""
        self._held.append((len(self._held), packet))
        draw.shuffle(self._held)
        if len(self._held) >= most:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SHUFFLE_S, self.flush)

    def flush(self) -> None:
        """Pass on what is held."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.writer.is_closing():
            self.writer.write(b"".join(packet for _, packet in self._held))
            self._touched["reorder"] += sum(n != came for n, (came, _) in enumerate(self._held))
        self._held.clear()


class _Connection:
    """Both directions of one accepted connection. dead: bytes of it were lost, none pass again."""

    def __init__(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        pass_on: Callable[[_Connection, _Way, bytes], Awaitable[None]],
        touched: Counter[str],
    ) -> None:
        self.dead = False
        self._pass_on = pass_on
        self._ways = (_Way(near[0], far[1], touched), _Way(far[0], near[1], touched))
        self._ways[0].back, self._ways[1].back = self._ways[1], self._ways[0]

    async def run(self) -> None:
        """Pass bytes on until one side leaves."""
        pumps = [asyncio.create_task(self._pump(way)) for way in self._ways]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self.abort()

    def flush(self) -> None:
        """Pass on what is held back."""
        for way in self._ways:
            way.flush()

    def abort(self) -> None:
        """Break off."""
        for way in self._ways:
            way.flush()
            way.writer.transport.abort()

    async def _pump(self, way: _Way) -> None:
        with contextlib.suppress(ConnectionError, NotMqttError):
            while data := await way.reader.read(CHUNK_BYTES):
                await self._pass_on(self, way, data)
