"""Sets the clocks of the DL/T 645 meters on a wire, where the bus is configured to."""

from datetime import datetime

from edge_agent.clock import Clock
from edge_agent.codecs.dlt645 import SetClocks
from edge_agent.errors import LinkError
from edge_agent.events import ClocksSet, Emit
from edge_agent.freezes import METER_ZONE
from edge_agent.links.base import MeterLink

DAY_MS = 86_400_000
OFFSET_MS = 5 * 3_600_000
"""Shifts UTC so that its days begin at 03:00 in Beijing [ms]."""
ALLOWED_MS = 18 * 3_600_000
"""From 03:00 to 21:00 [ms]: far from midnight, when meters freeze their counts."""


class ClockSetter:
    """Broadcasts the time once a day; not on the day the process begins, lest it do so twice."""

    def __init__(self, bus: str, clock: Clock, emit: Emit) -> None:
        """`bus` = id, for the log."""
        self._bus = bus
        self._clock = clock
        self._emit = emit
        self._day = (clock.time_ms() + OFFSET_MS) // DAY_MS

    async def tell(self, link: MeterLink) -> None:
        """Broadcast the time when today it was not."""
        now_ms = self._clock.time_ms()
        day = (now_ms + OFFSET_MS) // DAY_MS
        self._day = min(self._day, day)  # the wall clock went back: follow it
        late = (now_ms + OFFSET_MS) % DAY_MS >= ALLOWED_MS
        if day == self._day or late or not link.is_open:
            return
        moment = datetime.fromtimestamp(now_ms / 1000, METER_ZONE)
        try:
            await link.read(SetClocks(moment))
        except LinkError:
            return  # the meters' own failures tell of a broken wire; the next poll tries again
        self._day = day
        self._emit(ClocksSet(self._bus, moment.isoformat(timespec="seconds")))
