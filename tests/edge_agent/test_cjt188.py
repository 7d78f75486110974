"""CJ/T 188: published and captured frames, units and signs, and the link suite."""

from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codecs.bcd import from_bcd
from edge_agent.codecs.cjt188 import ANY, UNITS, Frame, ReadMeter, encode, frames
from edge_agent.config import MeterConfig
from edge_agent.decoders.cjt188 import Cjt188Decoder
from edge_agent.errors import MeterError
from edge_agent.maps.cjt188 import Cjt188Map, Field
from simulators.cjt188_meter import Cjt188Station
from simulators.demo.processes import free_port
from tests.edge_agent.benches import PtyBench, Speech, TcpBench
from tests.suites.link_suite import SerialSuite, WireSuite

WATER = ReadMeter(0x10, "78330011223344", "1F90")
WATER_ANSWER = bytes.fromhex(
    "FE FE FE FE 68 10 44 33 22 11 00 33 78 81 16 1F 90 00 00 77 66 55 2C 00 77 66 55 2C "
    "31 01 22 11 05 15 20 21 84 13 16"
)
"""As a meter maker's page shows it, but for the checksum: it prints 08, and the sum is 13."""


def test_published_request():
    assert WATER.request == bytes.fromhex(
        "FE FE FE FE 68 10 44 33 22 11 00 33 78 01 03 1F 90 00 80 16"
    )


def test_published_answer():
    data = WATER.find(WATER_ANSWER)
    assert data is not None
    assert (from_bcd(data[:4]), UNITS[data[4]]) == (55_667_700, ("m3", Decimal(1)))


def test_either_order_of_the_identifier_is_taken_in_an_answer():
    asked_2004 = ReadMeter(0x10, "78330011223344", "901F")
    assert asked_2004.request != WATER.request
    assert asked_2004.find(WATER_ANSWER) == WATER.find(WATER_ANSWER) is not None
    assert ReadMeter(0x10, ANY, "1F90").find(WATER_ANSWER) is not None
    assert ReadMeter(0x10, "78330011223344", "1F05").find(WATER_ANSWER) is None


def test_kind_and_address_must_be_right():
    assert ReadMeter(0x10, "78330011223345", "1F90").find(WATER_ANSWER) is None
    assert ReadMeter(0x30, "78330011223344", "1F90").find(WATER_ANSWER) is None
    assert ReadMeter(0x11, "78330011223344", "1F90").find(WATER_ANSWER) is not None  # both water
    assert WATER.find(WATER.request) is None
    assert WATER.damage(WATER.request) == ""


@pytest.mark.parametrize("at", range(4, len(WATER_ANSWER)))
def test_any_single_wrong_byte_is_seen(at):
    broken = bytearray(WATER_ANSWER)
    broken[at] ^= 0x01
    assert WATER.find(bytes(broken)) is None
    assert WATER.damage(bytes(broken)) or at == 4  # without its 68 it is just noise


def test_abnormal_answer_is_a_refusal():
    with pytest.raises(MeterError, match="status 00 80"):
        WATER.find(encode(0x10, "78330011223344", 0xC1, b"\x00\x00\x80"))


QUIET = st.binary(max_size=20).filter(lambda noise: 0x68 not in noise)


@given(
    st.integers(0, 255),
    st.from_regex(r"[0-9]{14}", fullmatch=True),
    st.integers(0, 255),
    st.binary(max_size=80),
    QUIET,
)
def test_any_frame_comes_back(kind, address, control, data, noise):
    found = list(frames(noise + encode(kind, address, control, data) + noise))
    assert found == [Frame(kind, address, control, data)]


def decode(field: Field, data: str):
    device = Cjt188Map(
        model="m", maker="m", product="m", carrier="heat", source="m", side="primary",
        protocol="cjt188", registers=(field,), kind=0x20, data_id="901F",
    )  # fmt: skip
    drops: Counter[str] = Counter()
    meter = MeterConfig("m1", "m", address="A" * 14)
    readings = Cjt188Decoder(meter, device).decode(0, bytes.fromhex(data), 1, drops)
    return (readings[0].value if readings else None), drops


def field(channel="heat", unit="after", *, cumulative=True, signed=False, scale="0.01", length=4):
    return Field(
        channel=channel, type="bcd", scale=Decimal(scale), cumulative=cumulative, offset=0,
        length=length, signed=signed, unit=unit, step=Decimal("0.000001") if cumulative else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "gigajoule_micro"),
    [
        ("00 00 01 00 11", 100_000_000),  # 100.00 GJ
        ("00 00 01 00 05", 360_000),  # 100.00 kWh = 0.36 GJ
        ("00 00 01 00 06", 3_600_000),  # in tens of kWh
        ("00 00 01 00 0A", 36_000_000_000),  # in hundreds of MWh
        ("00 00 01 00 0E", 100_000),  # 100.00 MJ = 0.1 GJ
        ("00 00 01 00 01", 0),  # 100 J is below a micro-GJ
    ],
)
def test_heat_in_any_unit_is_the_same_heat(data, gigajoule_micro):
    assert decode(field(), data) == (gigajoule_micro, Counter())


def test_unit_byte_before_the_number():
    assert decode(field(unit="before"), "05 00 00 01 00") == (360_000, Counter())


def test_what_is_no_number_is_counted_never_a_value():
    assert decode(field(), "FF FF FF FF 05") == (None, Counter(no_value=1))
    assert decode(field(), "00 00 00 80 05") == (2_880_000_000, Counter())  # 800 000 kWh
    assert decode(field(signed=True), "00 00 00 80 05") == (0, Counter())  # minus nothing
    assert decode(field(signed=True), "01 00 00 80 05") == (None, Counter(range=1))
    assert decode(field(), "00 01 00") == (None, Counter(no_value=1))  # cut short
    assert decode(field(), "00 01 00 00") == (None, Counter(unit=1))  # the unit is missing
    assert decode(field(), "00 01 00 00 2C") == (None, Counter(unit=1))  # m3 is no heat
    assert decode(field(), "00 01 00 00 7F") == (None, Counter(unit=1))


def test_flow_and_power_may_be_negative():
    flow = field("flow", cumulative=False, signed=True, scale="0.0001")
    assert decode(flow, "00 50 00 80 35") == (-0.5, Counter())
    assert decode(flow, "00 50 00 00 32") == (0.0005, Counter())  # L/h
    power = field("heat_flow", cumulative=False, scale="0.01")
    assert decode(power, "00 01 00 00 17") == (0.0036, Counter())  # 1.00 kW


class Cjt188(Speech):
    """Place a is the identifier 90aa."""

    refusal = "cannot answer"
    exception_4 = "status 04 80"

    def __init__(self) -> None:
        self.stations = (self.station(1), self.station(2))

    def station(self, unit: int) -> Cjt188Station:
        class Places(Cjt188Station):
            def _answer(self, control, content):
                place = content[1]
                self._data_id = content[:2] if place < 50 else b""
                self._image = lambda: bytes.fromhex(f"{unit * 1000 + place:08d}")[::-1]
                return super()._answer(control, content)

        return Places(0x10, f"{unit:014d}", b"", lambda: None)

    def question(self, unit: int, place: int) -> ReadMeter:
        return ReadMeter(0x10, f"{unit:014d}", f"90{place:02X}")

    def number(self, answer: bytes) -> int:
        number = from_bcd(answer)
        assert number is not None
        return number

    def foreign_frame(self) -> bytes:
        return encode(0x10, f"{9:014d}", 0x81, b"\x90\x00\x00\x00\x00\x00\x99")


class TestCjt188OverTcp(WireSuite):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[TcpBench]:
        bench = TcpBench(Cjt188(), free_port())
        await bench.start()
        yield bench
        await bench.link.close()
        await bench.stop()


class TestCjt188Serial(SerialSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[PtyBench]:
        bench = PtyBench(Cjt188(), tmp_path / "rs485")
        await bench.start()
        yield bench
        await bench.link.close()
        await bench.stop()
