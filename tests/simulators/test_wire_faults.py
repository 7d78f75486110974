"""Faults of the wire on Modbus TCP, over a real socket to the edge's link; and what is drawn."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge_agent.codecs.modbus import ReadWords
from edge_agent.errors import LinkError, LinkTimeoutError, MeterError
from edge_agent.links.modbus import ModbusTcpLink
from simulators.meter import SimulatedMeter
from simulators.modbus_meter import serve_modbus
from simulators.named_faults import FAULTS, heal, spoil
from simulators.server import port_of
from simulators.wire import Faults, faulty
from tests.edge_agent.field import ORIGIN_MS, simulated

NOW_MS = ORIGIN_MS + 3_600_000
TIMEOUT_S = 0.2


@asynccontextmanager
async def served(model: str = "acrel-adl400") -> AsyncIterator[tuple[SimulatedMeter, int]]:
    meter = simulated(model)
    server = await serve_modbus(meter, lambda: NOW_MS)
    try:
        yield meter, port_of(server)
    finally:
        server.close()


def question(meter: SimulatedMeter) -> ReadWords:
    register = meter.device.registers[0]
    return ReadWords(meter.identity.unit, meter.device.function, register.address, register.words)


def right(meter: SimulatedMeter) -> list[int]:
    ask = question(meter)
    data = meter.read(ask.function, ask.address, ask.count, NOW_MS)
    return [word for (word,) in struct.iter_unpack(">H", data)]


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("silent", LinkTimeoutError, "did not answer"),
        ("late", LinkTimeoutError, "did not answer"),
        ("short", LinkTimeoutError, "did not answer"),
        ("garbled", LinkError, "unit 1"),
        ("noise", LinkError, "unit 1"),
        ("exception", MeterError, "device failure"),
        ("foreign", None, ""),
    ],
)
async def test_each_fault_on_modbus_tcp_and_the_meter_well_again(kind, error, says):
    async with served() as (meter, port):
        link = ModbusTcpLink("127.0.0.1", port, TIMEOUT_S)
        try:
            spoil(meter, kind, NOW_MS)
            if kind == "late":
                meter.faults.delay_s = TIMEOUT_S * 1.5
            if error is None:
                assert list(await link.read(question(meter))) == right(meter)
            else:
                with pytest.raises(error, match=says):
                    await link.read(question(meter))
            heal(meter, NOW_MS)
            assert list(await link.read(question(meter))) == right(meter)
        finally:
            await link.close()


async def test_what_is_on_the_wire():
    """Each fault's bytes, and answers that come in the order of their delays."""
    async with served() as (meter, port):
        ask = question(meter)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        def send(transaction: int) -> None:
            head = struct.pack(">HHHB", transaction, 0, 6, ask.device)
            writer.write(head + struct.pack(">BHH", ask.function, ask.address, ask.count))

        async def frame() -> bytes:
            async with asyncio.timeout(5):
                head = await reader.readexactly(6)
                return head + await reader.readexactly(int.from_bytes(head[4:], "big"))

        send(1)
        whole = await frame()
        spoil(meter, "exception", NOW_MS)
        send(1)
        assert await frame() == bytes.fromhex("0001 0000 0003 01 83 04")
        heal(meter, NOW_MS)
        spoil(meter, "foreign", NOW_MS)
        send(1)
        foreign = await frame()
        assert (foreign[:2], foreign[6]) == (b"\xff\x01", 0xFE)
        assert await frame() == whole
        heal(meter, NOW_MS)
        spoil(meter, "garbled", NOW_MS)
        send(1)
        assert [a ^ b for a, b in zip(await frame(), whole, strict=True)].index(0xFF) == 8
        heal(meter, NOW_MS)
        loop = asyncio.get_running_loop()
        spoil(meter, "slow", NOW_MS)
        began = loop.time()
        send(2)
        assert await frame() == b"\0\2" + whole[2:]
        assert 0.1 <= loop.time() - began < 2
        heal(meter, NOW_MS)
        assert meter.faults == Faults(seed=meter.faults.seed, answers=meter.faults.answers)
        writer.close()


class Plain:
    """A speaker whose answers say what was done to them."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    def spoil(self, answer: bytes) -> bytes:
        return b"spoiled " + answer

    def refuse(self, answer: bytes, code: int) -> bytes:
        return b"refused"

    def foreign(self, answer: bytes) -> bytes:
        return b"foreign "


def test_a_share_of_the_answers_and_a_spread_of_the_delay_follow_the_seed():
    def play(seed: int) -> list[tuple[bytes, float]]:
        faults = Faults(broken_checksum=True, delay_s=0.1, spread_s=0.4, share_ppm=30_000)
        faults.seed = seed
        plain = Plain(faults)
        return [faulty(plain, b"right") for _ in range(10_000)]

    one, again, other = play(5), play(5), play(6)
    assert one == again
    assert [answer for answer, _ in one] != [answer for answer, _ in other]
    struck = [late_s for answer, late_s in one if answer == b"spoiled right"]
    assert 250 < len(struck) < 350  # 3 %
    assert {(answer, late_s) for answer, late_s in one if late_s == 0} == {(b"right", 0.0)}
    assert 0.1 <= min(struck) < 0.12
    assert 0.48 < max(struck) <= 0.5
    assert len(set(struck)) > 200


def test_faults_come_together_and_kinds_are_checked():
    meter = simulated("acrel-adl400")
    spoil(meter, "exception", NOW_MS)
    spoil(meter, "foreign:50", NOW_MS)
    assert (meter.faults.exception, meter.faults.foreign) == (4, True)
    assert meter.faults.share_ppm == 500_000
    for kind in ("asleep", "garbled:", "garbled:0", "garbled:101", "garbled:x", "stuck:3", ""):
        with pytest.raises(ValueError, match="is none of silent, garbled"):
            spoil(meter, kind, NOW_MS)
    assert not meter.faults.broken_checksum
    assert {"silent", "late", "garbled", "exception", "foreign"} <= set(FAULTS)
