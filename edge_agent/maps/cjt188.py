"""Device maps of CJ/T 188 products: numbers at fixed places of one answer."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from edge_agent.errors import Problem
from edge_agent.maps.base import DeviceMap, Keys, Point, header, point, twice

UnitPlace = Literal["after", "before", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field(Point):
    """One number. `scale` includes its decimals, and what the unit byte says comes on top."""

    offset: int
    """Where its first byte (the unit, when that stands before) is in the data [bytes]."""
    length: int
    """Without the unit [bytes]."""
    signed: bool
    """Whether the highest bit is the sign."""
    unit: UnitPlace
    """Where the unit byte stands; "none" = the number has none, and `scale` says all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cjt188Map(DeviceMap):
    """One CJ/T 188 product."""

    registers: tuple[Field, ...]
    kind: int
    """Type of meter, T: 10H cold water, 11H hot water, 20H heat, 30H gas ..."""
    data_id: str
    """As it goes on the wire: 901F (2004) or 1F90 (2018)."""


def parse_cjt188(top: Keys) -> tuple[Cjt188Map, list[Problem]]:
    """Read a map's table; the map is of use when there are no problems."""
    fields = {**header(top, "cjt188"), "kind": top.whole("kind", 0x10, 0x4F)}
    data_id = top.text("data_id").upper()
    if data_id and not re.fullmatch(r"[0-9A-F]{4}", data_id):
        top.wrong("data_id", f"{data_id!r} is not 4 hexadecimal digits")
    rows = top.rows("register")
    registers = tuple(_field(row) for row in rows)
    problems = [problem for row in rows for problem in row.problems] + twice(registers)
    return Cjt188Map(**fields, data_id=data_id, registers=registers), problems


def _field(keys: Keys) -> Field:
    fields = point(keys, "bcd", scale=Decimal(1))
    fields["scale"] *= Decimal(1).scaleb(-keys.whole("decimals", 0, 8))
    field = Field(
        **fields,
        offset=keys.whole("offset", 0, 99),
        length=keys.whole("length", 1, 8),
        signed=keys.flag("signed"),
        unit=keys.one_of("unit", ("after", "before", "none")),
    )
    keys.rest()
    return field
