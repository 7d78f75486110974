"""The only file of the edge agent that reads a clock.

Everything else receives a `Clock`, so that a test or the lockstep backlog run decides what time
it is. Wall time is UTC milliseconds and may jump; monotonic time is seconds and never does.
"""

import asyncio
import time
from typing import Protocol

_LONGEST_NAP_S = 1.0  # a forward jump of the wall clock is noticed within this


class Clock(Protocol):
    """Where the time comes from."""

    def time_ms(self) -> int:
        """Wall clock, UTC milliseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    async def sleep_until(self, time_ms: int) -> None:
        """Sleep until the wall clock shows `time_ms`.

        Returns at once when that is past. May return early or late when the wall clock jumps:
        the caller reads the time again and decides.
        """
        ...


class SystemClock:
    """The machine's clock."""

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep_until(self, time_ms: int) -> None:
        # The longest wait is fixed at entry on the monotonic clock, so that a backward jump of
        # the wall clock (NTP after a boot without battery) cannot make the caller sleep for years.
        deadline = time.monotonic() + (time_ms - self.time_ms()) / 1000
        while (left_s := min(deadline - time.monotonic(), (time_ms - self.time_ms()) / 1000)) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, _LONGEST_NAP_S))


class SteppingClock:
    """A clock that stands still until `advance` moves it: the lockstep run and tests.

    `monotonic` follows the same time. `sleep_until` returns once `advance` has reached its target.
    """

    def __init__(self, time_ms: int) -> None:
        self._time_ms = time_ms
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def time_ms(self) -> int:
        return self._time_ms

    def monotonic(self) -> float:
        return self._time_ms / 1000

    async def sleep_until(self, time_ms: int) -> None:
        if time_ms <= self._time_ms:
            await asyncio.sleep(0)  # still let others run, as a real sleep would
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((time_ms, future))
        await future

    def advance(self, time_ms: int) -> None:
        """Move to `time_ms` and wake everyone whose time has come. ValueError if it goes back."""
        if time_ms < self._time_ms:
            raise ValueError(f"clock cannot go back from {self._time_ms} to {time_ms}")
        self._time_ms = time_ms
        due = [item for item in self._sleepers if item[0] <= time_ms]
        self._sleepers = [item for item in self._sleepers if item[0] > time_ms]
        for _, future in sorted(due, key=lambda item: item[0]):
            if not future.done():
                future.set_result(None)
