"""BACnet/IP: the link suite and exact numbers on a bacpypes3 device, over real UDP sockets."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from bacpypes3.apdu import ReadPropertyRequest
from bacpypes3.basetypes import Reliability
from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.local.analog import AnalogValueObject
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.object import Object
from bacpypes3.object import AccumulatorObject, LargeAnalogValueObject
from bacpypes3.pdu import IPv4Address

from contract.reading import Reading
from edge_agent.codecs.bacnet import ReadObjects, is_object
from edge_agent.config import BusConfig, MeterConfig
from edge_agent.decoders.registry import make_decoder
from edge_agent.errors import ConfigError, LinkError
from edge_agent.links.bacnet import BacnetLink
from edge_agent.links.registry import make_link
from edge_agent.registers import load_device_maps
from simulators.demo.processes import free_port
from tests.suites.link_suite import TIMEOUT_S, LinkSuite


class Device(NormalApplication):  # type: ignore[misc]
    """A device whose objects answer later when told so; unit = thousands of the instance."""

    def __init__(self, port: int) -> None:
        own = DeviceObject(objectIdentifier=("device", 77), objectName="hall", vendorIdentifier=999)
        super().__init__(own, IPv4Address(f"127.0.0.1/32:{port}"))
        self.delays = {1: 0.0, 2: 0.0}
        self.asked: list[str] = []

    async def do_ReadPropertyRequest(self, apdu: ReadPropertyRequest) -> None:
        self.asked.append(str(apdu.objectIdentifier))
        await asyncio.sleep(self.delays.get(apdu.objectIdentifier[1] // 1000, 0.0))
        await super().do_ReadPropertyRequest(apdu)


class DeviceBench:
    refusal = "unknown-object"

    def __init__(self) -> None:
        self.port = free_port()
        self.link = BacnetLink("127.0.0.1", self.port, TIMEOUT_S)
        self.device: Device | None = None

    def question(self, unit: int, place: int) -> ReadObjects:
        return ReadObjects(f"m{unit}", (f"analog-value,{unit * 1000 + place}",))

    def number(self, answer: Any) -> int:
        return int(answer[0])

    def delay(self, unit: int, seconds: float) -> None:
        assert self.device is not None
        self.device.delays[unit] = seconds

    async def start(self) -> None:
        self.device = Device(self.port)
        for instance in (unit * 1000 + place for unit in (1, 2) for place in range(50)):
            self.device.add_object(value_of(instance, float(instance)))

    async def stop(self) -> None:
        if self.device is not None:
            self.device.close()
            self.device = None
            await asyncio.sleep(0)


def value_of(instance: int, value: float) -> AnalogValueObject:
    return AnalogValueObject(
        objectIdentifier=("analog-value", instance), objectName=f"v{instance}", presentValue=value
    )


@pytest.fixture
async def bench() -> AsyncIterator[DeviceBench]:
    bench = DeviceBench()
    await bench.start()
    yield bench
    await bench.link.close()
    await bench.stop()
    await asyncio.sleep(0.01)


class TestBacnetLink(LinkSuite):
    pass


async def test_numbers_of_every_kind_are_exact_and_faulty_ones_left_out(bench):
    device = bench.device
    device.add_object(value_of(1, 12345.678))
    broken = value_of(2, 71.5)
    broken.reliability = Reliability.noSensor
    device.add_object(broken)
    idle = value_of(3, 71.5)
    idle.outOfService = True
    device.add_object(idle)

    class Total(Object, AccumulatorObject):  # type: ignore[misc]
        pass

    class Large(Object, LargeAnalogValueObject):  # type: ignore[misc]
        pass

    device.add_object(Total(objectIdentifier=("accumulator", 4), objectName="t",
                            presentValue=4_000_000_001))  # fmt: skip
    device.add_object(Large(objectIdentifier=("large-analog-value", 5), objectName="l",
                            presentValue=123456789.123))  # fmt: skip
    asked = ("analog-value,1", "analog-value,2", "analog-value,3", "accumulator,4",
             "large-analog-value,5")  # fmt: skip
    got = await bench.link.read(ReadObjects("m1", asked))
    assert got == (12345.678, None, None, 4_000_000_001, 123456789.123)


async def test_the_link_answers_nobody_and_asks_for_nothing_but_what_it_was_asked(bench):
    assert await bench.link.read(bench.question(1, 5)) == (1005.0,)
    assert set(bench.device.asked) == {"device,4194303", "analog-value,1005"}
    sockets = bench.link._application.normal.server
    port = sockets.local_transport.get_extra_info("sockname")[1]
    request = ReadPropertyRequest(
        objectIdentifier=("device", 4_194_302),
        propertyIdentifier="object-name",
        destination=IPv4Address(f"127.0.0.1:{port}"),
    )
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.device.request(request), TIMEOUT_S)


async def test_datagrams_that_are_no_bacnet_are_passed_over(bench):
    assert await bench.link.read(bench.question(1, 5)) == (1005.0,)
    sockets = bench.link._application.normal.server
    ours = sockets.local_transport.get_extra_info("sockname")
    loop = asyncio.get_running_loop()
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=ours)
    try:
        for noise in (
            b"",
            b"\x81",
            b"\x81\x0a\x00\x04",
            b"\x81\x0a\x00\x09\x01\x00\x30",
            bytes(99),
        ):
            sender.sendto(noise)
        assert await bench.link.read(bench.question(1, 6)) == (1006.0,)
    finally:
        sender.close()


async def test_a_host_without_an_address():
    with pytest.raises(LinkError, match="cannot open"):
        await BacnetLink("no-such-host.invalid", 47808, TIMEOUT_S).open()


MAP = """
model = "floor-meter"
maker = "own"
product = "floor meter"
carrier = "electricity"
source = "the building's own engineering"
side = "primary"
protocol = "bacnet"
[[register]]
channel = "energy_import"
object = "accumulator,{address}1"
scale = 0.1
step = 0.1
[[register]]
channel = "power"
object = "analog-input,{address}2"
"""


def test_maps_objects_and_readings(tmp_path):
    path = tmp_path / "floor-meter.toml"
    path.write_text(MAP)
    device = load_device_maps(["floor-meter"], tmp_path)["floor-meter"]
    decoder = make_decoder(MeterConfig("m1", "floor-meter", address="12"), device)
    assert decoder.questions == (ReadObjects("m1", ("accumulator,121", "analog-input,122")),)
    drops: Counter[str] = Counter()
    assert decoder.decode(0, (1005, 12.25), 5, drops) == [
        Reading("m1", "energy_import", 5, 100_500_000), Reading("m1", "power", 5, 12.25),
    ]  # fmt: skip
    assert decoder.decode(0, (None, float("nan")), 5, drops) == []
    assert drops == Counter(no_value=2)
    assert device.registers[0].scale == Decimal("0.1")
    for address in ("x", "4294967", "-"):
        with pytest.raises(ValueError, match="makes no objects"):
            make_decoder(MeterConfig("m1", "floor-meter", address=address), device)
    path.write_text(MAP.replace("accumulator", "binary-input"))
    with pytest.raises(ConfigError, match=r"'binary-input,.* is not like analog-input,12"):
        load_device_maps(["floor-meter"], tmp_path)


@pytest.mark.parametrize(
    ("name", "good"),
    [("analog-input,0", True), ("analog-input,4194302", True), ("analog-input,4194303", False),
     ("analog-input", False), ("device,5", False), ("analog-input,-1", False)],
)  # fmt: skip
def test_names_of_objects(name, good):
    assert is_object(name) == good


def test_the_bus_of_a_building_has_this_link():
    assert isinstance(make_link(BusConfig("b", "hall", "bacnet"), "hall", 47808), BacnetLink)
