"""A serial port, or a TCP connection to a serial server, with all protocols spoken on it.

Meters of several protocols may share one pair of wires: each question says which it is of.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from edge_agent.codecs import cjt188, dlt645, mbus
from edge_agent.codecs.cjt188 import ReadMeter
from edge_agent.codecs.dlt645 import ReadAddress, ReadData, SetClocks
from edge_agent.codecs.mbus import ReadMbus
from edge_agent.codecs.modbus import ReadWords
from edge_agent.links.cjt188 import Cjt188Link
from edge_agent.links.dialogue import Dialogue
from edge_agent.links.dlt645 import Dlt645Link
from edge_agent.links.mbus import MbusLink
from edge_agent.links.modbus_rtu import ModbusRtuLink
from edge_agent.links.rollcall import RollCallLink
from edge_agent.wires.base import Wire


class _Speaker(Protocol):
    async def read(self, question: Any) -> Any: ...


class WireLink:
    """One wire; see `MeterLink`."""

    def __init__(self, wire: Wire, timeout_s: float, *, may_set_clocks: bool = False) -> None:
        """`timeout_s` = longest wait for the first byte of an answer [s]."""
        self._wire = wire
        dialogue = Dialogue(wire, timeout_s)
        dlt645_link = Dlt645Link(dialogue, may_set_clocks=may_set_clocks)
        roll_call = RollCallLink(dialogue)
        self._speakers: Mapping[type, _Speaker] = {
            ReadWords: ModbusRtuLink(dialogue),
            ReadData: dlt645_link,
            ReadAddress: dlt645_link,
            SetClocks: dlt645_link,
            ReadMeter: Cjt188Link(dialogue),
            ReadMbus: MbusLink(dialogue),
            dlt645.CallMeters: roll_call,
            cjt188.CallMeters: roll_call,
            mbus.CallMeters: roll_call,
            mbus.CallSelected: roll_call,
        }

    @property
    def is_open(self) -> bool:
        return self._wire.is_open

    async def open(self) -> None:
        await self._wire.open()

    async def read(self, question: Any) -> Any:
        return await self._speakers[type(question)].read(question)

    async def close(self) -> None:
        self._wire.close()
