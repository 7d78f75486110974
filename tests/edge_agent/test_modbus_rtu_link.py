"""Modbus RTU: the link suite over TCP and a pseudo-terminal, known frames, the pace of a wire."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codecs.modbus import ReadWords, crc16, with_crc
from edge_agent.errors import LinkError, LinkTimeoutError, MeterError
from edge_agent.links.dialogue import Dialogue
from edge_agent.links.wire import WireLink
from edge_agent.wires.base import silence_s
from edge_agent.wires.serial import SerialSettings, SerialWire
from simulators.demo.processes import free_port
from simulators.meter import ILLEGAL_ADDRESS, IllegalRequestError
from simulators.rtu_meter import RtuStation
from simulators.wire import SimulatedWire
from tests.edge_agent.benches import PtyBench, Speech, TcpBench
from tests.suites.link_suite import SerialSuite, WireSuite


def memory(unit: int):
    def words(function: int, address: int, count: int) -> bytes:
        if address + count > 50:
            raise IllegalRequestError(ILLEGAL_ADDRESS)
        return struct.pack(f">{count}H", *(unit * 1000 + address + i for i in range(count)))

    return words


class Rtu(Speech):
    refusal = "illegal address"
    exception_4 = "device failure"

    def __init__(self) -> None:
        self.stations = (RtuStation(1, memory(1)), RtuStation(2, memory(2)))

    def question(self, unit: int, place: int) -> ReadWords:
        return ReadWords(unit, 3, place, 2 if place < 49 else 1)

    def number(self, answer: Sequence[int]) -> int:
        return answer[0]

    def foreign_frame(self) -> bytes:
        return with_crc(bytes.fromhex("09 03 04 00 01 00 02"))


class TestRtuOverTcp(WireSuite):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[TcpBench]:
        bench = TcpBench(Rtu(), free_port())
        await bench.start()
        yield bench
        await bench.link.close()
        await bench.stop()


class TestRtuSerial(SerialSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[PtyBench]:
        bench = PtyBench(Rtu(), tmp_path / "rs485")
        await bench.start()
        yield bench
        await bench.link.close()
        await bench.stop()


def test_frames_of_the_specification():
    """MODBUS over serial line 1.02, 6.2.2: CRC of 02 07 is 1241; and a common example request."""
    assert with_crc(bytes.fromhex("0207")) == bytes.fromhex("0207 4112")
    assert ReadWords(1, 3, 0, 10).request == bytes.fromhex("0103 0000 000A C5CD")
    assert crc16(b"123456789") == 0x4B37  # the check value of CRC-16/MODBUS


def test_answers_are_found_and_told_apart():
    ask = ReadWords(1, 3, 0, 2)
    answer = with_crc(bytes.fromhex("0103 04 0001 0203"))
    assert ask.find(answer) == (1, 0x0203)
    assert ask.find(answer[:-1]) is None
    assert ask.find(ask.request) is None
    assert ask.find(ask.request + answer) == (1, 0x0203)
    assert ask.find(with_crc(bytes.fromhex("0203 04 0001 0203"))) is None
    assert ask.find(with_crc(bytes.fromhex("0104 04 0001 0203"))) is None
    assert ask.find(with_crc(bytes.fromhex("0103 02 0001"))) is None
    assert ask.damage(ask.request) == ""
    assert ask.damage(answer[:-1]) != ""
    with pytest.raises(MeterError, match="illegal address"):
        ask.find(with_crc(bytes.fromhex("0183 02")))
    with pytest.raises(LinkError, match="busy"):
        ask.find(with_crc(bytes.fromhex("0183 06")))


@given(st.binary(max_size=60))
def test_noise_is_never_an_answer(noise):
    try:
        assert ReadWords(1, 3, 0, 2).find(noise) is None
    except (MeterError, LinkError):
        raise AssertionError(noise.hex()) from None


def test_silence_between_frames_is_three_and_a_half_characters():
    """The serial line specification, 2.5.1.1: 11 bits a character, 1.75 ms above 19 200 bit/s."""
    assert silence_s(9600) == pytest.approx(0.004010, abs=1e-6)
    assert silence_s(2400) == pytest.approx(0.016042, abs=1e-6)
    assert silence_s(19_200) == pytest.approx(0.002005, abs=1e-6)
    assert silence_s(38_400) == silence_s(115_200) == 0.00175


async def test_requests_keep_their_distance_and_slow_answers_have_their_time(tmp_path):
    """At 2400 bit/s 40 words take 0.43 s: longer than the timeout, which is for the first byte."""
    station = RtuStation(1, memory(1))
    wire = SimulatedWire([station], baud=2400)
    path = tmp_path / "rs485"
    wire.plug(path)
    port = SerialWire(str(path), SerialSettings(2400, "even"))
    loop = asyncio.get_running_loop()
    sent: list[float] = []
    heard: list[float] = []
    send, receive = port.send, port.receive

    async def noted_send(data: bytes) -> None:
        sent.append(loop.time())
        await send(data)

    async def noted_receive(deadline: float) -> bytes:
        data = await receive(deadline)
        if data:
            heard.append(loop.time())
        return data

    port.send, port.receive = noted_send, noted_receive  # type: ignore[method-assign]
    link = WireLink(port, 0.3)
    try:
        for _ in range(2):
            answer = await link.read(ReadWords(1, 3, 0, 40))
            assert list(answer) == list(range(1000, 1040))
        assert heard[-1] - sent[-1] >= 85 * 11 / 2400  # the simulated wire has its pace
        gap_s = sent[1] - max(at for at in heard if at < sent[1])
        assert gap_s >= silence_s(2400)
        station.faults.delay_s = 10
        began = loop.time()
        with pytest.raises(LinkTimeoutError):
            await link.read(ReadWords(1, 3, 0, 1))
        assert loop.time() - began >= 0.3 + 8 * 11 / 2400
    finally:
        await link.close()
        await wire.stop()


async def test_port_that_is_in_use_says_so(tmp_path):
    wire = SimulatedWire([RtuStation(1, memory(1))])
    path = tmp_path / "rs485"
    wire.plug(path)
    first = SerialWire(str(path), SerialSettings())
    second = SerialWire(str(path), SerialSettings())
    try:
        await first.open()
        with pytest.raises(LinkError, match="another process"):
            await second.open()
        first.close()
        await second.open()
        assert second.is_open
    finally:
        first.close()
        second.close()
        await wire.stop()


async def test_a_file_that_is_no_port_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(LinkError, match="cannot open"):
        await SerialWire(str(path), SerialSettings()).open()


class Babbler:
    """A wire on which, from the first request on, there is always something to hear."""

    where, baud, drops_late, is_open = "babbler", 0, False, True
    asked = False

    async def open(self) -> None: ...

    async def send(self, data: bytes) -> None:
        self.asked = True

    async def receive(self, deadline: float) -> bytes:
        await asyncio.sleep(0)
        return b"U" * 100 if self.asked else b""

    def close(self) -> None: ...


async def test_a_wire_that_never_falls_silent_ends_in_an_error_and_fills_no_memory():
    dialogue = Dialogue(Babbler(), 0.1)
    async with asyncio.timeout(5):
        for says in ("did not answer", "never quiet"):
            with pytest.raises(LinkError, match=says):
                await dialogue.ask(ReadWords(1, 3, 0, 1), 0.001)
