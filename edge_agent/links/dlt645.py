"""DL/T 645 on a wire: data with all its follow-up frames, and the address of an only meter.

Reading only. The one exception, the broadcast of the time, is refused unless the link was made with
leave to send it.
"""

from dataclasses import replace

from edge_agent.codecs.dlt645 import Block, ReadAddress, ReadData, SetClocks
from edge_agent.errors import LinkError
from edge_agent.links.dialogue import Dialogue

GAP_S = 0.02
"""Pause before a request [s]: what the standard grants a meter before it must listen again."""
MOST_FRAMES = 255


class Dlt645Link:
    """Speaks DL/T 645 on a wire that others may share."""

    def __init__(self, dialogue: Dialogue, *, may_set_clocks: bool) -> None:
        """`dialogue` = the wire's; `may_set_clocks` = whether `SetClocks` is let through."""
        self._dialogue = dialogue
        self._may_set_clocks = may_set_clocks

    async def read(self, question: ReadData | ReadAddress | SetClocks) -> bytes | str:
        """Return the data under an identifier, or the address; errors as of `MeterLink.read`."""
        if isinstance(question, SetClocks):
            if not self._may_set_clocks:
                raise PermissionError("this bus is not configured to set clocks")
            await self._dialogue.tell(question.message, GAP_S)
            return b""
        if isinstance(question, ReadAddress):
            return await self._dialogue.ask(question, GAP_S)
        block: Block = await self._dialogue.ask(question, GAP_S)
        data = block.data
        for sequence in range(1, MOST_FRAMES + 1):
            if not block.more:
                return data
            block = await self._dialogue.ask(replace(question, sequence=sequence), GAP_S)
            data += block.data
        raise LinkError(question.unit, f"data {question.id} has no end")
