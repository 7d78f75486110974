"""Roll calls on a wire: who of one protocol is there. For looking about, never for polling."""

from edge_agent.codecs.base import Heard, RollCall
from edge_agent.links.dialogue import Dialogue
from edge_agent.wires.base import silence_s

GAP_S = 0.02
"""Pause before a request [s]: the longest any of the protocols wants at usual speeds."""


class RollCallLink:
    """Asks everybody at once."""

    def __init__(self, dialogue: Dialogue) -> None:
        """`dialogue` = the wire's."""
        self._dialogue = dialogue
        baud = dialogue.wire.baud
        self._gap_s = max(GAP_S, silence_s(baud)) if baud else GAP_S

    async def read(self, question: RollCall) -> Heard:
        """Return who answered; LinkError when the wire fails."""
        return await self._dialogue.call(question, self._gap_s)
