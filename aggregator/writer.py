"""Writes to the store however long that takes, and sees to what every write brings with it."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from aggregator.batch import IntervalColumns
from aggregator.dead_letters import DeadLetters
from aggregator.events import Counter, Events, StoreBack, StoreLost
from aggregator.points import Points
from aggregator.rollups import Rollups, days_of
from aggregator.store.base import (
    Commit,
    CommitResult,
    Store,
    StoreRetriable,
)

_RETRY_S = (0.2, 10.0)

Result = TypeVar("Result")


class Stopped(Exception):  # noqa: N818 - an order, not an error
    """The pipeline was asked to end while the store was away."""


class Writer:
    """Owned by the pipeline's thread; `stop` from any."""

    def __init__(
        self,
        store: Store,
        rollups: Rollups,
        dead_letters: DeadLetters,
        events: Events,
    ) -> None:
        self._store = store
        self._rollups = rollups
        self._dead_letters = dead_letters
        self._events = events
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether the end was asked for."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ask for the end: whoever waits for the store gets `Stopped`."""
        self._stopping.set()

    def insist(self, call: Callable[[], Result]) -> Result:
        """Repeat a call of the store until it succeeds; `Stopped` when asked to end."""
        lost_at: float | None = None
        wait_s = _RETRY_S[0]
        while True:
            try:
                result = call()
            except StoreRetriable as error:
                self._events.count(Counter.STORE_RETRIES)
                if lost_at is None:
                    lost_at = time.monotonic()
                    self._events.emit(StoreLost(str(error)))
                if self._stopping.wait(wait_s):
                    raise Stopped from None
                wait_s = min(2 * wait_s, _RETRY_S[1])
            else:
                if lost_at is not None:
                    self._events.emit(StoreBack(round(time.monotonic() - lost_at, 1)))
                return result

    def each(self, make: Callable[[], Iterator[Result]]) -> Iterator[Result]:
        """Yield what an iterator over the store yields; when that was away, of one made anew."""
        some: Iterator[Result] | None = None

        def following() -> Sequence[Result]:
            nonlocal some
            try:
                some = make() if some is None else some
                return list(islice(some, 1))
            except StoreRetriable:
                some = None
                raise

        while found := self.insist(following):
            yield found[0]

    def commit(self, commit: Commit, restate: Callable[[], IntervalColumns] | None) -> None:
        """Commit, and see to the roll-ups of its intervals' days, which become dirty.

        Records of settled days are kept before each try: a day may settle while the store is away.
        restate: keeps them, and returns the intervals as they are to be written then.
        """
        days = days_of(self._store.directory, commit.intervals)
        self._rollups.wait_for(commit.dirty)
        commit = replace(commit, dirty=days | commit.dirty)

        def attempt() -> CommitResult:
            if restate is None:
                return self._store.commit(commit)
            return self._store.commit(replace(commit, intervals=restate()))

        self._dead_letters.note(self.insist(attempt))
        starts = commit.intervals.start_ms
        if len(starts):
            self._rollups.mark(days, int(starts.min()), int(starts.max()))
        self._events.count(Counter.INTERVALS, len(starts))
        self._events.count_verdicts(commit.verdicts)

    def points(self, points: Points) -> int:
        """Write points of a dashboard's measurement; return how many."""
        result = self.insist(lambda: self._store.write_points(points))
        self._dead_letters.note(result)
        return result.intervals
