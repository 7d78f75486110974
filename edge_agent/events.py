"""What the edge agent reports: a closed list, one dataclass per event.

`EventLog.emit` writes the JSON log line and counts in one call, so that log and counters cannot
disagree. Events mark a change of state (lost, back, given up), never normal operation; the name on
the line is the class name in snake case.
"""

import contextlib
import dataclasses
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TextIO

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    level: ClassVar[Level] = "info"

    @classmethod
    def event(cls) -> str:
        """Name on the log line and of the counter, e.g. ``meter_lost``."""
        return re.sub("(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(frozen=True, slots=True)
class AgentStarted(Event):
    """The agent runs. `held` = batches the aggregator has not acked."""

    edge: str
    outbox: str
    version: str
    meters: int
    held: int


@dataclass(frozen=True, slots=True)
class AgentStopped(Event):
    """The agent ends in order; `unacked` batches stay in the outbox for the next start."""

    unacked: int


@dataclass(frozen=True, slots=True)
class AgentFailed(Event):
    """The agent ends because of an error it cannot live with."""

    level: ClassVar[Level] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class TaskTrouble(Event):
    """Something failed in the event loop where nobody waits for it; the agent goes on."""

    level: ClassVar[Level] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class MeterLost(Event):
    """A meter that used to answer does not."""

    level: ClassVar[Level] = "warning"
    meter: str
    reason: str


@dataclass(frozen=True, slots=True)
class MeterBack(Event):
    """A lost meter answers again."""

    meter: str
    lost_s: float


@dataclass(frozen=True, slots=True)
class MeterRefused(Event):
    """A meter answers with an error that trying again cannot cure."""

    level: ClassVar[Level] = "error"
    meter: str
    reason: str


@dataclass(frozen=True, slots=True)
class GapFilled(Event):
    """What a meter froze while it was not read has been read; `readings` of it were delivered."""

    meter: str
    readings: int


@dataclass(frozen=True, slots=True)
class MeterClockWrong(Event):
    """A meter's clock is too far off for its freezes to be used."""

    level: ClassVar[Level] = "warning"
    meter: str
    off_s: float


@dataclass(frozen=True, slots=True)
class ClocksSet(Event):
    """The time was broadcast to the meters of a bus, as its configuration asks for."""

    bus: str
    time: str


@dataclass(frozen=True, slots=True)
class PollMissed(Event):
    """A bus did not finish in its period; `missed` grid times were skipped."""

    level: ClassVar[Level] = "warning"
    bus: str
    missed: int


@dataclass(frozen=True, slots=True)
class UplinkUp(Event):
    """Connected to the broker."""

    broker: str


@dataclass(frozen=True, slots=True)
class UplinkDown(Event):
    """The broker cannot be reached, refuses, or the connection is lost; the outbox takes all.

    `connects` = connections since the process began; 0 says that there never was one.
    """

    level: ClassVar[Level] = "warning"
    broker: str
    reason: str
    connects: int


@dataclass(frozen=True, slots=True)
class AckIgnored(Event):
    """An acknowledgement could not be read or names batches never written."""

    level: ClassVar[Level] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class MetaRepeated(Event):
    """The aggregator asked for a meta it does not know."""

    hash: str


@dataclass(frozen=True, slots=True)
class BatchGivenUp(Event):
    """The aggregator never acked this batch while others passed; kept here, not sent again."""

    level: ClassVar[Level] = "error"
    seq: int
    readings: int
    tries: int


@dataclass(frozen=True, slots=True)
class BatchUnreadable(Event):
    """The outbox cannot read this batch back: given up, as far as its readings can be counted."""

    level: ClassVar[Level] = "error"
    seq: int
    readings: int
    reason: str


@dataclass(frozen=True, slots=True)
class UnackedEvicted(Event):
    """The outbox is full of unacked batches: the oldest were lost."""

    level: ClassVar[Level] = "error"
    first_seq: int
    last_seq: int
    readings: int


@dataclass(frozen=True, slots=True)
class ReadingsThinned(Event):
    """The outbox is full of unacked batches: old samples went, registers stayed. Told once a fill.

    `first_seq` to `last_seq` are void now; what is left of them has new numbers.
    """

    level: ClassVar[Level] = "warning"
    first_seq: int
    last_seq: int
    readings: int


@dataclass(frozen=True, slots=True)
class OutboxFilling(Event):
    """Unacked readings fill `percent` of the outbox's room (70 or 90); 0 when they do no more."""

    level: ClassVar[Level] = "warning"
    percent: int


@dataclass(frozen=True, slots=True)
class OutboxSalvaged(Event):
    """The outbox's file was damaged; what was whole is in a new one, `lost` batches are not."""

    level: ClassVar[Level] = "error"
    reason: str
    batches: int
    readings: int
    lost: int
    damaged: str


@dataclass(frozen=True, slots=True)
class OutboxVolatile(Event):
    """The disk does not let the outbox be written: readings are in memory alone, and are sent."""

    level: ClassVar[Level] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class ClockSynchronised(Event):
    """The time is known. `source`: ntp, ack or rtc; `held` readings get theirs now."""

    source: str
    held: int


@dataclass(frozen=True, slots=True)
class ClockUnknown(Event):
    """No source tells the time: readings are held until one does."""

    level: ClassVar[Level] = "warning"
    boot: str


@dataclass(frozen=True, slots=True)
class CommandDone(Event):
    """A command was carried out."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class ConfigurationChanged(Event):
    """A pushed configuration is in force (`kept`), or the one before it is again."""

    level: ClassVar[Level] = "warning"
    kept: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CommitFailed(Event):
    """Readings could not be made durable; they stay in memory and are tried again."""

    level: ClassVar[Level] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class CommitRecovered(Event):
    """The outbox takes readings again; `dropped` were given up since it did not."""

    dropped: int


@dataclass(frozen=True, slots=True)
class ReadingsDropped(Event):
    """Memory is full of readings no commit takes: the oldest are given up, these the first."""

    level: ClassVar[Level] = "error"
    readings: int


@dataclass(frozen=True, slots=True)
class CertificateEnding(Event):
    """The edge's certificate holds so many days more, fewer than 30; below 0 it has ended."""

    level: ClassVar[Level] = "warning"
    days: int


@dataclass(frozen=True, slots=True)
class CommandRefused(Event):
    """A command was not carried out."""

    level: ClassVar[Level] = "warning"
    name: str
    reason: str


Emit = Callable[[Event], None]
"""What a part needs to report events: `EventLog.emit`, or a list's `append` in a test."""


class EventLog:
    """Writes events as JSON lines and counts them by name."""

    def __init__(self, time_ms: Callable[[], int], stream: TextIO | None = None) -> None:
        self._time_ms = time_ms
        self._stream = sys.stderr if stream is None else stream
        self._counts: Counter[str] = Counter()

    def emit(self, event: Event) -> None:
        """Count the event and write its line."""
        name = event.event()
        self._counts[name] += 1
        line = {"time_ms": self._time_ms(), "level": event.level, "event": name}
        line |= {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
        with contextlib.suppress(OSError):  # a full disk below the log is no reason to end
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._stream.flush()

    def counts(self) -> Mapping[str, int]:
        """Events so far, by name."""
        return dict(self._counts)
