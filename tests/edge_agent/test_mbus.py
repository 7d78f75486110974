"""M-Bus: captured telegrams, addressing, telegrams in several parts, and the link suite."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codecs.mbus import (
    ReadMbus,
    RequestData,
    frames,
    has_more,
    is_address,
    matches,
    reset,
    select,
)
from edge_agent.config import MeterConfig
from edge_agent.decoders.mbus import MbusDecoder
from edge_agent.decoders.mbus_records import records
from edge_agent.errors import LinkTimeoutError, MeterError
from edge_agent.links.wire import WireLink
from edge_agent.maps.mbus import MbusMap, RecordChoice
from edge_agent.wires.tcp import TcpWire
from simulators.demo.processes import free_port
from simulators.mbus_meter import MbusStation, Secondary, record
from simulators.wire import SimulatedWire
from tests.edge_agent.benches import PtyBench, Speech, TcpBench
from tests.suites.link_suite import SerialSuite, WireSuite

EN_13757_EXAMPLE = bytes.fromhex(  # EN 13757-3, and the M-Bus documentation 6.4.2: a heat meter
    "68 1F 1F 68 08 02 72 78 56 34 12 24 40 01 07 55 00 00 00 03 13 15 31 00 DA 02 3B 13 01 "
    "8B 60 04 37 18 02 18 16"
)


def test_short_frames():
    assert reset(5, "m").request == bytes.fromhex("10 40 05 45 16")
    assert RequestData("m", 1, fcb=True).request == bytes.fromhex("10 7B 01 7C 16")
    assert RequestData("m", 1, fcb=False).request == bytes.fromhex("10 5B 01 5C 16")


def test_selection_by_secondary_address():
    """The documentation's example, 7.1: number 12345678, any maker, version and medium."""
    assert select(ReadMbus("12345678"), "m").request == bytes.fromhex(
        "68 0B 0B 68 53 FD 52 78 56 34 12 FF FF FF FF B2 16"
    )
    assert ReadMbus("11155185770400FF").pattern == bytes.fromhex("85511511 7704 00 FF")


def test_telegram_of_the_standard_is_read():
    frame = RequestData("m", 2, fcb=True).find(EN_13757_EXAMPLE)
    assert frame == EN_13757_EXAMPLE
    assert not has_more(frame)
    volume, flow, energy = records(frame)
    assert (volume.quantity, volume.unit, volume.value) == ("VOLUME", "m3", Decimal("12.565"))
    assert (flow.function, flow.storage, flow.value) == ("MAXIMUM_VALUE", 5, Decimal("0.113"))
    assert (energy.tariff, energy.subunit, energy.value) == (2, 1, Decimal(218_370))


@pytest.mark.parametrize("at", range(len(EN_13757_EXAMPLE)))
def test_any_single_wrong_byte_is_seen(at):
    broken = bytearray(EN_13757_EXAMPLE)
    broken[at] ^= 0x01
    ask = RequestData("m", 2, fcb=True)
    assert ask.find(bytes(broken)) is None
    assert ask.damage(bytes(broken))


def test_answer_of_another_meter_is_not_taken():
    assert RequestData("m", 3, fcb=True).find(EN_13757_EXAMPLE) is None
    assert RequestData("m", 3, fcb=True).damage(EN_13757_EXAMPLE) == ""
    meant = ReadMbus("12345678").pattern
    other = ReadMbus("12345679").pattern
    assert RequestData("m", 253, fcb=True, pattern=meant).find(EN_13757_EXAMPLE) is not None
    assert RequestData("m", 253, fcb=True, pattern=other).find(EN_13757_EXAMPLE) is None


def test_application_errors_are_refusals():
    def answer(info: int, data: str) -> bytes:
        body = bytes((0x08, 2, info)) + bytes.fromhex(data)
        return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))

    with pytest.raises(MeterError, match="busy"):
        RequestData("m", 2, fcb=True).find(answer(0x70, "08"))
    with pytest.raises(MeterError, match="CI 73"):
        RequestData("m", 2, fcb=True).find(answer(0x73, "00" * 16))


def test_addresses():
    assert all(
        is_address(text) for text in ("0", "250", "12345678", "1234567F", "00000001FFFF0104")
    )
    assert not any(
        is_address(text) for text in ("", "251", "-1", "1234567", "1234567G", "1234567A")
    )
    assert matches(bytes.fromhex("78563412FFFFFFFF"), bytes.fromhex("7856341224400107"))
    assert matches(bytes.fromhex("7856F4F2FFFF01FF"), bytes.fromhex("7856341224400107"))
    assert not matches(bytes.fromhex("7856F4F3FFFF01FF"), bytes.fromhex("7856341224400107"))
    assert not matches(bytes.fromhex("78563412FFFF02FF"), bytes.fromhex("7856341224400107"))


@given(st.binary(max_size=300))
def test_noise_never_raises_and_never_hides_a_frame(noise):
    list(frames(noise))
    quiet = bytes(byte for byte in noise if byte not in (0x10, 0x68))
    assert EN_13757_EXAMPLE in frames(quiet + EN_13757_EXAMPLE + noise)


def choice(channel="heat", quantity="energy", *, cumulative=True, **more):
    place = {"storage": 0, "tariff": 0, "subunit": 0, "nth": 0, "extended": False} | more
    step = Decimal("0.000001") if cumulative else None
    return RecordChoice(
        channel=channel, type="decimal", scale=Decimal(1), cumulative=cumulative, step=step,
        quantity=quantity, **place,
    )  # fmt: skip


def decode(data: bytes, *choices: RecordChoice):
    device = MbusMap(
        model="m", maker="m", product="m", carrier="heat", source="m", side="primary",
        protocol="mbus", registers=choices,
    )  # fmt: skip
    body = bytes((0x08, 1, 0x72)) + bytes.fromhex("7856341224400107 55000000") + data
    frame = bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))
    drops: Counter[str] = Counter()
    readings = MbusDecoder(MeterConfig("m1", "m"), device).decode(0, (frame,), 1, drops)
    return {reading.channel: reading.value for reading in readings}, drops


def test_the_unit_and_the_power_of_ten_are_the_records_own():
    for vif, gj_micro in (("06", 360_000), ("07", 3_600_000), ("0E", 100_000)):
        assert decode(record(vif, 100), choice()) == ({"heat": gj_micro}, Counter())
    assert decode(record("2B", 5000), choice("heat_flow", "power", cumulative=False))[0] == {
        "heat_flow": 0.018
    }
    assert decode(record("14", 12_345), choice("volume", "volume"))[0] == {"volume": 123_450_000}


def test_only_the_record_that_is_meant_is_taken():
    data = (
        record("06", 7, dif=0x14)  # the largest so far
        + record("06", 8, dif=0x44)  # storage 1: a past day
        + record("06", 9, dife="10")  # tariff 1
        + record("06", 6, dif=0x34)  # while in error
        + record("863C", 4)  # counts backwards
        + record("06", 5)
        + record("06", 3)
    )
    assert decode(data, choice())[0] == {"heat": 18_000}
    assert decode(data, choice(nth=1))[0] == {"heat": 10_800}
    assert decode(data, choice(tariff=1))[0] == {"heat": 32_400}
    assert decode(data, choice(storage=1))[0] == {"heat": 28_800}
    assert decode(data, choice(extended=True))[0] == {"heat": 14_400}
    assert decode(data, choice(nth=2)) == ({}, Counter(no_value=1))
    assert decode(data, choice("volume", "energy")) == ({}, Counter(unit=1))


@pytest.mark.parametrize(
    ("records_", "more"),
    [
        ("0C 14 00 00 00 00", False),
        ("0C 14 00 00 00 00 1F", True),
        ("0C 14 1F 1F 1F 1F", False),
        ("0C 14 00 00 00 00 0F 00 1F", False),  # the maker's own data end with 1F
        ("2F 2F 84 40 14 00 00 00 00 2F 1F", True),
        ("0D 78 03 41 42 1F 1F", True),  # a text of three letters
        ("0D 78 03 41 42 1F", False),
        ("02 7C 03 44 49 1F 12 34 1F", True),  # a unit in words
        ("02 FC 03 44 49 1F 74 12 34 1F", True),
        ("8C", False),
    ],
)
def test_more_telegrams_follow_only_where_a_record_says_so(records_, more):
    frame = bytes(19) + bytes.fromhex(records_) + bytes(2)
    assert has_more(frame) is more


def test_telegram_that_cannot_be_read_is_counted():
    assert decode(b"\x04", choice())[0] == {}
    assert decode(b"\x84\x84", choice())[1].total() > 0


class Mbus(Speech):
    """The number is the energy of a meter when it was asked."""

    refusal = ""
    exception_4 = "end of record"

    def __init__(self) -> None:
        self.places = {1: 0, 2: 0}
        self.stations = (self.station(1), self.station(2))

    def station(self, unit: int) -> MbusStation:
        def telegrams() -> list[bytes]:
            return [record("03", unit * 1000 + self.places[unit])]

        return MbusStation(unit, Secondary(f"{unit:08d}", "NEN", 1, 2), telegrams)

    def question(self, unit: int, place: int) -> ReadMbus:
        self.places[unit] = place
        return ReadMbus(str(unit))

    def number(self, answer: Sequence[bytes]) -> int:
        return int(records(answer[0])[0].value)

    def foreign_frame(self) -> bytes:
        body = bytes((0x08, 9, 0x72)) + bytes(12) + record("03", 99)
        return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))


class MbusBySecondary(Mbus):
    def question(self, unit: int, place: int) -> ReadMbus:
        self.places[unit] = place
        return ReadMbus(f"{unit:08d}")


class TestMbusOverTcp(WireSuite):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[TcpBench]:
        bench = TcpBench(Mbus(), free_port())
        await bench.start()
        yield bench
        await bench.link.close()
        await bench.stop()


class TestMbusSerialBySecondaryAddress(SerialSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[PtyBench]:
        bench = PtyBench(MbusBySecondary(), tmp_path / "mbus")
        await bench.start()
        yield bench
        await bench.link.close()
        await bench.stop()


@pytest.fixture
async def two() -> AsyncIterator[tuple[WireLink, MbusStation, list[int]]]:
    """A meter with three telegrams, each readout counted, and another one."""
    readouts: list[int] = []

    def telegrams() -> list[bytes]:
        readouts.append(1)
        return [record("03", 100 * part + len(readouts)) for part in (1, 2, 3)]

    first = MbusStation(7, Secondary("20260001", "NEN", 1, 4), telegrams)
    second = MbusStation(8, Secondary("20260002", "NEN", 1, 7), lambda: [record("03", 8)])
    wire = SimulatedWire([first, second])
    link = WireLink(TcpWire("127.0.0.1", await wire.serve(), 1), 0.3)
    yield link, first, readouts
    await link.close()
    await wire.stop()


def values(telegrams: Sequence[bytes]) -> list[int]:
    return [int(record.value) for frame in telegrams for record in records(frame)]


@pytest.mark.parametrize(
    "address",
    ["7", "20260001", "2026000FAE38FF04"],  # maker NEN = 38AE, low byte first
)
async def test_all_telegrams_of_a_meter_each_time_from_the_first(two, address):
    link, _, readouts = two
    assert values(await link.read(ReadMbus(address))) == [101, 201, 301]
    assert values(await link.read(ReadMbus("20260002"))) == [8]
    assert values(await link.read(ReadMbus(address))) == [102, 202, 302]
    assert len(readouts) == 2


async def test_nobody_has_the_secondary_address(two):
    link, _, _ = two
    with pytest.raises(LinkTimeoutError, match="meter 99999999"):
        await link.read(ReadMbus("99999999"))
    assert values(await link.read(ReadMbus("8"))) == [8]
