"""The wire between processes: what it does to bytes and to MQTT messages."""

import asyncio
import contextlib
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.chaos.packets import NotMqttError, Packets, kind_of, message_id, puback
from simulators.chaos.proxy import Link
from simulators.demo.processes import free_port

WAIT_S = 10.0


def publish(identifier: int, payload: bytes = b"x", qos: int = 1) -> bytes:
    body = b"\0\x01t" + (identifier.to_bytes(2, "big") if qos else b"") + payload
    length, size = bytearray(), len(body)
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | 0x80 * (size > 0))
        if not size:
            return bytes([0x30 | qos << 1, *length]) + body


@given(
    st.lists(
        st.tuples(st.integers(1, 65535), st.binary(max_size=300), st.sampled_from([0, 1])),
        max_size=8,
    ),
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
def test_packets_are_whole_however_the_stream_is_cut(messages, cuts):
    sent = [publish(*message) for message in messages]
    stream, got, packets, at = b"".join(sent), [], Packets(), 0
    while at < len(stream):
        step = cuts[at % len(cuts)]
        got += packets.feed(stream[at : at + step])
        at += step
    assert got == sent
    assert [message_id(one) for one in got] == [m[0] if m[2] else None for m in messages]


def test_what_is_no_packet_is_said():
    with pytest.raises(NotMqttError):
        Packets().feed(b"\x30\xff\xff\xff\xff\x01")


class End:
    """One end of the wire: reads packets, writes bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.packets = Packets()
        self.got: list[bytes] = []

    async def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))
        await self.writer.drain()

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(WAIT_S):
            while len(self.got) < count:
                data = await self.reader.read(4096)
                assert data, f"the wire ended after {self.got}"
                self.got += self.packets.feed(data)
        return self.got


class Wire:
    """A link, what connects to it, and what it connects to. Use as `async with Wire() as wire`."""

    def __init__(self, *, mqtt: bool = True) -> None:
        self.far: asyncio.Queue[End] = asyncio.Queue()
        self._mqtt = mqtt
        self._ends: list[End] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        upstream = self._server.sockets[0].getsockname()[1]
        self.link = Link("127.0.0.1", free_port(), upstream, 7, mqtt=self._mqtt)
        await self.link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.close()
        self._server.close()
        for end in self._ends:
            end.writer.close()
            with contextlib.suppress(ConnectionError):
                await end.writer.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(End(reader, writer))
        self.far.put_nowait(self._ends[-1])

    async def connect(self) -> End:
        end = End(*await asyncio.open_connection("127.0.0.1", self.link.port))
        self._ends.append(end)
        return end

    async def joined(self) -> tuple[End, End]:
        """Both ends of a connection that has passed something."""
        near = await self.connect()
        await near.send(publish(999, qos=0))
        async with asyncio.timeout(WAIT_S):
            other = await self.far.get()
        assert kind_of((await other.until(1)).pop()) == 3
        return near, other


async def silent(*ends: End) -> bool:
    """Whether nothing comes and nothing ends for a while."""
    reads = [asyncio.create_task(end.reader.read(1)) for end in ends]
    done, left = await asyncio.wait(reads, timeout=0.3)
    for read in left:
        read.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    return not done


async def ended(end: End) -> bool:
    """Whether a connection is broken off, in time."""
    async with asyncio.timeout(WAIT_S):
        try:
            return await end.reader.read(1) == b""
        except ConnectionError:
            return True


async def test_nothing_wrong_everything_passes_both_ways():
    async with Wire() as wire:
        near, other = await wire.joined()
        sent = [publish(i, bytes(i)) for i in (1, 2, 70_000 % 65_536)]
        await near.send(*sent)
        assert await other.until(3) == sent
        await other.send(*map(puback, (1, 2)))
        assert await near.until(2) == [puback(1), puback(2)]


async def test_a_cut_ends_connections_and_refuses_new_ones_until_it_is_mended():
    async with Wire() as wire:
        near, other = await wire.joined()
        wire.link.spoil("cut", None)
        assert await ended(near)
        assert await ended(other)
        assert await ended(await wire.connect())
        assert wire.far.empty()
        assert wire.link.mend() == 2, "one connection was broken off, one refused"
        await wire.joined()


async def test_a_half_open_connection_stays_dead_and_a_new_one_lives():
    async with Wire() as wire:
        near, other = await wire.joined()
        wire.link.spoil("half-open", None)
        await near.send(publish(1))
        await other.send(publish(2))
        assert await silent(near, other)
        assert wire.link.mend() == len(publish(1) + publish(2))
        await wire.joined()
        await near.send(publish(3))
        assert await silent(near, other)


async def test_half_open_http_is_broken_off_when_the_link_is_mended():
    async with Wire(mqtt=False) as wire:
        near, _ = await wire.joined()
        wire.link.spoil("half-open", None)
        await near.send(b"GET")
        assert await silent(near)
        wire.link.mend()
        assert await ended(near)
        await wire.joined()


async def test_a_slow_link_passes_so_many_bytes_in_a_second():
    async with Wire() as wire:
        near, other = await wire.joined()
        wire.link.spoil("slow", 4000)
        began = asyncio.get_running_loop().time()
        sent = [publish(1, bytes(1000)), publish(2, bytes(1000))]
        await near.send(*sent)
        assert await other.until(2) == sent
        assert asyncio.get_running_loop().time() - began > 0.4
        assert wire.link.mend() == sum(map(len, sent))


async def test_a_dropped_message_is_taken_from_its_sender_and_never_comes():
    async with Wire() as wire:
        near, other = await wire.joined()
        wire.link.spoil("drop", 100)
        await near.send(publish(1), publish(2), publish(3, qos=0))
        assert await near.until(2) == [puback(1), puback(2)]
        assert await other.until(1) == [publish(3, qos=0)]
        assert wire.link.mend() == 2
        await near.send(publish(1))
        assert await other.until(2) == [publish(3, qos=0), publish(1)]
        await other.send(puback(1))
        assert await near.until(3) == [puback(1), puback(2), puback(1)]


async def test_a_doubled_message_comes_twice_and_is_answered_once():
    async with Wire() as wire:
        near, other = await wire.joined()
        wire.link.spoil("duplicate", 100)
        await other.send(publish(5))  # the other way too
        assert await near.until(2) == [publish(5), publish(5)]
        await near.send(puback(5), puback(5), publish(6))
        assert await other.until(3) == [puback(5), publish(6), publish(6)]
        assert wire.link.mend() == 2
        wire.link.spoil("duplicate", 100)
        assert wire.link.mend() == 0, "only what this one has hit"
        assert +wire.link.touched == {"duplicate": 2}


async def test_messages_are_shuffled_and_each_is_answered_once():
    async with Wire() as wire:
        near, other = await wire.joined()
        wire.link.spoil("reorder", 8)
        sent = [publish(i) for i in range(1, 17)]
        await near.send(*sent)
        got = list(await other.until(16))
        assert sorted(got) == sorted(sent)
        assert got != sent
        moved = sum(here != there for here, there in zip(got, sent, strict=True))
        assert sorted(got[:8]) == sorted(sent[:8]), "they wait for so many"
        assert await near.until(16) == [puback(i) for i in range(1, 17)]
        await other.send(*map(puback, range(1, 17)), publish(77))
        await near.send(publish(40))  # alone: it passes after a while
        assert sorted((await other.until(18))[16:]) == [publish(40), puback(77)]
        assert wire.link.mend() == moved
        assert (await near.until(18))[16:] in (
            [puback(40), publish(77)],
            [publish(77), puback(40)],
        )


async def test_a_trouble_that_meets_nothing_counts_nothing():
    async with Wire() as wire:
        near, other = await wire.joined()
        for trouble in ("half-open", "slow", "reorder", "duplicate", "drop"):
            wire.link.spoil(trouble, 100)
            assert wire.link.mend() == 0, trouble
        await near.send(publish(1))
        assert await other.until(1) == [publish(1)]
        assert not +wire.link.touched
