"""Device maps of OPC UA servers: which node is which channel. Always of one's own."""

from dataclasses import dataclass
from decimal import Decimal

from edge_agent.codecs.opcua import NODE
from edge_agent.errors import Problem
from edge_agent.maps.base import DeviceMap, Keys, Point, header, point, twice

ADDRESS = "{address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeValue(Point):
    """One node."""

    node: str
    """Node id; `ADDRESS` in it stands for the meter's own name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaMap(DeviceMap):
    """One kind of meter on an OPC UA server."""

    registers: tuple[NodeValue, ...]


def parse_opcua(top: Keys) -> tuple[OpcUaMap, list[Problem]]:
    """Read a map's table; the map is of use when there are no problems."""
    fields = header(top, "opcua")
    rows = top.rows("register")
    registers = tuple(_node(row) for row in rows)
    problems = [problem for row in rows for problem in row.problems] + twice(registers)
    return OpcUaMap(**fields, registers=registers), problems


def _node(keys: Keys) -> NodeValue:
    fields = point(keys, "decimal", scale=Decimal(1))
    node = keys.text("node")
    if node and not NODE.fullmatch(node):
        keys.wrong("node", f"{node!r} is not like ns=2;s=Meter.Energy")
    keys.rest()
    return NodeValue(**fields, node=node)
