"""Modbus TCP: the link suite on pymodbus's own server, and a server that misbehaves."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.codecs.modbus import ReadWords
from edge_agent.config import BusConfig
from edge_agent.errors import LinkError, LinkTimeoutError, MeterError
from edge_agent.links.modbus import ModbusTcpLink
from edge_agent.links.registry import make_link
from edge_agent.links.wire import WireLink
from simulators.demo.processes import free_port
from tests.suites.link_suite import TIMEOUT_S, LinkSuite


class ServerBench:
    """pymodbus's server with units 1 and 2."""

    refusal = "illegal address"

    def __init__(self) -> None:
        self.port = free_port()
        self.link = ModbusTcpLink("127.0.0.1", self.port, TIMEOUT_S)
        self.delays = {1: 0.0, 2: 0.0}
        self.server: ModbusTcpServer | None = None

    def question(self, unit: int, place: int) -> ReadWords:
        return ReadWords(unit, 3, place, 2 if place < 49 else 1)

    def number(self, answer: Sequence[int]) -> int:
        return answer[0]

    def device(self, unit: int) -> SimDevice:
        async def action(*_: object) -> None:
            await asyncio.sleep(self.delays[unit])

        values = [unit * 1000 + address for address in range(50)]
        data = SimData(0, values=values, datatype=DataType.REGISTERS)
        return SimDevice(unit, simdata=[data], action=action)

    def delay(self, unit: int, seconds: float) -> None:
        self.delays[unit] = seconds

    async def start(self) -> None:
        devices = [self.device(1), self.device(2)]
        self.server = ModbusTcpServer(devices, address=("127.0.0.1", self.port))
        await self.server.listen()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.shutdown()
            self.server = None


@pytest.fixture
async def bench() -> AsyncIterator[ServerBench]:
    bench = ServerBench()
    await bench.start()
    try:
        yield bench
    finally:
        await bench.link.close()
        await bench.stop()


class TestModbusTcpLink(LinkSuite):
    pass


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(answer: Answer) -> AsyncIterator[ModbusTcpLink]:
    """A link to a TCP server that does what `answer` says with each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = ModbusTcpLink("127.0.0.1", server.sockets[0].getsockname()[1], TIMEOUT_S)
    try:
        yield link
    finally:
        await link.close()
        server.close()


def frame(request: bytes, payload: bytes, unit: int | None = None) -> bytes:
    transaction, _, _, asked = struct.unpack(">HHHB", request[:7])
    head = struct.pack(">HHHB", transaction, 0, len(payload) + 1, asked if unit is None else unit)
    return head + payload


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        (1, MeterError, "illegal function"),
        (2, MeterError, "illegal address"),
        (4, MeterError, "device failure"),
        (6, LinkError, "busy"),
        (10, LinkError, "gateway path"),
        (11, LinkTimeoutError, "gateway target"),
        (99, MeterError, "code 99"),
    ],
)
async def test_exception_codes(code, error, says):
    async def answer(reader, writer):
        while request := await reader.readexactly(12):
            writer.write(frame(request, bytes([0x83, code])))

    async with scripted(answer) as link:
        with pytest.raises(error, match=says) as caught:
            await link.read(ReadWords(7, 3, 0, 2))
        assert type(caught.value) is error
        assert "unit 7" in str(caught.value)
        assert link.is_open


async def test_input_registers_are_read_with_function_4():
    async def answer(reader, writer):
        request = await reader.readexactly(12)
        assert request[7:12] == struct.pack(">BHH", 4, 0x48, 2)
        writer.write(frame(request, b"\x04\x04\x42\xf6\xe9\x79"))

    async with scripted(answer) as link:
        assert list(await link.read(ReadWords(1, 4, 0x48, 2))) == [0x42F6, 0xE979]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x03\x04\x00",  # says four bytes and sends one
        b"\x03\x02\x00\x01",  # one word where two were asked for
        b"\x03",
        b"\x63\x00\x00",  # a function nobody knows
        b"\x03\xff" + b"\0" * 255,
    ],
)
async def test_broken_answer_is_a_link_error_and_silent_on_stderr(payload, capfd, caplog):
    async def answer(reader, writer):
        request = await reader.readexactly(12)
        writer.write(frame(request, payload))
        await reader.read()

    async with scripted(answer) as link:
        for _ in range(2):
            with pytest.raises(LinkError):
                await link.read(ReadWords(1, 3, 0, 2))
            assert not link.is_open
    assert capfd.readouterr().err == ""
    assert caplog.text == ""


async def test_answer_of_another_unit_is_not_taken():
    async def answer(reader, writer):
        request = await reader.readexactly(12)
        writer.write(frame(request, b"\x03\x04\0\1\0\2", unit=9))
        await reader.read()

    async with scripted(answer) as link:
        with pytest.raises(LinkTimeoutError):
            await link.read(ReadWords(1, 3, 0, 2))


async def test_answer_to_an_earlier_transaction_is_not_taken():
    async def answer(reader, writer):
        request = await reader.readexactly(12)
        writer.write(frame(b"\x63\x63" + request[2:], b"\x03\x04\0\1\0\2"))
        writer.write(frame(request, b"\x03\x04\0\3\0\4"))
        await reader.read()

    async with scripted(answer) as link:
        assert list(await link.read(ReadWords(1, 3, 0, 2))) == [3, 4]


async def test_connection_closed_by_the_meter_fails_at_once():
    async def answer(reader, writer):
        await reader.readexactly(12)

    async with scripted(answer) as link:
        link._timeout_s = 20
        async with asyncio.timeout(5):
            with pytest.raises(LinkError, match=r"closed by the other side|connection lost"):
                await link.read(ReadWords(1, 3, 0, 2))
        assert not link.is_open


async def test_closed_port_names_the_endpoint():
    port = free_port()
    with pytest.raises(LinkError, match=f"127.0.0.1:{port}: cannot connect"):
        await ModbusTcpLink("127.0.0.1", port, TIMEOUT_S).open()


async def test_wrong_number_of_words_is_refused_by_the_link():
    async def answer(reader, writer):
        request = await reader.readexactly(12)
        writer.write(frame(request, b"\x03\x06\0\1\0\2\0\3"))
        await reader.read()

    async with scripted(answer) as link:
        with pytest.raises(LinkError, match="3 words instead of 2"):
            await link.read(ReadWords(1, 3, 0, 2))


def test_registry_makes_links():
    tcp = make_link(BusConfig("b", "gateway"), "gateway", 502)
    assert isinstance(tcp, ModbusTcpLink)
    serial = make_link(BusConfig("b", kind="serial", device="/dev/x"), "", 502)
    assert isinstance(serial, WireLink)
    assert isinstance(make_link(BusConfig("b", "gateway", "tcp"), "gateway", 502), WireLink)
