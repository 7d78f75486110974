"""M-Bus on a wire: all telegrams of a meter, by its primary or secondary address.

A primary address is reset first (SND_NKE), so that its telegrams begin with the first; a secondary
address is selected. The frame count bit turns with each telegram taken, so that an answer that was
lost is sent once more and none is taken twice.
"""

from edge_agent.codecs.mbus import SELECTED, ReadMbus, RequestData, has_more, reset, select
from edge_agent.errors import LinkError
from edge_agent.links.dialogue import Dialogue

MOST_TELEGRAMS = 16
_IDLE_BITS = 22
"""Silence before a request: twice what the standard asks of the wire after an answer."""


class MbusLink:
    """Speaks M-Bus on a wire."""

    def __init__(self, dialogue: Dialogue) -> None:
        """`dialogue` = the wire's."""
        self._dialogue = dialogue
        baud = dialogue.wire.baud
        self._gap_s = _IDLE_BITS / baud if baud else 0.0
        self._next_fcb: dict[str, bool] = {}

    async def read(self, question: ReadMbus) -> tuple[bytes, ...]:
        """Return the frames of all telegrams; errors as of `MeterLink.read`."""
        unit = f"meter {question.address}"
        primary = question.primary
        if primary is not None:
            await self._dialogue.ask(reset(primary, unit), self._gap_s)
            self._next_fcb[unit] = True
        else:
            await self._dialogue.ask(select(question, unit), self._gap_s)
        address = SELECTED if primary is None else primary
        pattern = question.pattern if primary is None else b""
        telegrams: list[bytes] = []
        while len(telegrams) < MOST_TELEGRAMS:
            fcb = self._next_fcb.get(unit, True)
            request = RequestData(unit, address, fcb, pattern)
            telegrams.append(await self._dialogue.ask(request, self._gap_s))
            self._next_fcb[unit] = not fcb
            if not has_more(telegrams[-1]):
                return tuple(telegrams)
        raise LinkError(unit, f"more than {MOST_TELEGRAMS} telegrams")
