"""Decode Modbus words into readings: type, word order, no-value patterns. Pure.

All that can be worked out beforehand is: per meter one `ModbusDecoder` holds, per read, one
`struct` format for all values of the read and one converter per value.
"""

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contract.reading import Reading
from edge_agent.codecs.modbus import ReadWords
from edge_agent.config import MeterConfig
from edge_agent.decoders.base import NO_VALUE, Convert, converter
from edge_agent.maps.modbus import ModbusMap, Register
from edge_agent.plan import Span, plan_reads

_CODES = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "float32": "f",
    "uint64": "Q", "int64": "q", "float64": "d",
}  # fmt: skip
_UNSIGNED = {1: "H", 2: "I", 4: "Q"}


@dataclass(frozen=True, slots=True)
class _Field:
    channel: str
    convert: Convert
    no_value: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Group:
    """The values of one read that share a word order."""

    pack: str
    """How the words become bytes: high byte first for "big", wholly reversed for "little"."""
    unpack: struct.Struct
    raw: struct.Struct | None
    """The same bytes as unsigned integers; None when no value has a "no value" pattern."""
    fields: tuple[_Field, ...]


class ModbusDecoder:
    """The reads of one meter and how to make readings of the answers."""

    __slots__ = ("_groups", "meter", "questions", "reads")

    def __init__(self, meter: MeterConfig, device: ModbusMap) -> None:
        """Work out the reads and the formats.

        Args:
            meter: the readings carry its id, the questions its unit.
            device: its map.
        """
        self.meter = meter.id
        spans = [Span(register.address, register.words) for register in device.registers]
        self.reads = plan_reads(spans, device.max_registers, device.max_gap)
        """What to read, in this order."""
        self.questions = tuple(
            ReadWords(meter.unit, device.function, read.address, read.count) for read in self.reads
        )
        self._groups = tuple(_groups(read, device.registers) for read in self.reads)

    def decode(
        self, index: int, answer: Sequence[int], time_ms: int, drops: Counter[str]
    ) -> list[Reading]:
        if len(answer) != self.reads[index].count:
            raise ValueError(f"{len(answer)} words where {self.reads[index].count} were asked for")
        readings = []
        for group in self._groups[index]:
            data = struct.pack(group.pack, *answer)
            values = group.unpack.unpack(data)
            patterns = values if group.raw is None else group.raw.unpack(data)
            for field, value, pattern in zip(group.fields, values, patterns, strict=True):
                done = NO_VALUE if pattern in field.no_value else field.convert(value)
                if isinstance(done, str):
                    drops[done] += 1
                else:
                    readings.append(Reading(self.meter, field.channel, time_ms, done[0], done[1]))
        return readings


def _groups(read: Span, registers: Sequence[Register]) -> tuple[_Group, ...]:
    """Group the registers inside `read` by word order.

    Words packed low byte first turn "low word first" into a plain little-endian number, so both
    orders are one `struct` format and no words are moved about.
    """
    groups = []
    for order, mark in (("big", ">"), ("little", "<")):
        inside = sorted(
            (
                register
                for register in registers
                if register.word_order == order and read.address <= register.address < read.end
            ),
            key=lambda register: register.address,
        )
        if not inside:
            continue
        masked = any(register.no_value for register in inside)
        groups.append(
            _Group(
                pack=f"{mark}{read.count}H",
                unpack=_layout(mark, read, inside, lambda r: _CODES[r.type]),
                raw=_layout(mark, read, inside, lambda r: _UNSIGNED[r.words]) if masked else None,
                fields=tuple(
                    _Field(r.channel, converter(r), frozenset(r.no_value)) for r in inside
                ),
            )
        )
    return tuple(groups)


def _layout(
    mark: str, read: Span, inside: Sequence[Register], code: Callable[[Register], str]
) -> struct.Struct:
    text, at = mark, read.address
    for register in inside:
        text += f"{2 * (register.address - at)}x{code(register)}"
        at = register.address + register.words
    return struct.Struct(f"{text}{2 * (read.end - at)}x")
