"""Make readings of the values of OPC UA nodes. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from contract.reading import Reading
from edge_agent.codecs.opcua import NODE, ReadNodes
from edge_agent.config import MeterConfig
from edge_agent.decoders.base import readings_of_numbers
from edge_agent.maps.opcua import ADDRESS, OpcUaMap


class OpcUaDecoder:
    """The question for one meter's nodes and how to make readings of their values."""

    __slots__ = ("_registers", "meter", "questions")

    def __init__(self, meter: MeterConfig, device: OpcUaMap) -> None:
        """ValueError when the meter has no name to put into its nodes, or none that fits."""
        self.meter = meter
        self._registers = device.registers
        nodes = tuple(
            register.node.replace(ADDRESS, meter.address) for register in device.registers
        )
        needed = any(ADDRESS in register.node for register in device.registers)
        if (needed and not meter.address) or not all(map(NODE.fullmatch, nodes)):
            raise ValueError(f"{meter.address!r} is no name for the nodes of {device.model}")
        self.questions = (ReadNodes(meter.id, nodes),)

    def decode(
        self, index: int, answer: Sequence[Any], time_ms: int, drops: Counter[str]
    ) -> list[Reading]:
        return readings_of_numbers(self.meter.id, self._registers, answer, time_ms, drops)
