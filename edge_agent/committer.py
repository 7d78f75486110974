"""Gives readings to the outbox and makes them durable, whatever clock and disk do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from contract.reading import Quality, Reading
from edge_agent.clock import Clock
from edge_agent.errors import OutboxError, OutboxFullError
from edge_agent.events import CommitFailed, CommitRecovered, Emit, OutboxFilling, ReadingsDropped
from edge_agent.outbox.base import Outbox, moved
from edge_agent.timekeeping import Timekeeper

MAX_PENDING_READINGS = 50_000
"""Uncommitted readings kept in memory while the outbox does not take them: about 10 MB."""
NOT_OURS = frozenset({Quality.MANUAL, Quality.FREEZE})
"""Readings whose time does not come from the gateway's clock."""
STUCK_S = 600.0
"""After so long without a commit, for another reason than a full disk, the agent ends: started
again, it keeps readings in memory and sends them."""


class TimedSink:
    """Gives readings to the outbox, or has them held while no source tells the time."""

    def __init__(self, outbox: Outbox, keeper: Timekeeper) -> None:
        self._outbox = outbox
        self._keeper = keeper

    def append(self, readings: Sequence[Reading]) -> None:
        """Take readings whose times were asked of the keeper just now, or are somebody else's.

        What a meter froze or a person wrote down bears a time that no clock here has made.
        """
        if self._keeper.known:
            self._outbox.append(readings)
            return
        timed = [reading for reading in readings if reading.quality in NOT_OURS]
        if timed:
            self._outbox.append(timed)
        ours = [reading for reading in readings if reading.quality not in NOT_OURS]
        since_boot = moved(ours, -self._keeper.guess_ms, None)
        self._outbox.hold(since_boot, self._keeper.boot, self._keeper.guess_ms)


class Committer:
    """Makes readings durable every period, and bears it when the disk does not take them."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        emit: Emit,
        period_s: float,
        keeper: Timekeeper | None = None,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._emit = emit
        self._period_s = period_s
        self._keeper = keeper
        self._failing_since: float | None = None
        self._dropped = 0
        self._alarm = 0

    async def run(self, notify: Callable[[], None]) -> None:
        """Commit for ever, and tell of new batches. OutboxError: the disk is gone for good."""
        while True:
            await asyncio.sleep(self._period_s)
            if self.commit():
                notify()

    async def release(self, notify: Callable[[], None], known: asyncio.Event) -> None:
        """Number held readings as soon as their time is known, some at a time."""
        keeper = self._keeper
        if keeper is None:
            return
        for boot in self._outbox.held_boots():
            if boot != keeper.boot:
                await self._place(boot, None)
        while True:
            await known.wait()
            known.clear()
            if keeper.offset is not None:
                await self._place(keeper.boot, keeper.offset.ms)
            self.commit()
            notify()

    async def _place(self, boot: str, offset_ms: int | None) -> None:
        """Number all held readings of a boot, however long the disk does not take them."""
        while True:
            try:
                while self._outbox.release(boot, offset_ms):  # noqa: ASYNC110
                    await asyncio.sleep(0)
            except OutboxError:
                self.commit()  # which tells of it, and ends the agent when it lasts
                await asyncio.sleep(self._period_s)
            else:
                return

    def commit(self) -> bool:
        """Commit once; True when there are new batches."""
        now_s = self._clock.monotonic()
        # Nothing is old by a clock that is not believed.
        timed = self._keeper is None or self._keeper.offset is not None
        try:
            written = self._outbox.commit(self._clock.time_ms() if timed else 0)
        except OutboxError as error:
            if self._failing_since is None:
                self._failing_since = now_s
                self._emit(CommitFailed(str(error)))
            dropped = self._outbox.drop_pending(MAX_PENDING_READINGS)
            if dropped and not self._dropped:
                self._emit(ReadingsDropped(dropped))
            self._dropped += dropped
            full = isinstance(error, OutboxFullError)
            if not full and now_s - self._failing_since > STUCK_S:
                raise
            return False
        if self._failing_since is not None:
            self._emit(CommitRecovered(self._dropped))
            self._failing_since = None
            self._dropped = 0
        self._watch()
        return len(written) > 0

    def _watch(self) -> None:
        alarm = self._outbox.stats().alarm_percent
        if alarm != self._alarm:
            self._alarm = alarm
            self._emit(OutboxFilling(alarm))
