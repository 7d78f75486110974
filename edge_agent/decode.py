"""Decode words into readings: type, word order, scale, no-value patterns, plausible range. Pure.

All that can be worked out beforehand is: per meter one `MeterDecoder` holds, per read, one
`struct` format for all values of the read and one converter per value. Decoding never raises on
what a meter sends. What cannot become a reading is dropped and counted by reason:

- ``no_value``: the map's "no value" pattern, a float NaN or infinity;
- ``range``: a count below 0 or beyond what the contract carries exactly.

A value the map calls implausible is kept and marked `Quality.RANGE`.

Cumulative channels become integer micro-units without passing through a double: an integer
register is multiplied as an integer. A float register is rounded to the map's step, because its
last digits are an accident of base 2 and what counts is what the display shows. An instantaneous
float32 is given with the seven digits it holds: 230.1, not 230.10000610351562.
"""

import math
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from contract.reading import Quality, Reading
from contract.units import MAX_CUMULATIVE_MICRO, MICRO
from edge_agent.plan import Span, plan_reads
from edge_agent.registers import DeviceMap, Register

NO_VALUE = "no_value"
OUT_OF_RANGE = "range"

_CODES = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "float32": "f",
    "uint64": "Q", "int64": "q", "float64": "d",
}  # fmt: skip
_UNSIGNED = {1: "H", 2: "I", 4: "Q"}

Converted = tuple[int | float, Quality] | str
"""A value and its quality, or the reason why there is none."""
Convert = Callable[[float], Converted]


def converter(register: Register) -> Convert:
    """Return the function from a register's raw number to its value."""
    if not register.cumulative:
        return _instantaneous(register)
    if register.type.startswith("float"):
        return _cumulative_float(register)
    return _cumulative_integer(register)


def _micro(value: Decimal | None) -> int | None:
    return None if value is None else int(value * MICRO)


def _checked(micro: int, modulus: int | None) -> Converted:
    if not 0 <= micro <= MAX_CUMULATIVE_MICRO:
        return OUT_OF_RANGE
    if modulus is not None and micro >= modulus:
        return micro, Quality.RANGE
    return micro, Quality.GOOD


def _cumulative_integer(register: Register) -> Convert:
    up, down = (register.scale * MICRO).as_integer_ratio()
    modulus = _micro(register.modulus)

    def exact(raw: float) -> Converted:
        return _checked(int(raw) * up, modulus)

    def rounded(raw: float) -> Converted:
        return _checked((2 * int(raw) * up + down) // (2 * down), modulus)

    return exact if down == 1 else rounded


def _cumulative_float(register: Register) -> Convert:
    step = _micro(register.step) or 1
    modulus = _micro(register.modulus)
    steps_per_raw = Fraction(register.scale) * MICRO / step
    up, down = steps_per_raw.numerator, steps_per_raw.denominator

    def convert(raw: float) -> Converted:
        if not math.isfinite(raw):
            return NO_VALUE
        top, bottom = raw.as_integer_ratio()  # exact: the same on every machine
        steps = (2 * top * up + bottom * down) // (2 * bottom * down)
        return _checked(steps * step, modulus)

    return convert


def _instantaneous(register: Register) -> Convert:
    # Dividing by 10 gives 230.1 where multiplying by 0.1 gives 230.10000000000002.
    up, down = (float(part) for part in register.scale.as_integer_ratio())
    low = -math.inf if register.low is None else float(register.low)
    high = math.inf if register.high is None else float(register.high)
    seven_digits = register.type == "float32"

    def convert(raw: float) -> Converted:
        value = raw * up / down
        if not math.isfinite(value):
            return NO_VALUE
        if seven_digits:
            value = float(f"{value:.7g}")
        return value, Quality.GOOD if low <= value <= high else Quality.RANGE

    return convert


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


class MeterDecoder:
    """The reads of one meter and how to make readings of the answers."""

    __slots__ = ("_groups", "meter", "reads")

    def __init__(self, meter: str, device: DeviceMap) -> None:
        """Work out the reads and the formats.

        Args:
            meter: id of the meter; the readings carry it.
            device: its map.
        """
        self.meter = meter
        spans = [Span(register.address, register.words) for register in device.registers]
        self.reads = plan_reads(spans, device.max_registers, device.max_gap)
        """What to read, in this order."""
        self._groups = tuple(_groups(read, device.registers) for read in self.reads)

    def decode(
        self, read: int, words: Sequence[int], time_ms: int, drops: Counter[str]
    ) -> list[Reading]:
        """Make the readings of one answer.

        Args:
            read: index into `reads`.
            words: the answer, as many words as were asked for; else ValueError.
            time_ms: the instant of the readings [ms UTC].
            drops: what was dropped is counted here, by reason.
        """
        if len(words) != self.reads[read].count:
            raise ValueError(f"{len(words)} words where {self.reads[read].count} were asked for")
        readings = []
        for group in self._groups[read]:
            data = struct.pack(group.pack, *words)
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
