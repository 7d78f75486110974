"""Makes stored figures of a range anew from raw readings: channels, then nodes and regions.

Works on a site's Beijing month at a time: intervals, hours, days, months, then what is made of them
for nodes, balances and tariffs' periods; regions when all of their sites are done. What is stored
as it should be is not written, so a repeated run changes nothing; one that was interrupted is
simply repeated. Records of settled days are kept before their figures are written, and intervals
carry the mark of their day until its roll-ups are right.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from aggregator.amendments import Amendments
from aggregator.batch import Int32, Int64, IntervalColumns, ReadingColumns, differing, overlaid
from aggregator.book import Book
from aggregator.changes import Change, changes_between
from aggregator.kernels.rollup import fixed_starts
from aggregator.restatements import Restatements, is_settled
from aggregator.rollups import Rollups, days_of, summed
from aggregator.store.base import NO_TIME, Commit, DirtyDay, Store
from contract.interval import DAY_MS, HOUR_MS, day_start, month_start, next_month
from contract.stored import MEASURE_FIELDS, THE_REGION, Level

CAUSE = "replay"
_TOGETHER = 16
"""Channels made at once: a month of them, read every 15 s, is 3 million readings."""


class Part(NamedTuple):
    """One site's Beijing month, or what the range leaves of it: whole days."""

    region: str
    site: str
    """`_region`: the sums of the region's sites."""
    from_ms: int
    to_ms: int

    @property
    def name(self) -> str:
        """Return the id of the site or region."""
        return self.region if self.site == THE_REGION else self.site


@dataclass(frozen=True, slots=True)
class Made:
    """What a part's replay changed."""

    intervals: int = 0
    rollups: int = 0
    """Hour, day and month figures."""
    records: int = 0
    """Figures of settled days: each left a restatement record."""
    nodes: int = 0
    """Figures of nodes, regions and tariffs' periods, and balances."""

    def __add__(self, other: "Made") -> "Made":
        return Made(
            self.intervals + other.intervals,
            self.rollups + other.rollups,
            self.records + other.records,
            self.nodes + other.nodes,
        )


class Replayer:
    """Replays in a store that this thread may write to."""

    def __init__(
        self,
        store: Store,
        book: Book,
        amendments: Amendments,
        restatements: Restatements,
        rollups: Rollups,
        time_ms: Callable[[], int],
        why: str = "",
    ) -> None:
        self._store = store
        self._book = book
        self._amendments = amendments
        self._restatements = restatements
        self._rollups = rollups
        self._time_ms = time_ms
        self._why = why

    def catch_up(self, sites: Sequence[tuple[str, str]]) -> int:
        """Do first what the aggregator would do at its next start; how many intervals that changed.

        Intervals that a crash left out, what was declared of these sites meanwhile, and roll-ups
        that are due: they have causes of their own.
        """
        changed = 0
        due = {(day.region, day.site) for day in self._store.dirty_days()}
        for region, site in sorted(due | set(sites)):
            changed += self._loaded(region, site, self._book.load_site(region, site))
            found = self._book.integration.lacking(region, site, self._time_ms())
            changed += self._loaded(region, site, found)
            self._rollups.made_sure(region, site)
            if (region, site) in sites:
                for figures in self._amendments.amend(region, site):
                    changed += self._catch_up(figures)
        for part in self._book.integration.touched():
            redone = self._book.remade(*part)
            if redone is not None:
                changed += self._catch_up(self._amendments.restate(redone.changed, "late readings"))
        self._rollups.needless(self._book.integration.done())
        self._rollups.flush()
        while self._rollups.catch_up():  # what a changed register asks for
            pass
        self._check_made()
        return changed

    def _loaded(self, region: str, site: str, figures: IntervalColumns) -> int:
        """Write what a site's heads say when they are loaded, as the pipeline does."""
        return self._catch_up(self._amendments.restate_loaded(region, site, figures))

    def _catch_up(self, figures: IntervalColumns) -> int:
        if self._put(figures):
            first_ms, last_ms = int(figures.start_ms.min()), int(figures.start_ms.max())
            self._rollups.mark(days_of(self._store.directory, figures), first_ms, last_ms)
        return len(figures)

    def parts(
        self, sites: Sequence[tuple[str, str]], from_ms: int | None, to_ms: int | None
    ) -> Iterator[Part]:
        """Yield what is to be replayed: Beijing days that touch [from_ms, to_ms) and have data.

        The regions of these sites come last.
        """
        extents: dict[str, tuple[int, int]] = {}
        for region, site in sites:
            series = self._channels(region, site)
            if len(series) == 0:
                continue
            first = self._store.readings(series, 0, 0, after=1).time_ms
            last = self._store.last_times(series)
            times = [*first.tolist(), *last[last != NO_TIME].tolist()]
            # A day on either side, for readings whose clock people have put right.
            spans = [(day_start(at) - DAY_MS, day_start(at) + 2 * DAY_MS) for at in times]
            spans += self._book.integration.extents(series)
            if not spans:
                continue
            low, high = min(low for low, _ in spans), max(high for _, high in spans)
            low = low if from_ms is None else max(low, day_start(from_ms))
            high = high if to_ms is None else min(high, day_start(to_ms - 1) + DAY_MS)
            if low < high:
                yield from _months(region, site, low, high)
                first_ms, last_ms = extents.get(region, (low, high))
                extents[region] = min(first_ms, low), max(last_ms, high)
        for region, (low, high) in sorted(extents.items()):
            yield from _months(region, THE_REGION, low, high)

    def replay(self, part: Part) -> Made:
        """Make one part right; durable when it returns.

        Raises:
            StoreRetriable: the store is away; repeat the part.
            StoreRefused: it refused a figure, which keeps its old value though a record names it,
                and nobody keeps such lines (`Rollups.refused_to`).
        """
        region, site, from_ms, to_ms = part
        nodes = self._rollups.nodes
        if site == THE_REGION:
            return Made(nodes=nodes.redo_region(region, from_ms, to_ms) if nodes else 0)
        series = self._channels(region, site)
        made = Made()
        for first in range(0, len(series), _TOGETHER):
            made += self._channels_of(part, series[first : first + _TOGETHER])
        if nodes is not None:
            changed = made != Made()
            made += Made(nodes=nodes.redo((region, site), from_ms, to_ms, changed=changed))
        if made != Made():
            if nodes is not None:  # at once: without marks nobody may ever do it
                nodes.redo_region(region, from_ms, to_ms)
            days = {month_start(from_ms), *range(from_ms, to_ms, DAY_MS)}
            self._store.clear_dirty(DirtyDay(region, site, day) for day in days)
        return made

    def _channels_of(self, part: Part, series: Int32) -> Made:
        redone = self._book.remade(series, part.from_ms, part.to_ms, measures=True)
        self._check_made()
        told: set[_Figure] = set()
        made = Made()
        if redone is None:
            self._put(IntervalColumns.empty())
            base = self._store.intervals(Level.INTERVAL, series, part.from_ms, part.to_ms)
        else:
            base = redone.new
            records = self._record(Level.INTERVAL, redone.old, redone.new, told)
            made = Made(intervals=self._put(redone.changed), records=records)
        span = part.from_ms, part.to_ms
        hours = summed(base, _starts(base, HOUR_MS), HOUR_MS, self._store.grid_ms)
        hours, own = self._level(Level.HOUR, series, *span, hours, told)
        made += own
        self._rollups.judge(hours, series, *span)
        days = summed(hours, _starts(hours, DAY_MS), DAY_MS, self._store.grid_ms)
        _, own = self._level(Level.DAY, series, *span, days, told)
        made += own
        month_ms = month_start(part.from_ms)
        end_ms = next_month(month_ms)
        days = self._store.intervals(Level.DAY, series, month_ms, end_ms)
        months = summed(days, np.full(len(days), month_ms), end_ms - month_ms, self._store.grid_ms)
        _, own = self._level(Level.MONTH, series, month_ms, end_ms, months, told)
        return made + own

    def _check_made(self) -> None:
        for key, why in self._amendments.doubtful():
            raise RuntimeError(f"{'/'.join(key)}: {why}")

    def _level(
        self,
        level: Level,
        series: Int32,
        from_ms: int,
        to_ms: int,
        made: IntervalColumns,
        told: set["_Figure"],
    ) -> tuple[IntervalColumns, Made]:
        """Write what differs of one level's figures; return all of them as they are now."""
        old = self._store.intervals(level, series, from_ms, to_ms)
        new = overlaid(made, _of_nothing(old, self._store.grid_ms))
        differs = differing(old, new)
        if not differs.any():
            return new, Made()
        records = self._record(level, old, new, told)
        # What is made of these is marked first, to be made again after a crash in between.
        dirty = days_of(self._store.directory, new.take(differs))
        self._rollups.note_refused(self._store.commit(Commit.without_readings(dirty=dirty)))
        self._rollups.note_refused(self._store.write_intervals(level, new.take(differs)))
        return new, Made(rollups=int(differs.sum()), records=records)

    def _record(
        self, level: Level, old: IntervalColumns, new: IntervalColumns, told: set["_Figure"]
    ) -> int:
        """Keep records of settled figures, but of roll-ups only what no interval explains."""
        now_ms = self._time_ms()
        found: list[Change] = []
        for change in changes_between(self._store.directory, self._store.grid_ms, old, new, now_ms):
            month_ms = month_start(change.day_ms)
            day_ms, settled = change.day_ms, change.settled
            if level is Level.MONTH:
                day_ms, settled = month_ms, is_settled(next_month(month_ms) - DAY_MS, now_ms)
            figure = _Figure(
                change.meter, change.channel, change.measure, day_ms, level is Level.MONTH
            )
            if settled and figure not in told:
                found.append(change)
            told |= {figure, figure._replace(day_ms=month_ms, month=True)}
        cause = CAUSE if level is Level.INTERVAL else f"{CAUSE} of {level} figures"
        self._restatements.add(change.restatement(cause, self._why, now_ms) for change in found)
        return len(found)

    def _put(self, figures: IntervalColumns) -> int:
        """Write intervals with the marks of their days, and the verdicts there."""
        verdicts = self._book.verdicts(ReadingColumns.empty(cumulative=True))
        if len(figures) or verdicts:
            dirty = days_of(self._store.directory, figures)
            self._rollups.note_refused(
                self._store.commit(Commit.without_readings(figures, dirty, verdicts))
            )
        return len(figures)

    def _channels(self, region: str, site: str) -> Int32:
        """Return the cumulative channels of a site's registered meters."""
        return self._book.registered(self._store.directory.series_of_site(region, site))


class _Figure(NamedTuple):
    """A figure of which a record was kept, or need not be."""

    meter: str
    channel: str
    measure: str
    day_ms: int
    month: bool


def _months(region: str, site: str, from_ms: int, to_ms: int) -> Iterator[Part]:
    while from_ms < to_ms:
        end_ms = min(next_month(from_ms), to_ms)
        yield Part(region, site, from_ms, end_ms)
        from_ms = end_ms


def _starts(figures: IntervalColumns, length_ms: int) -> Int64:
    return fixed_starts(figures.start_ms.copy(), length_ms)


def _of_nothing(rows: IntervalColumns, grid_ms: int) -> IntervalColumns:
    """Return hours, days or months that say that nothing is known of them."""
    zero, unknown = np.zeros(len(rows), np.int64), np.full(len(rows), np.nan)
    kept = {
        "series": rows.series,
        "start_ms": rows.start_ms,
        "expected": rows.expected,
        "missing_ms": rows.expected * grid_ms,
    }
    columns: dict[str, Any] = {
        field.name: unknown if field.name in MEASURE_FIELDS else zero for field in fields(rows)
    }
    return IntervalColumns(**(columns | kept))
