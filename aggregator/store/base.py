"""The Store protocol: what the aggregator needs of a database, whichever it is.

Promises every implementation keeps (tests/suites/store_suite.py):

* `commit` returns only when everything in it survives a crash. The same commit again changes
  nothing, so after `StoreRetriable` the caller repeats it unchanged.
* Readings are kept as they came; of several with the same (series, time) one of counting quality
  goes before the others, then the lowest (outbox id, seq), then lowest (quality, value): any order
  of arrival reads the same.
* Verdicts are upserted by (series, time, rule); one that is written as withdrawn is no longer read.
* A dirty mark is durable no later than the intervals that caused it, so roll-ups are redone after
  a crash between the two.
* One thread writes (and may read); any other thread reads through a `reader()` of its own.

Errors:
    StoreError
      StoreRetriable    server away, slow or busy: the same call later may succeed
      StoreRefused      permanent: nothing changes until a person acts
        StoreMismatch   the store was made with another grid or layout
        StoreOwned      another process holds the embedded file; `owner` says who
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import (
    SPARE,
    ColumnError,
    Float64,
    Int32,
    Int64,
    IntervalColumns,
    ReadingColumns,
    UInt8,
)
from aggregator.directory import Directory, Source
from aggregator.points import Points
from aggregator.verdict import Verdict
from contract.reading import COUNTING_CODES, Quality
from contract.stored import Level, Measurement

NO_TIME = int(np.iinfo(np.int64).min)
"""In `last_times`: the series has no reading."""

Ranges = tuple[tuple[int, int], ...]
"""Settled sequence numbers: inclusive (lo, hi), ascending, disjoint, not adjacent."""


class StoreError(Exception):
    """The store did not do what it was asked."""


class StoreRetriable(StoreError):  # noqa: N818 - says what to do, not that it failed
    """The same call may succeed later."""


class StoreRefused(StoreError):  # noqa: N818 - as above
    """The call will fail again until a person acts."""


class StoreMismatch(StoreRefused):
    """The store holds another grid or layout than the process was started with."""


class StoreOwned(StoreRefused):
    """Another process owns the embedded store; `owner` is what it wrote into the lock file."""

    def __init__(self, message: str, owner: str) -> None:
        super().__init__(message)
        self.owner = owner


class DirtyDay(NamedTuple):
    """The hour, day and month figures of a site must be redone for one Beijing day."""

    region: str
    site: str
    day_ms: int
    """Start of the day at +08:00, UTC ms."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What becomes durable together before batches are acknowledged."""

    cumulative: ReadingColumns
    instantaneous: ReadingColumns
    intervals: IntervalColumns
    """Base level. Two rows of one key are an error."""
    receipts: Mapping[Source, Ranges]
    """Per source touched: all that is settled after this commit."""
    dirty: AbstractSet[DirtyDay]
    verdicts: Sequence[Verdict] = ()
    """Changes: new ones, and withdrawn ones."""

    @classmethod
    def without_readings(
        cls,
        intervals: IntervalColumns | None = None,
        dirty: AbstractSet[DirtyDay] = frozenset(),
        verdicts: Sequence[Verdict] = (),
    ) -> "Commit":
        """Return what is made of readings that are in the store already."""
        return cls(
            ReadingColumns.empty(cumulative=True),
            ReadingColumns.empty(cumulative=False),
            IntervalColumns.empty() if intervals is None else intervals,
            {},
            dirty,
            verdicts,
        )

    def __post_init__(self) -> None:
        if not self.cumulative.cumulative or self.instantaneous.cumulative:
            raise ColumnError("Commit: cumulative values are int64, instantaneous ones float64")


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that the database rejected for its content: dead-letter it."""

    line: str
    reason: str


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What happened to a commit; empty `refused` is the rule."""

    readings: int
    intervals: int
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """`ok` and one line that says why not."""

    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class InstantColumns:
    """Instantaneous readings for a chart, sorted by (series, time)."""

    series: Int32
    time_ms: Int64
    value: Float64
    quality: UInt8


class StoreReader(Protocol):
    """Reads; each thread needs one of its own."""

    def readings(
        self,
        series: Int32,
        from_ms: int,
        to_ms: int,
        *,
        before: int = 0,
        after: int = 0,
        counting: AbstractSet[int] | None = None,
    ) -> ReadingColumns:
        """Return cumulative readings in [from_ms, to_ms], both included, and neighbours.

        Per series the `before` last readings before `from_ms` and the `after` first ones after
        `to_ms` come too. With `counting`, only readings of these qualities count as neighbours
        and those of other quality on the way to them are included. One reading per
        (series, time); sorted by (series, time).
        """
        ...

    def versions(self, series: Int32, from_ms: int, to_ms: int) -> ReadingColumns:
        """Return all cumulative readings in [from_ms, to_ms] as they came, in any order.

        For whoever may still move one of two readings of one time away from the other.
        """
        ...

    def instant(self, series: Int32, from_ms: int, to_ms: int) -> InstantColumns:
        """Return instantaneous readings in [from_ms, to_ms], one per (series, time)."""
        ...

    def intervals(self, level: Level, series: Int32, from_ms: int, to_ms: int) -> IntervalColumns:
        """Return figures whose start lies in [from_ms, to_ms), sorted by (series, start)."""
        ...

    def verdicts(self, series: Int32, from_ms: int, to_ms: int) -> Sequence[Verdict]:
        """Return the verdicts that stand of times in [from_ms, to_ms), by (series, time, rule)."""
        ...

    def last_times(self, series: Int32) -> Int64:
        """Return per series the time of its last cumulative reading [ms], or NO_TIME."""
        ...

    def points(
        self,
        of: Measurement,
        from_ms: int,
        to_ms: int,
        where: Mapping[str, Collection[str]] = MappingProxyType({}),
        nonzero: str = "",
    ) -> Points:
        """Return points in [from_ms, to_ms) whose tags are among those named, by (tags, time).

        nonzero: an integer field; points where it is 0 or absent are left out.
        """
        ...

    def close(self) -> None:
        """Release the reader; idempotent."""
        ...


class Store(StoreReader, Protocol):
    """One writer's view of the store; also a reader for the writing thread."""

    @property
    def directory(self) -> Directory:
        """Indexes used in all columns; new series and sources are added by the writer.

        After `open` the embedded store lists all it ever saw, InfluxDB at least every cumulative
        series with readings or intervals and every source with receipts.
        """
        ...

    @property
    def grid_ms(self) -> int:
        """Length of the base interval [ms], fixed when the store was created."""
        ...

    @property
    def atomic(self) -> bool:
        """Whether a commit is there whole or not at all; else a crash may leave raw readings
        without their intervals, on days that carry a dirty mark.
        """
        ...

    def open(self) -> None:
        """Create or open; StoreMismatch on another grid, StoreOwned when held elsewhere."""
        ...

    def reader(self) -> StoreReader:
        """Return a reader for use in one other thread."""
        ...

    def commit(self, commit: Commit) -> CommitResult:
        """Make all of it durable. StoreRetriable: repeat it unchanged."""
        ...

    def write_intervals(self, level: Level, intervals: IntervalColumns) -> CommitResult:
        """Upsert figures of one level."""
        ...

    def write_points(self, points: Points) -> CommitResult:
        """Upsert points of one measurement; of two with one key the last counts."""
        ...

    def receipts(self) -> Mapping[Source, Ranges]:
        """Return what is settled per source."""
        ...

    def dirty_days(self) -> frozenset[DirtyDay]:
        """Return the marks that stand."""
        ...

    def clear_dirty(self, days: Iterable[DirtyDay]) -> None:
        """Forget marks whose roll-ups are written."""
        ...

    def health(self) -> Health:
        """Say whether the store answers; never raises a StoreError."""
        ...


def refuse(result: CommitResult) -> None:
    """Raise StoreRefused for the first line of a write that was refused."""
    for refused in result.refused:
        raise StoreRefused(f"the store refused {refused.line}: {refused.reason}")


def counts(columns: ReadingColumns) -> NDArray[np.bool_]:
    """Tell which readings have a quality with which they enter the ledger."""
    counting = np.zeros(256, np.bool_)
    counting[[*COUNTING_CODES, SPARE]] = True
    return counting[columns.quality]


def settle(columns: ReadingColumns, rank: Int32) -> ReadingColumns:
    """Sort by (series, time) and keep the one reading per key that counts.

    rank: per source index, the order of its outbox id (Directory.outbox_rank).
    """
    if len(columns) == 0:
        return columns
    order = settling_order(columns, rank)
    series, time_ms = columns.series[order], columns.time_ms[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (series[1:] != series[:-1]) | (time_ms[1:] != time_ms[:-1])
    return columns.take(order[first])


def settling_order(columns: ReadingColumns, rank: Int32) -> Int64:
    """Return the rows by (series, time), and of those that share both the one that counts first."""
    return np.lexsort(
        (
            columns.value,
            columns.quality,
            columns.seq,
            rank[columns.source],
            # What only fills gaps: another gateway's readings, and freezes after all polls.
            (columns.quality == SPARE) + 2 * (columns.quality == Quality.FREEZE),
            ~counts(columns),
            columns.time_ms,
            columns.series,
        )
    )


def check_unique(intervals: IntervalColumns) -> None:
    """Raise ColumnError when two rows share (series, start_ms)."""
    order = np.lexsort((intervals.start_ms, intervals.series))
    series, start_ms = intervals.series[order], intervals.start_ms[order]
    same = (series[1:] == series[:-1]) & (start_ms[1:] == start_ms[:-1])
    if same.any():
        row = int(np.argmax(same))
        raise ColumnError(
            f"IntervalColumns: two rows for series {series[row]} at {start_ms[row]} ms"
        )


def distinct(series: Int32) -> Int32:
    """Return the series asked for, ascending, each once, as int32."""
    return np.unique(np.asarray(series, np.int32))


def encode_ranges(ranges: Ranges) -> str:
    """Write ranges as `1-17,20-20`."""
    return ",".join(f"{lo}-{hi}" for lo, hi in ranges)


def decode_ranges(text: str) -> Ranges:
    """Read what `encode_ranges` wrote."""
    pairs = (part.split("-") for part in text.split(",") if part)
    return tuple((int(lo), int(hi)) for lo, hi in pairs)
