"""Decode DL/T 645 data into readings: BCD, signs, what is no number. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from contract.reading import Quality, Reading
from edge_agent.codecs.bcd import from_bcd, from_signed_bcd
from edge_agent.codecs.dlt645 import ANY, ReadData
from edge_agent.config import MeterConfig
from edge_agent.decoders.base import NO_VALUE, converter
from edge_agent.maps.dlt645 import Dlt645Map, Item


class Dlt645Decoder:
    """The questions to one meter and how to make readings of the answers."""

    __slots__ = ("_items", "device", "meter", "questions")

    def __init__(self, meter: MeterConfig, device: Dlt645Map) -> None:
        """ValueError when the meter's address is none of this protocol's."""
        self.meter = meter
        self.device = device
        address = meter.address.upper()
        if not re.fullmatch(f"[0-9]{{12}}|{ANY}", address):
            raise ValueError(f"{meter.address!r} is not a DL/T 645 address: 12 digits, or {ANY}")
        by_id: dict[str, list[Item]] = {}
        for item in device.registers:
            by_id.setdefault(item.id, []).append(item)
        self._items = tuple(by_id.values())
        self.questions = tuple(
            ReadData(address, id_, max(item.offset + item.length for item in items))
            for id_, items in by_id.items()
        )

    def decode(self, index: int, answer: bytes, time_ms: int, drops: Counter[str]) -> list[Reading]:
        return decode_items(self.meter.id, self._items[index], answer, time_ms, drops)


def decode_items(
    meter: str, items: Sequence[Item], data: bytes, time_ms: int, drops: Counter[str]
) -> list[Reading]:
    """Make readings of the numbers in one block of data."""
    readings = []
    for item in items:
        part = data[item.offset : item.offset + item.length]
        raw = from_signed_bcd(part) if item.signed else from_bcd(part)
        done = NO_VALUE if raw is None or len(part) < item.length else converter(item)(raw)
        if isinstance(done, str):
            drops[done] += 1
        else:
            readings.append(Reading(meter, item.channel, time_ms, done[0], done[1]))
    return readings


def frozen(readings: Sequence[Reading]) -> list[Reading]:
    """The same readings, marked as from the meter's own frozen registers."""
    return [replace(r, quality=Quality.FREEZE) for r in readings if r.quality == Quality.GOOD]
