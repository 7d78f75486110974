"""DL/T 645: the link suite over TCP and a pseudo-terminal, and what only this protocol has."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge_agent.codecs.bcd import from_bcd
from edge_agent.codecs.dlt645 import ANY, ReadAddress, ReadData, encode
from edge_agent.errors import MeterError
from edge_agent.links.wire import WireLink
from edge_agent.wires.tcp import TcpWire
from simulators.demo.processes import free_port
from simulators.dlt645_meter import Dlt645Station
from simulators.wire import SimulatedWire
from tests.edge_agent.benches import PtyBench, Speech, TcpBench
from tests.suites.link_suite import SerialSuite, WireSuite


def place_of(unit: int):
    """Place a is under identifier 000100aa."""

    def image(id_: str) -> bytes | None:
        place = int(id_[6:], 16)
        if not id_.startswith("000100") or place > 49:
            return None
        return bytes.fromhex(f"{unit * 1000 + place:08d}")[::-1]

    return image


class Dlt645(Speech):
    refusal = "no such data"
    exception_4 = "not authorised"

    def __init__(self) -> None:
        self.stations = (
            Dlt645Station("000000000001", place_of(1)),
            Dlt645Station("000000000002", place_of(2)),
        )

    def question(self, unit: int, place: int) -> ReadData:
        return ReadData(f"{unit:012d}", f"000100{place:02X}", 4)

    def number(self, answer: bytes) -> int:
        number = from_bcd(answer)
        assert number is not None
        return number

    def foreign_frame(self) -> bytes:
        return encode("000000000009", 0x91, bytes.fromhex("00000100 99999999"))


class TestDlt645OverTcp(WireSuite):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[TcpBench]:
        bench = TcpBench(Dlt645(), free_port())
        await bench.start()
        yield bench
        await bench.link.close()
        await bench.stop()


class TestDlt645Serial(SerialSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[PtyBench]:
        bench = PtyBench(Dlt645(), tmp_path / "rs485")
        await bench.start()
        yield bench
        await bench.link.close()
        await bench.stop()


@pytest.fixture
async def only() -> AsyncIterator[tuple[WireLink, Dlt645Station]]:
    """A wire with one meter that sends at most ten bytes of data a frame."""

    def image(id_: str) -> bytes | None:
        return {"0001FF00": bytes(range(45)), "901F": bytes(range(25))}.get(id_)

    station = Dlt645Station("200512345678", image, most_data=10)
    wire = SimulatedWire([station])
    link = WireLink(TcpWire("127.0.0.1", await wire.serve(), 1), 1)
    yield link, station
    await link.close()
    await wire.stop()


async def test_long_answers_are_put_together_from_their_frames(only):
    link, _ = only
    assert await link.read(ReadData("200512345678", "0001FF00", 45)) == bytes(range(45))
    assert await link.read(ReadData("200512345678", "901F", 25)) == bytes(range(25))


async def test_address_of_an_only_meter(only):
    link, _ = only
    assert await link.read(ReadAddress()) == "200512345678"
    assert await link.read(ReadData(ANY, "0001FF00", 45)) == bytes(range(45))


async def test_a_meter_that_knows_no_such_data_says_so(only):
    link, _ = only
    with pytest.raises(MeterError, match="meter 200512345678 data 00FF0000: no such data"):
        await link.read(ReadData("200512345678", "00FF0000", 4))
