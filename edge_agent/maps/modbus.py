"""Device maps of Modbus products: 16-bit registers at addresses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from edge_agent.errors import Problem
from edge_agent.maps.base import DeviceMap, Keys, Point, header, point, twice

WORDS: Mapping[str, int] = {
    "uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "float32": 2,
    "uint64": 4, "int64": 4, "float64": 4,
}  # fmt: skip
"""Words of 16 bits per register type."""

PROTOCOL_SPAN = 125
"""Registers one Modbus read may ask for."""
DEFAULT_SPAN = 120
"""Default of it here: some devices and gateways stumble at the limit itself."""

WordOrder = Literal["big", "little"]
_ORDERS = ("big", "little")


@dataclass(frozen=True, slots=True, kw_only=True)
class Register(Point):
    """One value of a Modbus product. `type` is one of `WORDS`."""

    address: int
    """Address as it stands in the request, counted from 0."""
    word_order: WordOrder
    """"big" = high word first (ABCD), "little" = low word first (CDAB)."""
    no_value: tuple[int, ...] = ()
    """Raw patterns, as unsigned integers, that mean "no value"."""

    @property
    def words(self) -> int:
        """Length in 16-bit words."""
        return WORDS[self.type]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusMap(DeviceMap):
    """One Modbus product."""

    registers: tuple[Register, ...]
    function: int
    """Modbus function code of the reads: 3 or 4."""
    max_registers: int
    """Most registers in one read."""
    max_gap: int
    """Most unused registers read over to save a request; 0 = never touch an unlisted one."""


def parse_modbus(top: Keys) -> tuple[ModbusMap, list[Problem]]:
    """Read a map's table; the map is of use when there are no problems."""
    device = {
        **header(top, "modbus"),
        "function": top.whole("function", 3, 4),
        "max_registers": top.whole("max_registers", 4, PROTOCOL_SPAN, DEFAULT_SPAN),
        "max_gap": top.whole("max_gap", 0, PROTOCOL_SPAN, 0),
    }
    order = top.one_of("word_order", _ORDERS)
    rows = top.rows("register")
    registers = tuple(_register(row, order) for row in rows)
    problems = [problem for row in rows for problem in row.problems] + twice(registers)
    if not problems:  # else a missing address stands as 0 and would clash with another
        problems = _overlaps(registers)
    return ModbusMap(**device, registers=registers), problems


def _register(keys: Keys, order: Any) -> Register:
    kind = keys.one_of("type", tuple(WORDS))
    register = Register(
        **point(keys, kind),
        address=keys.whole("address", 0, 0xFFFF),
        word_order=keys.one_of("word_order", _ORDERS, order),
        no_value=keys.patterns("no_value", 16 * WORDS.get(kind, 4)),
    )
    if kind in WORDS and register.address + register.words > 0x10000:
        keys.wrong("address", "the value reaches beyond address 0xFFFF")
    keys.rest()
    return register


def _overlaps(registers: Sequence[Register]) -> list[Problem]:
    problems = []
    ordered = sorted(enumerate(registers), key=lambda item: item[1].address)
    for (_, before), (index, after) in pairwise(ordered):
        if before.address + before.words > after.address:
            reason = f"overlaps with {before.channel!r} at address {before.address:#06x}"
            problems.append(Problem(f"register[{index}].address", reason))
    return problems
