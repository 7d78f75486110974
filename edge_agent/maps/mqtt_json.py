"""Device maps of devices that publish JSON: which member of which topic is which channel."""

from dataclasses import dataclass
from decimal import Decimal

from edge_agent.errors import Problem
from edge_agent.maps.base import DeviceMap, Keys, Point, header, point, twice

ADDRESS = "{address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Point):
    """One number in a JSON message."""

    topic: str
    """With `ADDRESS` where the meter's own name stands."""
    path: tuple[str, ...]
    """Names of the members from the outermost in; a whole number picks from an array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttJsonMap(DeviceMap):
    """One product that publishes JSON."""

    registers: tuple[Member, ...]


def parse_mqtt_json(top: Keys) -> tuple[MqttJsonMap, list[Problem]]:
    """Read a map's table; the map is of use when there are no problems."""
    fields = header(top, "mqtt-json")
    rows = top.rows("register")
    registers = tuple(_member(row) for row in rows)
    problems = [problem for row in rows for problem in row.problems] + twice(registers)
    return MqttJsonMap(**fields, registers=registers), problems


def _member(keys: Keys) -> Member:
    fields = point(keys, "decimal", scale=Decimal(1))
    topic = keys.text("topic")
    if topic and (ADDRESS not in topic or "#" in topic or "+" in topic):
        keys.wrong("topic", f"{topic!r} must hold {ADDRESS} and no wildcard")
    path = keys.text("path")
    member = Member(**fields, topic=topic, path=tuple(path.split(".")))
    keys.rest()
    return member
