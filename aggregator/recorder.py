"""Writes to the records when they take it: no reading waits for them."""

from collections.abc import Callable
from typing import TypeVar

from aggregator.events import Counter, Events, QuarantineFull, RecordsBack, RecordsLost
from aggregator.records import Records, RecordsUnavailable

Result = TypeVar("Result")


class Recorder:
    """Counts what the records did not take, and tells when they are lost and back."""

    def __init__(self, records: Records, events: Events) -> None:
        self._records = records
        self._events = events
        self._lost = False
        self._full = False

    def attempt(self, write: Callable[[Records], Result]) -> Result | None:
        """Return what a write or read of the records returns; None when they are unavailable."""
        try:
            result = write(self._records)
        except RecordsUnavailable as error:
            self._events.count(Counter.RECORDS_FAILED)
            if not self._lost:
                self._lost = True
                self._events.emit(RecordsLost(str(error)))
            return None
        if self._lost:
            self._lost = False
            self._events.emit(RecordsBack())
        return result

    def keep(self, payload: bytes, topic: str, reason: str, now_ms: int) -> bool:
        """Keep a batch aside that its edge may let go of; False: it is not kept."""
        kept = self.attempt(lambda to: to.keep(payload, topic, reason, now_ms))
        if kept is False:
            self._events.count(Counter.NO_ROOM)
            if not self._full:
                self._events.emit(QuarantineFull(topic))
        if kept is not None:
            self._full = not kept
        return bool(kept)

    def quarantine(self, payload: bytes, topic: str, reason: str, now_ms: int) -> None:
        """Keep a payload aside."""
        evicted = self.attempt(lambda to: to.quarantine(payload, topic, reason, now_ms))
        self._events.count(Counter.QUARANTINE_EVICTED, evicted or 0)
