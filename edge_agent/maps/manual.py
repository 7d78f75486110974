"""Device maps of meters without a wire: which channels a person reads off the display."""

from dataclasses import dataclass
from decimal import Decimal

from edge_agent.errors import Problem
from edge_agent.maps.base import DeviceMap, Keys, Point, header, point, twice


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualMap(DeviceMap):
    """One kind of meter that is read by hand."""

    registers: tuple[Point, ...]


def parse_manual(top: Keys) -> tuple[ManualMap, list[Problem]]:
    """Read a map's table; the map is of use when there are no problems."""
    fields = header(top, "manual")
    rows = top.rows("register")
    registers = []
    for row in rows:
        registers.append(Point(**point(row, "decimal", scale=Decimal(1))))
        row.rest()
    problems = [problem for row in rows for problem in row.problems] + twice(registers)
    return ManualMap(**fields, registers=tuple(registers)), problems
