"""Modbus RTU: over a serial port, or the same frames through a TCP connection."""

from collections.abc import Sequence

from edge_agent.codecs.modbus import ReadWords
from edge_agent.links.dialogue import Dialogue
from edge_agent.wires.base import silence_s


class ModbusRtuLink:
    """Speaks Modbus RTU on a wire that others may share."""

    def __init__(self, dialogue: Dialogue) -> None:
        """`dialogue` = the wire's; its baud rate decides the silence between frames."""
        self._dialogue = dialogue
        baud = dialogue.wire.baud
        self._gap_s = silence_s(baud) if baud else 0.0

    async def read(self, question: ReadWords) -> Sequence[int]:
        """Return the words; errors as of `MeterLink.read`."""
        return await self._dialogue.ask(question, self._gap_s)
