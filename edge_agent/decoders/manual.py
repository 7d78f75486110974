"""Make readings of what a person wrote down: any channel of the meter's map. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from contract.reading import Quality, Reading
from edge_agent.codecs.manual import CheckEntries, Entry, ReadEntries
from edge_agent.config import MeterConfig
from edge_agent.decoders.base import UNKNOWN_CHANNEL, converter
from edge_agent.maps.base import DeviceMap


class ManualDecoder:
    """The questions to the file of entries and how to make readings of one meter's lines."""

    __slots__ = ("_points", "meter", "questions")

    def __init__(self, meter: MeterConfig, device: DeviceMap) -> None:
        """`device` may be of any protocol: a meter with a broken interface still has a display."""
        self.meter = meter
        self.questions = (ReadEntries(meter.id), CheckEntries())
        self._points = {point.channel: point for point in device.registers}

    def decode(
        self, index: int, answer: Sequence[Entry], time_ms: int, drops: Counter[str]
    ) -> list[Reading]:
        readings = []
        for entry in answer:
            point = self._points.get(entry.channel)
            if point is None:
                drops[UNKNOWN_CHANNEL] += 1
                continue
            sign, digits, exponent = entry.value.as_tuple()
            raw = int("".join(map(str, digits))) * (-1 if sign else 1)
            scale = Decimal(1).scaleb(int(exponent))
            done = converter(replace(point, type="decimal", scale=scale))(raw)
            if isinstance(done, str):
                drops[done] += 1
                continue
            value, quality = done
            mark = Quality.MANUAL if quality == Quality.GOOD else quality
            readings.append(Reading(self.meter.id, entry.channel, entry.time_ms, value, mark))
        return readings
