"""What is true right now: last values, edges' states, rates. In memory only; for the live view.

Written by the pipeline's thread, read by the API's: every update replaces whole values.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from aggregator.batch import ReadingColumns
from contract.state import EdgeState
from contract.topics import Address

RATE_WINDOW_MS = 10_000
"""Readings per second are the mean over this window [ms]."""


@dataclass(frozen=True, slots=True)
class LastValue:
    """The newest value of an instantaneous channel [catalogue unit], at ``time_ms`` [ms UTC]."""

    value: float
    time_ms: int


class Live:
    """Newest instantaneous values by series, states by edge, and the rate of readings."""

    def __init__(self) -> None:
        self._values = np.empty(0, np.float64)
        self._times = np.empty(0, np.int64)
        self._states: dict[Address, EdgeState] = {}
        self._arrivals: deque[tuple[int, int]] = deque()
        self._rolled_up_ms: int | None = None

    def take(self, readings: ReadingColumns, count: int, now_ms: int) -> None:
        """Note instantaneous readings in any order, and how many readings of all kinds came."""
        if len(readings):
            self._grow(int(readings.series.max()) + 1)
            order = np.argsort(readings.time_ms, kind="stable")
            series, times = readings.series[order], readings.time_ms[order]
            newer = times >= self._times[series]
            self._times[series[newer]] = times[newer]
            self._values[series[newer]] = readings.value[order][newer]
        self._arrivals.append((now_ms, count))
        while self._arrivals and self._arrivals[0][0] < now_ms - RATE_WINDOW_MS:
            self._arrivals.popleft()

    def take_state(self, address: Address, state: EdgeState) -> None:
        """Note what an edge says of itself; of one gone offline the rest stays as it was."""
        known = self._states.get(address)
        if not state.online and known is not None:
            state = replace(known, online=False, time_ms=state.time_ms)
        self._states[address] = state

    def last(self, series: int) -> LastValue | None:
        """Return the newest value of a series, None when none came since the start."""
        if series >= len(self._times) or self._times[series] == 0:
            return None
        return LastValue(float(self._values[series]), int(self._times[series]))

    def state(self, address: Address) -> EdgeState:
        """Return the last state of an edge that has told one."""
        return self._states[address]

    def states(self) -> Mapping[Address, EdgeState]:
        """Return the last state of every edge."""
        return dict(self._states)

    def readings_per_s(self, now_ms: int) -> float:
        """Return the readings per second committed in the last ten seconds."""
        since = now_ms - RATE_WINDOW_MS
        total = sum(count for time_ms, count in tuple(self._arrivals) if time_ms >= since)
        return total * 1_000 / RATE_WINDOW_MS

    @property
    def rolled_up_ms(self) -> int | None:
        """Hours, days and months hold what was committed before [ms]; None: not known yet."""
        return self._rolled_up_ms

    def roll_up(self, began_ms: int) -> None:
        """Note a round of roll-ups that is done, by when it began."""
        self._rolled_up_ms = began_ms

    def _grow(self, size: int) -> None:
        if size > len(self._times):
            room = np.zeros(max(size, 2 * len(self._times)) - len(self._times))
            self._values = np.append(self._values, room)
            self._times = np.append(self._times, room.astype(np.int64))
