"""Lines that the database refuses for their content: kept aside and told; the rest goes on."""

from collections.abc import Callable, Sequence

from aggregator.events import Counter, Events, LineRefused
from aggregator.recorder import Recorder
from aggregator.store.base import CommitResult, Refused

TOPIC = "refused line"
"""Stands in quarantine where a payload has its topic."""


class DeadLetters:
    """Owned by the thread that writes to the store."""

    def __init__(self, recorder: Recorder, events: Events, time_ms: Callable[[], int]) -> None:
        self._recorder = recorder
        self._events = events
        self._time_ms = time_ms
        self._told: set[str] = set()
        """InfluxDB series told to have refused lines."""

    def note(self, result: CommitResult | None) -> None:
        """Keep the lines that the store refused of a write; name each series once."""
        lines: Sequence[Refused] = result.refused if result else ()
        for refused in lines:
            self._events.count(Counter.REFUSED)
            line, reason = refused.line.encode(), refused.reason
            self._recorder.quarantine(line, TOPIC, reason, self._time_ms())
            series = refused.line.split(" ", 1)[0]
            if series not in self._told:
                self._told.add(series)
                self._events.emit(LineRefused(refused.line, refused.reason))
