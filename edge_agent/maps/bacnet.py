"""Device maps of BACnet devices: which object is which channel. Always of one's own."""

from dataclasses import dataclass
from decimal import Decimal

from edge_agent.codecs.bacnet import OBJECT_TYPES, is_object
from edge_agent.errors import Problem
from edge_agent.maps.base import DeviceMap, Keys, Point, header, point, twice

ADDRESS = "{address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectValue(Point):
    """The present value of one object."""

    object: str
    """Type and instance; `ADDRESS` in the instance stands for the meter's own digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacnetMap(DeviceMap):
    """One kind of meter in a BACnet device."""

    registers: tuple[ObjectValue, ...]


def parse_bacnet(top: Keys) -> tuple[BacnetMap, list[Problem]]:
    """Read a map's table; the map is of use when there are no problems."""
    fields = header(top, "bacnet")
    rows = top.rows("register")
    registers = tuple(_object(row) for row in rows)
    problems = [problem for row in rows for problem in row.problems] + twice(registers)
    return BacnetMap(**fields, registers=registers), problems


def _object(keys: Keys) -> ObjectValue:
    fields = point(keys, "decimal", scale=Decimal(1))
    name = keys.text("object")
    if name and not is_object(name.replace(ADDRESS, "1")):
        types = ", ".join(sorted(OBJECT_TYPES))
        keys.wrong("object", f"{name!r} is not like analog-input,12: one of {types}")
    keys.rest()
    return ObjectValue(**fields, object=name)
