"""CJ/T 188 on a wire: the data of a water, gas or heat meter."""

from edge_agent.codecs.cjt188 import ReadMeter
from edge_agent.links.dialogue import Dialogue

GAP_S = 0.02
"""Pause before a request [s]."""


class Cjt188Link:
    """Speaks CJ/T 188 on a wire that others may share."""

    def __init__(self, dialogue: Dialogue) -> None:
        """`dialogue` = the wire's."""
        self._dialogue = dialogue

    async def read(self, question: ReadMeter) -> bytes:
        """Return the data under the identifier; errors as of `MeterLink.read`."""
        return await self._dialogue.ask(question, GAP_S)
