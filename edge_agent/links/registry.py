"""Which link serves which kind of bus, and which protocols a kind carries."""

from collections.abc import Callable, Mapping

from edge_agent.config import BusConfig
from edge_agent.links.bacnet import BacnetLink
from edge_agent.links.base import MeterLink
from edge_agent.links.manual import ManualLink
from edge_agent.links.modbus import ModbusTcpLink
from edge_agent.links.mqtt import MqttJsonLink
from edge_agent.links.opcua import OpcUaLink
from edge_agent.links.wire import WireLink
from edge_agent.wires.base import Wire
from edge_agent.wires.serial import SerialSettings, SerialWire
from edge_agent.wires.tcp import TcpWire

LinkFactory = Callable[[BusConfig, str, int], MeterLink]
"""Makes the link to one endpoint of a bus: bus, host, port."""

WIRE_PROTOCOLS = frozenset({"modbus", "dlt645", "cjt188", "mbus"})
PROTOCOLS: Mapping[str, frozenset[str]] = {
    "modbus-tcp": frozenset({"modbus"}),
    "tcp": WIRE_PROTOCOLS,
    "serial": WIRE_PROTOCOLS,
    "mqtt": frozenset({"mqtt-json"}),
    "opcua": frozenset({"opcua"}),
    "bacnet": frozenset({"bacnet"}),
    "manual": WIRE_PROTOCOLS
    | {"manual", "mqtt-json", "opcua", "bacnet"},  # any meter has a display
}
"""Kind of bus -> protocols of the meters that may be on it."""


def make_link(bus: BusConfig, host: str, port: int) -> MeterLink:
    """Return a link of the bus's kind to one of its endpoints; nothing is opened yet."""
    if bus.kind == "modbus-tcp":
        return ModbusTcpLink(host, port, bus.timeout_s)
    if bus.kind == "mqtt":
        return MqttJsonLink(host, port, bus.timeout_s)
    if bus.kind == "opcua":
        return OpcUaLink(host, port, bus.timeout_s)
    if bus.kind == "bacnet":
        return BacnetLink(host, port, bus.timeout_s)
    if bus.kind == "manual" and bus.file is not None:
        return ManualLink(bus.file)
    wire: Wire
    if bus.kind == "tcp":
        wire = TcpWire(host, port, bus.timeout_s)
    else:
        wire = SerialWire(bus.device, SerialSettings(bus.baud, bus.parity, bus.stop_bits))
    return WireLink(wire, bus.timeout_s, may_set_clocks=bus.clock_broadcast)
