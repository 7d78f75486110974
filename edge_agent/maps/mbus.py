"""Device maps of M-Bus products: which of a meter's records is which channel.

A record says its own unit and power of ten, so a map does not; it says which record is meant.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from edge_agent.errors import Problem
from edge_agent.maps.base import DeviceMap, Keys, Point, header, point, twice

QUANTITIES: Mapping[str, frozenset[str]] = {
    "energy": frozenset({"ENERGY_WH", "ENERGY_J", "Energy"}),
    "volume": frozenset({"VOLUME"}),
    "mass": frozenset({"MASS"}),
    "power": frozenset({"POWER_W", "POWER_J_H"}),
    "volume_flow": frozenset({"VOLUME_FLOW", "VOLUME_FLOW_EXT"}),
    "mass_flow": frozenset({"MASS_FLOW"}),
    "flow_temperature": frozenset({"FLOW_TEMPERATURE"}),
    "return_temperature": frozenset({"RETURN_TEMPERATURE"}),
    "external_temperature": frozenset({"EXTERNAL_TEMPERATURE"}),
    "pressure": frozenset({"PRESSURE"}),
    "voltage": frozenset({"VOLTS"}),
    "current": frozenset({"AMPERE"}),
}
"""Quantity in a map -> names of the records that hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordChoice(Point):
    """One record: the `nth` (from 0) that agrees with all the rest."""

    quantity: str
    storage: int
    tariff: int
    subunit: int
    nth: int
    extended: bool
    """Whether the record bears a further unit code (VIFE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MbusMap(DeviceMap):
    """One M-Bus product."""

    registers: tuple[RecordChoice, ...]
    flag: str = ""
    """The maker's three letters in a secondary address; empty = not known."""


def parse_mbus(top: Keys) -> tuple[MbusMap, list[Problem]]:
    """Read a map's table; the map is of use when there are no problems."""
    fields = {**header(top, "mbus"), "flag": top.text("flag", optional=True)}
    if not re.fullmatch("([A-Z]{3})?", fields["flag"]):
        top.wrong("flag", f"{fields['flag']!r} is not three capital letters")
    rows = top.rows("register")
    registers = tuple(_choice(row) for row in rows)
    problems = [problem for row in rows for problem in row.problems] + twice(registers)
    return MbusMap(**fields, registers=registers), problems


def _choice(keys: Keys) -> RecordChoice:
    choice = RecordChoice(
        **point(keys, "decimal", scale=Decimal(1)),
        quantity=keys.one_of("quantity", tuple(QUANTITIES)),
        storage=keys.whole("storage", 0, 1 << 41, 0),
        tariff=keys.whole("tariff", 0, 1 << 20, 0),
        subunit=keys.whole("subunit", 0, 1 << 10, 0),
        nth=keys.whole("nth", 0, 99, 0),
        extended=keys.flag("extended"),
    )
    keys.rest()
    return choice
