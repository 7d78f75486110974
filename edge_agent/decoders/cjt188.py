"""Decode CJ/T 188 data into readings: BCD, unit bytes, signs, what is no number. Pure."""

from collections import Counter
from dataclasses import replace

from contract.channels import catalogue
from contract.reading import Reading
from edge_agent.codecs.bcd import from_bcd, from_signed_bcd
from edge_agent.codecs.cjt188 import ANY, UNITS, ReadMeter, is_address
from edge_agent.config import MeterConfig
from edge_agent.decoders.base import NO_VALUE, WRONG_UNIT, Converted, converter
from edge_agent.decoders.units import factor
from edge_agent.maps.cjt188 import Cjt188Map, Field


class Cjt188Decoder:
    """The one question to a meter and how to make readings of its answer."""

    __slots__ = ("_fields", "meter", "questions")

    def __init__(self, meter: MeterConfig, device: Cjt188Map) -> None:
        """ValueError when the meter's address is none of this protocol's."""
        self.meter = meter
        address = meter.address.upper()
        if not is_address(address):
            raise ValueError(f"{meter.address!r} is not a CJ/T 188 address: 14 digits, or {ANY}")
        self._fields = device.registers
        self.questions = (ReadMeter(device.kind, address, device.data_id),)

    def decode(self, index: int, answer: bytes, time_ms: int, drops: Counter[str]) -> list[Reading]:
        readings = []
        for field in self._fields:
            done = _value(field, answer)
            if isinstance(done, str):
                drops[done] += 1
            else:
                readings.append(Reading(self.meter.id, field.channel, time_ms, done[0], done[1]))
        return readings


def _value(field: Field, data: bytes) -> Converted:
    begin = field.offset + (field.unit == "before")
    part = data[begin : begin + field.length]
    raw = from_signed_bcd(part) if field.signed else from_bcd(part)
    if raw is None or len(part) < field.length:
        return NO_VALUE
    if field.unit == "none":
        return converter(field)(raw)
    at = field.offset if field.unit == "before" else begin + field.length
    unit, times = UNITS.get(data[at] if at < len(data) else 0, ("", 1))
    to_catalogue = factor(unit, str(catalogue()[field.channel].unit))
    if to_catalogue is None:
        return WRONG_UNIT
    return converter(replace(field, scale=field.scale * times * to_catalogue))(raw)
