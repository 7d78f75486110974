"""Meters over real sockets, read by pymodbus, which shares no code with them."""

import asyncio
import struct
from typing import Any

from pymodbus.client import AsyncModbusTcpClient

from simulators.demo.clients import ask_control
from simulators.district import District, build_meters
from simulators.server import Ports
from tests.simulators.conftest import ORIGIN_MS, Serve, Wall

HOUR_MS = 3_600_000


async def _client(ports: Ports, site: str, meter: str) -> AsyncModbusTcpClient:
    client = AsyncModbusTcpClient(ports.host, port=ports.meters[site, meter], timeout=5, retries=0)
    assert await client.connect()
    return client


def _counter(answer: Any, code: str) -> int:
    assert not answer.isError(), answer
    data = b"".join(word.to_bytes(2, "big") for word in answer.registers)
    (value,) = struct.unpack(code, data)
    return int(value)


def test_registers_follow_the_true_signal(serve: Serve, district: District) -> None:
    async def play() -> None:
        truth = {
            (meter.identity.site, meter.identity.id): meter
            for meter in build_meters(district, ORIGIN_MS)
        }["foundry", "em-furnace-1"]._flows.forward
        async with serve() as ports:
            client = await _client(ports, "foundry", "em-furnace-1")
            shown = []
            times = [ORIGIN_MS + 26 * HOUR_MS, ORIGIN_MS + 31 * HOUR_MS + 12_345]
            for time_ms in times:
                request = {"group": "foundry", "time_ms": time_ms}
                await ask_control(ports.host, ports.control, request)
                answer = await client.read_holding_registers(62, count=2, device_id=1)
                shown.append(_counter(answer, ">i"))
            client.close()
        gained = truth.amount_micro(times[1]) - truth.amount_micro(times[0])
        assert gained > 1_000_000_000  # a furnace at work
        assert abs((shown[1] - shown[0]) * 10_000 - gained) < 2 * 10_000

    asyncio.run(play())


def test_a_secondary_meter_shows_the_truth_divided_by_its_ratio(
    serve: Serve, district: District
) -> None:
    async def play() -> None:
        async with serve() as ports:
            client = await _client(ports, "foundry", "em-dust")
            for hour in (30, 40):
                request = {"group": "foundry", "time_ms": ORIGIN_MS + hour * HOUR_MS}
                await ask_control(ports.host, ports.control, request)
                await client.read_holding_registers(0x101E, count=2, device_id=1)
            client.close()
            served = (await ask_control(ports.host, ports.control, {"served": True}))["served"]
        (row,) = [row for row in served if row["meter"] == "em-dust"]
        first, last = row["first"], row["last"]
        assert (row["multiplier"], row["step_micro"], row["channel"]) == (
            80,
            10_000,
            "energy_import",
        )
        assert last["time_ms"] - first["time_ms"] == 10 * HOUR_MS
        shown = (last["served_micro"] - first["served_micro"]) * 80
        true = last["true_micro"] - first["true_micro"]
        assert true > 1_000_000_000
        assert abs(true - shown) <= 2 * 80 * 10_000

    asyncio.run(play())


def test_exceptions_of_the_protocol(serve: Serve) -> None:
    async def play() -> None:
        async with serve() as ports:
            client = await _client(ports, "offices", "em-main")
            beyond = await client.read_holding_registers(0x084C, count=13, device_id=1)
            nowhere = await client.read_holding_registers(5, count=1, device_id=1)
            wrong_function = await client.read_input_registers(0x084C, count=2, device_id=1)
            write = await client.write_register(0x084C, 1, device_id=1)
            other_unit = await client.read_holding_registers(0x084C, count=2, device_id=9)
            good = await client.read_holding_registers(0x084C, count=12, device_id=1)
            client.close()
        codes = [
            answer.exception_code for answer in (beyond, nowhere, wrong_function, write, other_unit)
        ]
        assert codes == [2, 2, 1, 1, 0x0B]
        assert len(good.registers) == 12

    asyncio.run(play())


def test_frames_in_pieces_and_several_at_once(serve: Serve) -> None:
    async def play() -> None:
        async with serve() as ports:
            port = ports.meters["offices", "em-main"]
            reader, writer = await asyncio.open_connection(ports.host, port)
            one = bytes.fromhex("0001 0000 0006 01 03 0834 0002")
            two = bytes.fromhex("0002 0000 0006 01 03 0001 0002")
            for at in range(len(one)):
                writer.write(one[at : at + 1])
                await writer.drain()
            writer.write(two + one)
            head = await asyncio.wait_for(reader.readexactly(13), 5)
            refused = await asyncio.wait_for(reader.readexactly(9), 5)
            again = await asyncio.wait_for(reader.readexactly(13), 5)
            assert head[:9].hex() == "000100000007010304"
            assert refused.hex() == "000200000003018302"
            assert again == head
            writer.write(b"GET / HTTP/1.1\r\n\r\n")  # no Modbus: the meter hangs up
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    asyncio.run(play())


def test_live_registers_are_renewed_once_a_second_and_never_go_back(
    serve: Serve, wall: Wall
) -> None:
    async def play() -> None:
        async with serve() as ports:
            client = await _client(ports, "offices", "em-hvac")

            async def read() -> int:
                answer = await client.read_holding_registers(0x0C83, count=4, device_id=1)
                return _counter(answer, ">q")

            first = await read()
            wall.time_ms += 999
            assert await read() == first
            wall.time_ms += HOUR_MS
            later = await read()
            assert later > first
            wall.time_ms -= HOUR_MS  # the wall clock was set back
            assert await read() == later
            client.close()

    asyncio.run(play())
