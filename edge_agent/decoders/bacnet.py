"""Make readings of the present values of BACnet objects. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from contract.reading import Reading
from edge_agent.codecs.bacnet import ReadObjects, is_object
from edge_agent.config import MeterConfig
from edge_agent.decoders.base import readings_of_numbers
from edge_agent.maps.bacnet import ADDRESS, BacnetMap


class BacnetDecoder:
    """The question for one meter's objects and how to make readings of their values."""

    __slots__ = ("_registers", "meter", "questions")

    def __init__(self, meter: MeterConfig, device: BacnetMap) -> None:
        """ValueError when the meter has no digits to put into its objects, or none that fit."""
        self.meter = meter
        self._registers = device.registers
        objects = tuple(r.object.replace(ADDRESS, meter.address) for r in device.registers)
        if not all(map(is_object, objects)):
            raise ValueError(f"{meter.address!r} makes no objects of {device.model}: digits")
        self.questions = (ReadObjects(meter.id, objects),)

    def decode(
        self, index: int, answer: Sequence[Any], time_ms: int, drops: Counter[str]
    ) -> list[Reading]:
        return readings_of_numbers(self.meter.id, self._registers, answer, time_ms, drops)
