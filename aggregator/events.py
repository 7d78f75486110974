"""What the aggregator reports: a closed list of events, and the counters of everything it does.

An event marks a change of state and is one JSON line on stderr; what happens all the time is only
counted. Nothing that is dropped, doubled, late, refused or unregistered goes uncounted.
"""

import contextlib
import dataclasses
import json
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Literal, TextIO

from aggregator.verdict import RuleId, Verdict


class Counter(StrEnum):
    """Names of the counters: Prometheus ``nenghao_aggregator_<name>_total``."""

    INBOX_DROPPED = "inbox_dropped_messages"
    BROKER_LOST = "lost_broker_connections"
    """Connections that ended, or that could not be made."""
    FOREIGN = "foreign_messages"
    """Topic outside the grammar or payload of a kind that an edge does not send."""
    UNDECODABLE = "undecodable_messages"
    BATCHES = "committed_batches"
    DUPLICATES = "duplicate_batches"
    OTHER_CONTENT = "other_content_batches"
    """Batches under the number of another one: kept in quarantine."""
    META_UNKNOWN = "unknown_meta_batches"
    VOIDED = "voided_batches"
    """Sequence numbers that edges gave up or let fall below their floor unseen."""
    READINGS = "committed_readings"
    LATE = "late_readings"
    OTHER_EDGE = "other_edge_readings"
    """Of meters for which the register names another edge: they only fill its gaps."""
    DOOR = "quarantined_readings"
    """Readings whose time is impossible."""
    QUARANTINE_EVICTED = "evicted_quarantined_payloads"
    """Undecodable payloads and refused lines that left the quarantine for want of room."""
    NO_ROOM = "unkept_misdated_batches"
    """Batches with impossible times, or with other content under a settled number, that found no
    room in the quarantine: not acknowledged."""
    RECORDS_FAILED = "failed_record_writes"
    """Metas, states and quarantined payloads that the records did not take: metas are asked for
    again, states written again, batches with impossible times not acknowledged; payloads that break
    the contract never are, refused lines are lost here."""
    UNREGISTERED = "unregistered_readings"
    REVERSE_RATES = "reverse_rate_readings"
    """Rates below zero of meters that are integrated: they count as no flow."""
    INTERVALS = "written_intervals"
    REFUSED = "refused_lines"
    STORE_RETRIES = "store_retries"
    COMMITS = "commits"
    ACKS = "acks"
    ROLLUP_DAYS = "rolled_up_days"
    UNMADE = "refused_channel_updates"
    """Times that the register kernel refused a channel's readings: kept raw, made good later."""
    FAILED = "failed_amendments"
    """Sites' figures that could not be brought in line with what is declared: tried again when the
    next fact is told, and at the next start."""
    RELEASED = "released_readings"
    """Readings that the door had refused and a clock event let in."""
    BEFORE_COMMISSIONING = "before_commissioning_verdicts"
    """This and the following: verdicts given, by rule (aggregator/ledger/tables/rules.csv)."""
    CLOCK_NOT_SET = "clock_not_set_verdicts"
    VALUE_RANGE = "value_range_verdicts"
    DUPLICATE_TIME = "duplicate_time_verdicts"
    SPIKE_AND_RETURN = "spike_and_return_verdicts"
    STEP_ABOVE_RATING = "step_above_rating_verdicts"
    STEP_ABOVE_HALF_MODULUS = "step_above_half_modulus_verdicts"
    BACKWARD_STEP = "backward_step_verdicts"
    ROLLOVER = "rollover_verdicts"
    STUCK_REGISTER = "stuck_register_verdicts"


VERDICT_COUNTERS: Mapping[RuleId, Counter] = MappingProxyType(
    {
        rule: Counter(name)
        for rule in RuleId
        if (name := f"{rule.replace('-', '_')}_verdicts") in set(Counter)
    }
)
"""Rules whose verdicts are stored."""


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    level: ClassVar[Literal["info", "warning", "error"]] = "info"


@dataclass(frozen=True, slots=True)
class RegisterImported(Event):
    """The register's folder differed from its database, which now says the same."""

    changed: str
    """Number of changed rows per table."""


@dataclass(frozen=True, slots=True)
class FactorsNotApplied(Event):
    """Stored measures of some sites were made with other rows of factors or prices, or other
    measured values, than are configured: `nenghao factors apply` makes them anew.
    """

    level: ClassVar[Literal["warning"]] = "warning"
    factor_set: str
    """Configured."""
    sites: int
    first: str
    """One of them."""


@dataclass(frozen=True, slots=True)
class AggregatorStarted(Event):
    """The aggregator runs."""

    version: str
    store: str
    api: str
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SecretExposed(Event):
    """A password or token is sent without TLS to a host that is not this one."""

    level: ClassVar[Literal["warning"]] = "warning"
    section: str
    host: str


@dataclass(frozen=True, slots=True)
class AggregatorStopped(Event):
    """The aggregator ends in order."""


@dataclass(frozen=True, slots=True)
class AggregatorFailed(Event):
    """The aggregator ends because of an error it cannot live with."""

    level: ClassVar[Literal["error"]] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class BrokerConnected(Event):
    """The broker is there."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class BrokerLost(Event):
    """The broker is away; edges keep their readings."""

    level: ClassVar[Literal["warning"]] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class StoreLost(Event):
    """The store does not take the commit; it is repeated unchanged until it does."""

    level: ClassVar[Literal["warning"]] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class StoreBack(Event):
    """The store takes commits again."""

    lost_s: float


@dataclass(frozen=True, slots=True)
class RecordsLost(Event):
    """The records take no meta, state or quarantined payload; readings go on."""

    level: ClassVar[Literal["warning"]] = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class RecordsBack(Event):
    """The records take writes again."""


@dataclass(frozen=True, slots=True)
class PayloadQuarantined(Event):
    """A payload breaks the contract; kept by its hash, not acknowledged."""

    level: ClassVar[Literal["warning"]] = "warning"
    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class TimesQuarantined(Event):
    """Readings of a batch carry impossible times; the payload is kept in quarantine."""

    level: ClassVar[Literal["warning"]] = "warning"
    topic: str
    readings: int


@dataclass(frozen=True, slots=True)
class NumberReused(Event):
    """A batch brings other content under the number of one that is settled; kept in quarantine.

    Said once per edge; every batch is counted.
    """

    level: ClassVar[Literal["warning"]] = "warning"
    topic: str


@dataclass(frozen=True, slots=True)
class QuarantineFull(Event):
    """No more batches that edges could let go of are kept; what comes is not acknowledged."""

    level: ClassVar[Literal["error"]] = "error"
    topic: str
    """Of the first that found no room."""


@dataclass(frozen=True, slots=True)
class MeterUnregistered(Event):
    """Readings of a meter that the register does not know: kept raw, in no total."""

    level: ClassVar[Literal["warning"]] = "warning"
    region: str
    site: str
    meter: str


@dataclass(frozen=True, slots=True)
class ChannelRefused(Event):
    """The register kernel refuses a channel's readings, which are kept: it is to be repaired."""

    level: ClassVar[Literal["error"]] = "error"
    region: str
    site: str
    meter: str
    channel: str
    reason: str


@dataclass(frozen=True, slots=True)
class AmendmentFailed(Event):
    """A site's figures could not be brought in line with what is declared; the rest goes on."""

    level: ClassVar[Literal["error"]] = "error"
    region: str
    site: str
    reason: str


@dataclass(frozen=True, slots=True)
class LineRefused(Event):
    """The database refused a line for its content; it is kept in quarantine, the rest goes on.

    Said once per series; every line is counted.
    """

    level: ClassVar[Literal["error"]] = "error"
    line: str
    reason: str


Emit = Callable[[Event], None]


class Events:
    """Writes events as JSON lines and keeps the counters; safe from any thread."""

    def __init__(self, time_ms: Callable[[], int], stream: TextIO | None = None) -> None:
        self._time_ms = time_ms
        self._stream = sys.stderr if stream is None else stream
        self._counts: dict[str, int] = dict.fromkeys(Counter, 0)
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Write the line of an event."""
        name = re.sub("(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
        line = {"time_ms": self._time_ms(), "level": event.level, "event": name}
        line |= {entry.name: getattr(event, entry.name) for entry in dataclasses.fields(event)}
        with self._lock, contextlib.suppress(OSError):  # a full disk below the log ends nothing
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._stream.flush()

    def count(self, counter: Counter, amount: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[counter] += amount

    def count_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Count what was given, by rule; what is withdrawn was counted when it was given."""
        for verdict in verdicts:
            if verdict.outcome:
                self.count(VERDICT_COUNTERS[verdict.rule])

    def counts(self) -> Mapping[str, int]:
        """Return all counters by name."""
        with self._lock:
            return {str(name): count for name, count in self._counts.items()}
