"""OPC UA: the link suite and exact numbers on a real server in this process."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua
from asyncua.common.callback import CallbackType
from asyncua.ua.status_codes import StatusCodes

from contract.reading import Reading
from edge_agent.codecs.opcua import ReadNodes
from edge_agent.config import MeterConfig
from edge_agent.decoders.registry import make_decoder
from edge_agent.errors import ConfigError, LinkError, MeterError
from edge_agent.links.opcua import OpcUaLink
from edge_agent.registers import load_device_maps
from simulators.demo.processes import free_port
from tests.suites.link_suite import TIMEOUT_S, LinkSuite

MAP = """
model = "boiler-house"
maker = "own"
product = "boiler house"
carrier = "heat"
source = "the plant's own engineering"
side = "primary"
protocol = "opcua"
[[register]]
channel = "heat"
node = "ns=2;s={address}.Heat"
step = 0.001
[[register]]
channel = "temperature_supply"
node = "ns=2;s={address}.Supply"
[[register]]
channel = "pressure"
node = "ns=2;s={address}.Pressure"
scale = 100
"""
NODES = ("ns=2;s=HX1.Heat", "ns=2;s=HX1.Supply", "ns=2;s=HX1.Pressure")


class ServerBench:
    """A server with the numbers of units 1 and 2, each of which may be slow."""

    refusal = "BadNodeIdUnknown"

    def __init__(self) -> None:
        self.port = free_port()
        self.link = OpcUaLink("127.0.0.1", self.port, TIMEOUT_S)
        self.delays = {1: 0.0, 2: 0.0}
        self.server: Server | None = None

    def question(self, unit: int, place: int) -> ReadNodes:
        return ReadNodes(f"m{unit}", (f"ns=2;i={unit * 1000 + place}",))

    def number(self, answer: Any) -> int:
        return int(answer[0])

    def delay(self, unit: int, seconds: float) -> None:
        self.delays[unit] = seconds

    async def before_read(self, event: Any, _: object) -> None:
        node = event.request_params.NodesToRead[0].NodeId
        if event.is_external and node.NamespaceIndex == 2:
            await asyncio.sleep(self.delays[node.Identifier // 1000])

    async def start(self) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}")
        await server.register_namespace("urn:plant")
        for number in (unit * 1000 + place for unit in (1, 2) for place in range(50)):
            place = ua.NodeId(ua.Int32(number), ua.Int16(2))
            await server.nodes.objects.add_variable(place, f"v{number}", float(number))
        server.subscribe_server_callback(CallbackType.PreRead, self.before_read)
        await server.start()
        self.server = server

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop()
            self.server = None


@pytest.fixture
async def bench() -> AsyncIterator[ServerBench]:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    bench = ServerBench()
    await bench.start()
    yield bench
    await bench.link.close()
    await bench.stop()


@pytest.mark.slow  # each server loads the whole standard address space first
class TestOpcUaLink(LinkSuite):
    pass


class Plant:
    """A server with the nodes of one heat exchanger; Pressure is of bad quality."""

    def __init__(self) -> None:
        self.port = free_port()
        self.server: Server | None = None

    async def start(self) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}")
        await server.register_namespace("urn:plant")
        folder = await server.nodes.objects.add_object(2, "HX1")
        for name, value in (("Heat", 12345.678), ("Supply", 71.3), ("Pressure", 4.2)):
            place = ua.NodeId.from_string(f"ns=2;s=HX1.{name}")
            node = await folder.add_variable(place, name, value)
            if name == "Pressure":
                bad = ua.StatusCode(ua.UInt32(StatusCodes.BadSensorFailure))
                await node.write_value(ua.DataValue(ua.Variant(value), StatusCode=bad))
        await server.start()
        self.server = server

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop()
            self.server = None


@pytest.fixture
async def plant() -> AsyncIterator[Plant]:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    plant = Plant()
    await plant.start()
    yield plant
    await plant.stop()


def closed(link: OpcUaLink) -> bool:
    return not link.is_open


async def test_values_are_read_bad_ones_left_out_and_a_lost_server_found_again(plant):
    link = OpcUaLink("127.0.0.1", plant.port, 2)
    try:
        assert await link.read(ReadNodes("m1", NODES)) == (12345.678, 71.3, None)
        assert not closed(link)
        with pytest.raises(MeterError, match="BadNodeIdUnknown"):
            await link.read(ReadNodes("m1", ("ns=2;s=nothing",)))
        assert not closed(link)
        await plant.stop()
        async with asyncio.timeout(20):
            with pytest.raises(LinkError):
                await link.read(ReadNodes("m1", NODES))
            with pytest.raises(LinkError, match="cannot connect"):
                await link.open()
        assert closed(link)
        await plant.start()
        assert (await link.read(ReadNodes("m1", NODES)))[1] == 71.3
    finally:
        await link.close()
    assert closed(link)


def decoded(tmp_path: Path, answer: tuple[object, ...]) -> tuple[list[Reading], Counter[str]]:
    (tmp_path / "boiler-house.toml").write_text(MAP)
    device = load_device_maps(["boiler-house"], tmp_path)["boiler-house"]
    decoder = make_decoder(MeterConfig("m1", "boiler-house", address="HX1"), device)
    assert decoder.questions == (ReadNodes("m1", NODES),)
    drops: Counter[str] = Counter()
    return decoder.decode(0, answer, 5, drops), drops


def test_readings_are_exact(tmp_path):
    readings, drops = decoded(tmp_path, (12345.678, 71, None))
    assert readings == [
        Reading("m1", "heat", 5, 12_345_678_000), Reading("m1", "temperature_supply", 5, 71.0),
    ]  # fmt: skip
    assert drops == Counter(no_value=1)


@pytest.mark.parametrize("value", [True, "5", float("nan"), float("inf"), 1e300, None, b"", [1]])
def test_what_is_no_number_is_counted(tmp_path, value):
    readings, drops = decoded(tmp_path, (value, 1.0, 4.2))
    assert [reading.value for reading in readings] == [1.0, 420.0]
    assert drops.total() == 1


def test_maps_and_names_are_checked(tmp_path):
    path = tmp_path / "boiler-house.toml"
    path.write_text(MAP.replace("ns=2;s={address}.Heat", "Heat"))
    with pytest.raises(ConfigError, match="'Heat' is not like ns=2"):
        load_device_maps(["boiler-house"], tmp_path)
    path.write_text(MAP)
    device = load_device_maps(["boiler-house"], tmp_path)["boiler-house"]
    with pytest.raises(ValueError, match="no name for the nodes"):
        make_decoder(MeterConfig("m1", "boiler-house"), device)
