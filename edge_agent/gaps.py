"""When a meter was not read for a while: ask it, step by step, what it froze meanwhile.

One step is one freeze: a slow bus is not held up by a meter that was away for a month.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from contract.reading import Reading
from edge_agent.clock import Clock
from edge_agent.decoders.base import Decoder
from edge_agent.decoders.dlt645 import Dlt645Decoder
from edge_agent.errors import LinkError, MeterError
from edge_agent.events import Emit, GapFilled, MeterClockWrong
from edge_agent.freezes import MARGIN_MS, MOST_OFF_MS, can_fill, meter_clock_off_ms, read_freezes
from edge_agent.links.base import MeterLink

GAP_MS = 1_800_000
"""A meter not read for so long has a gap worth filling [ms]: the catalogue's `gap_limit_s`."""


@dataclass(frozen=True, slots=True)
class Since:
    """What an agent that begins knows of the time before."""

    last_ms: int | None = None
    """When meters were last read before this process [ms UTC], None = unknown."""
    knows_time: Callable[[], bool] = lambda: True
    """Whether the gateway's clock is believed by now."""


class GapFiller:
    """The gaps of one meter; does nothing for a meter that keeps no freezes."""

    def __init__(
        self, meter: str, decoder: Decoder, clock: Clock, emit: Emit, since: Since
    ) -> None:
        self._meter = meter
        self._decoder = decoder if isinstance(decoder, Dlt645Decoder) else None
        self._fills = can_fill(decoder)
        self._clock = clock
        self._emit = emit
        self._since = since
        self._seen_ms = since.last_ms
        self._gap: tuple[int, int] | None = None
        self._freezes: AsyncIterator[list[Reading]] | None = None
        self._filled = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a gap to be filled."""
        return self._gap is not None

    def want(self, after_ms: int, before_ms: int) -> bool:
        """Fill the time between two instants [ms UTC]; False when the meter keeps no freezes."""
        if self._fills:
            self._gap, self._freezes, self._filled = (after_ms, before_ms), None, 0
        return self._fills

    def read_at(self, time_ms: int) -> None:
        """Say that the meter was read; what lies before may be a gap."""
        if not self._since.knows_time():
            return  # a guessed time makes gaps where there are none
        seen_ms, self._seen_ms = self._seen_ms, time_ms
        if seen_ms is not None and self._gap is None and time_ms - seen_ms > GAP_MS:
            self.want(seen_ms + MARGIN_MS, time_ms - MARGIN_MS)

    async def step(self, link: MeterLink) -> list[Reading]:
        """Read one freeze; empty at the end. After a LinkError the next goes on from there."""
        if self._gap is None or self._decoder is None:
            return []
        try:
            if self._freezes is None and not await self._begin(link, self._decoder, self._gap):
                return []
            readings = None if self._freezes is None else await anext(self._freezes, None)
        except LinkError:
            self._freezes = None
            raise
        except MeterError:
            readings = None
        if readings is None:
            self._emit(GapFilled(self._meter, self._filled))
            self._gap = None
            return []
        after_ms, before_ms = self._gap
        self._gap = (after_ms, min(before_ms, readings[0].time_ms))
        self._filled += len(readings)
        return readings

    async def _begin(self, link: MeterLink, decoder: Dlt645Decoder, gap: tuple[int, int]) -> bool:
        """Look at the meter's clock first: it says when its freezes were."""
        address = decoder.questions[0].address
        off_ms = await meter_clock_off_ms(link, address, self._clock.time_ms())
        if abs(off_ms) > MOST_OFF_MS:
            self._emit(MeterClockWrong(self._meter, off_ms / 1000))
            self._gap = None
            return False
        self._freezes = read_freezes(link, decoder, *gap)
        return True
