"""Decode M-Bus telegrams into readings: which record is which channel, in which unit. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from contract.channels import catalogue
from contract.reading import Reading
from edge_agent.codecs.mbus import ReadMbus, is_address
from edge_agent.config import MeterConfig
from edge_agent.decoders.base import NO_VALUE, WRONG_UNIT, Converted, converter
from edge_agent.decoders.mbus_records import Record, records
from edge_agent.decoders.units import factor
from edge_agent.maps.mbus import QUANTITIES, MbusMap, RecordChoice


class MbusDecoder:
    """The one question to a meter and how to make readings of its telegrams."""

    __slots__ = ("_choices", "meter", "questions")

    def __init__(self, meter: MeterConfig, device: MbusMap) -> None:
        """ValueError when the meter's address is none of this protocol's."""
        self.meter = meter
        address = meter.address or str(meter.unit)
        if not is_address(address):
            raise ValueError(
                f"{address!r} is not an M-Bus address: 0 to 250, or 8 or 16 hexadecimal digits"
            )
        self._choices = device.registers
        self.questions = (ReadMbus(address.upper()),)

    def decode(
        self, index: int, answer: Sequence[bytes], time_ms: int, drops: Counter[str]
    ) -> list[Reading]:
        found: list[Record] = []
        for frame in answer:
            try:
                found += records(frame)
            except ValueError:
                drops[NO_VALUE] += 1
        readings = []
        for choice in self._choices:
            done = _value(choice, found)
            if isinstance(done, str):
                drops[done] += 1
            else:
                readings.append(Reading(self.meter.id, choice.channel, time_ms, done[0], done[1]))
        return readings


def _value(choice: RecordChoice, found: Sequence[Record]) -> Converted:
    fit = [
        record
        for record in found
        if record.quantity in QUANTITIES[choice.quantity]
        and record.function == "INSTANTANEOUS_VALUE"
        and (record.storage, record.tariff) == (choice.storage, choice.tariff)
        and (record.subunit, record.extended) == (choice.subunit, choice.extended)
    ]
    if len(fit) <= choice.nth:
        return NO_VALUE
    record = fit[choice.nth]
    to_catalogue = _to_catalogue(record.unit, choice.channel)
    if to_catalogue is None:
        return WRONG_UNIT
    # A decimal is a whole number and a power of ten: exact all the way.
    sign, digits, exponent = record.value.as_tuple()
    raw = int("".join(map(str, digits))) * (-1 if sign else 1)
    scale = choice.scale * to_catalogue * Decimal(1).scaleb(int(exponent))
    return converter(replace(choice, scale=scale))(raw)


def _to_catalogue(unit: str, channel: str) -> Decimal | None:
    return factor(unit, str(catalogue()[channel].unit))
