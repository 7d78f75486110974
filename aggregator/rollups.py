"""Hour, day and month figures: sums of the level below, redone where base intervals were touched.

A day is marked in the store in the same commit as its intervals, and the mark goes when the
roll-ups are written, so that a crash between the two only means doing them again. Figures of nodes
and regions are made with them (`aggregator.node_figures`), before the marks go.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import groupby

import numpy as np

from aggregator.batch import Int32, Int64, IntervalColumns
from aggregator.directory import Directory
from aggregator.events import Counter, Events
from aggregator.kernels.rollup import fixed_starts, rollup, runs
from aggregator.node_figures import NodeFigures
from aggregator.node_rows import SUMMED
from aggregator.nodes import Nodes
from aggregator.register.model import Register
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Commit, CommitResult, DirtyDay, Store, StoreRetriable, refuse
from aggregator.stuck import Stuck
from aggregator.tariff_days import TariffDays
from contract.interval import DAY_MS, HOUR_MS, hour_start, month_start, next_month
from contract.stored import MEASURE_FIELDS, Level

_FEWEST, _MOST = 500, 12_000
"""Series that are redone at once: every piece has costs of its own, and is held in memory."""
_PIECE_S = 0.4
"""What is live waits for a piece; between these numbers a piece is as large as this allows."""


class Rollups:
    """Keeps the higher levels equal to the sums of the level below.

    With `stuck`, registers that stand still are looked for where hours are made; with `nodes`,
    figures of nodes and regions are made of those of channels.
    """

    def __init__(
        self,
        store: Store,
        events: Events,
        stuck: Stuck | None = None,
        nodes: NodeFigures | None = None,
        *,
        together: int = _MOST,
    ) -> None:
        """Redo at most so many series together, if no site has more."""
        self._store = store
        self._events = events
        self._refused: Callable[[CommitResult], None] = refuse
        self._stuck = stuck
        self._nodes = nodes
        self._marked: dict[DirtyDay, tuple[int, int]] = {
            day: (day.day_ms, day.day_ms + DAY_MS - 1) for day in store.dirty_days()
        }
        """First and last start of a base interval that was written [ms]; may be too wide."""
        self._unsure: set[tuple[str, str]] = set()
        """(region, site) of days that a crash may have left without some of their intervals."""
        if not store.atomic:
            self._unsure = {(day.region, day.site) for day in self._marked}
        self._most, self._portion = together, min(together, _FEWEST)
        """Nothing is known yet of how long a piece takes."""
        self._waiting: set[DirtyDay] = set()
        """Days marked for readings of which no figure is made yet."""
        self._redone: dict[DirtyDay, tuple[int, int]] = {}
        """Days whose marks stand until the figures made of several sites are right too."""

    @classmethod
    def with_nodes(
        cls,
        store: Store,
        events: Events,
        register: Register,
        counts: Callable[[str], bool],
        tariffs: SiteTariffs,
        time_ms: Callable[[], int],
        stuck: Stuck | None = None,
    ) -> "Rollups":
        """Make roll-ups that keep figures of nodes and of tariffs' periods too.

        counts: which carriers the factor set lets into comprehensive energy.
        """
        nodes = Nodes(store, register, counts)
        periods = TariffDays(store, nodes, tariffs)
        return cls(store, events, stuck, NodeFigures(store, nodes, time_ms, periods))

    def refused_to(self, note: Callable[[CommitResult], None]) -> None:
        """Let someone keep the lines that the store refuses; until then one ends the run."""
        self._refused = note
        if self._nodes is not None:
            self._nodes.refused_to(note)

    def note_refused(self, result: CommitResult) -> None:
        """Hand on what the store refused of a write."""
        self._refused(result)

    def unsure(self) -> list[tuple[str, str]]:
        """Return the sites whose marks stand until `made_sure`: nothing else would find them."""
        return sorted(self._unsure)

    def made_sure(self, region: str, site: str) -> None:
        """Note that the intervals of a site's marked days have been made again."""
        self._unsure.discard((region, site))

    def mark(self, days: Iterable[DirtyDay], first_ms: int, last_ms: int) -> None:
        """Note days of which intervals that start in [first_ms, last_ms] were written."""
        for day in days:
            low, high = self._marked.get(day, (first_ms, last_ms))
            self._marked[day] = min(low, first_ms), max(high, last_ms)

    def wait_for(self, days: Iterable[DirtyDay]) -> None:
        """Let marks stand until figures are made of what was read, and `needless` says so."""
        self._waiting.update(days)

    def needless(self, days: AbstractSet[DirtyDay]) -> None:
        """Forget marks of days whose figures are made; of those that changed they stand."""
        self._waiting -= days
        waiting = self._marked.keys() | self._redone.keys()
        if needless := [day for day in days if day not in waiting]:
            self._store.clear_dirty(needless)

    def flush(self) -> None:
        """Redo all marked days at once.

        StoreRetriable: call again; nothing is forgotten.
        """
        for _ in self.pieces():
            pass

    def pieces(self) -> Iterator[int]:
        """Redo what is marked now but days of unsure sites, yielding after each piece of it.

        Yields how much a piece was of. Between two pieces anything may be committed: what
        that marks is for the next time. StoreRetriable: begin again; nothing is forgotten.
        """
        for days, series in self._portions():
            began_s = time.monotonic()
            try:
                self._redo(days, series)
            except StoreRetriable:  # it may have been too much at once
                self._portion = max(self._portion // 2, 1)
                raise
            self._fit(len(series), time.monotonic() - began_s)
            for day in days:
                span = self._marked.pop(day)
                low, high = self._redone.get(day, span)
                self._redone[day] = min(low, span[0]), max(high, span[1])
            self._events.count(Counter.ROLLUP_DAYS, len(days))
            yield len(series)
        yield from self._keep_months()
        if self._nodes is not None:
            yield from self._keep_regions(self._nodes)
            yield from self._nodes.keep_balances([(d[:2], d.day_ms) for d in self._redone])
        if right := self._redone.keys() - self._marked.keys() - self._waiting:
            self._store.clear_dirty(right)
        self._redone.clear()

    @property
    def nodes(self) -> NodeFigures | None:
        """What keeps figures of nodes, for whoever makes those of channels elsewhere."""
        return self._nodes

    def catch_up(self) -> bool:
        """Do one piece of what a change of the register asks for; False when nothing is left."""
        return self._nodes is not None and self._nodes.catch_up()

    def _keep_months(self) -> Iterator[int]:
        """Sum up the months of redone days, each once however many of its days were redone."""
        found = {(month_start(day.day_ms), day.region, day.site) for day in self._redone}
        for month_ms, of_month in groupby(sorted(found), key=lambda one: one[0]):
            end_ms = next_month(month_ms)
            for places, series in self._together((one[1], one[2]) for one in of_month):
                days = self._store.intervals(Level.DAY, series, month_ms, end_ms)
                starts = np.full(len(days), month_ms)
                month = summed(days, starts, end_ms - month_ms, self._store.grid_ms)
                self._write(Level.MONTH, month)
                if self._nodes is not None:
                    self._nodes.keep(Level.MONTH, places, month, month_ms, end_ms)
                yield len(series)

    def _keep_regions(self, nodes: NodeFigures) -> Iterator[int]:
        spans: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        for day, span in self._redone.items():
            spans[day.region, day.day_ms].append(span)
        for (region, day_ms), found in spans.items():
            nodes.keep_region(region, day_ms, *_hours(day_ms, found))
            yield len(found)
        for region, month_ms in {(region, month_start(day_ms)) for region, day_ms in spans}:
            nodes.keep_region_month(region, month_ms)
            yield 1

    def _portions(self) -> Iterator[tuple[list[DirtyDay], Int32]]:
        """Yield the sites of one Beijing day, some at once."""
        sure = (day for day in self._marked if day[:2] not in self._unsure)
        marked = sorted(sure, key=lambda day: (day.day_ms, day))
        for day_ms, of_day in groupby(marked, key=lambda day: day.day_ms):
            for places, series in self._together((day.region, day.site) for day in of_day):
                yield [DirtyDay(*place, day_ms) for place in places], series

    def _together(
        self, places: Iterable[tuple[str, str]]
    ) -> Iterator[tuple[list[tuple[str, str]], Int32]]:
        """Yield sites with their series, as many at once as memory may hold."""
        some: list[tuple[str, str]] = []
        parts: list[Int32] = []
        count = 0
        for place in places:
            some.append(place)
            parts.append(self._store.directory.cumulative_of_site(*place))
            count += len(parts[-1])
            if count >= self._portion:
                yield some, np.concatenate(parts)
                some, parts, count = [], [], 0
        if some:
            yield some, np.concatenate(parts)

    def _fit(self, count: int, took_s: float) -> None:
        """Fit the size of pieces to what one took: a server takes longer than a file."""
        fitting = int(count * _PIECE_S / max(took_s, 1e-3))
        if count >= self._portion or took_s > _PIECE_S:  # else it was a small rest
            self._portion = min(max(fitting, _FEWEST), self._most)

    def _redo(self, days: list[DirtyDay], series: Int32) -> None:
        """Redo the hours that were touched, the day from its hours, the month from its days."""
        store, grid_ms, day_ms = self._store, self._store.grid_ms, days[0].day_ms
        end_ms = day_ms + DAY_MS
        low_ms, high_ms = _hours(day_ms, [self._marked[day] for day in days])
        base = store.intervals(Level.INTERVAL, series, low_ms, high_ms)
        # A copy is writable, as the kernel was compiled for
        starts = fixed_starts(base.start_ms.copy(), HOUR_MS)
        hours = summed(base, starts, HOUR_MS, grid_ms)
        self._write(Level.HOUR, hours)
        of_day = store.intervals(Level.HOUR, series, day_ms, end_ms)
        self.judge(of_day, series, low_ms, high_ms)
        day = summed(of_day, np.full(len(of_day), day_ms), DAY_MS, grid_ms)
        self._write(Level.DAY, day)
        if self._nodes is not None:
            places = [(day.region, day.site) for day in days]
            self._nodes.follow(places)
            for level, rows, from_ms, to_ms in (
                (Level.INTERVAL, base, low_ms, high_ms),
                (Level.HOUR, hours, low_ms, high_ms),
                (Level.DAY, day, day_ms, end_ms),
            ):
                self._nodes.keep(level, places, rows, from_ms, to_ms)
            self._nodes.keep_tariffs(places, of_day, day_ms, end_ms)

    def judge(self, hours: IntervalColumns, series: Int32, from_ms: int, to_ms: int) -> None:
        """Look for registers that stand still in [from_ms, to_ms), by the hours of whole days."""
        if self._stuck is None:
            return
        verdicts = self._stuck.changes(hours, series, from_ms, to_ms)
        if verdicts:
            result = self._store.commit(Commit.without_readings(verdicts=verdicts))
            self._refused(result)
            self._events.count_verdicts(verdicts)

    def _write(self, level: Level, figures: IntervalColumns) -> None:
        result = self._store.write_intervals(level, figures)
        self._refused(result)


def days_of(directory: Directory, intervals: IntervalColumns) -> frozenset[DirtyDay]:
    """Name the (site, Beijing day) pairs whose roll-ups these intervals outdate."""
    day = fixed_starts(intervals.start_ms.copy(), DAY_MS)
    found: set[DirtyDay] = set()
    for day_ms in np.unique(day).tolist():
        for index in np.unique(intervals.series[day == day_ms]).tolist():
            key = directory.series.key(index)
            found.add(DirtyDay(key.region, key.site, day_ms))
    return frozenset(found)


def _hours(day_ms: int, spans: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Return the hours of a day that hold the starts in any of some spans: from, to [ms]."""
    told = list(spans)
    low_ms = max(day_ms, hour_start(min(low for low, _ in told)))
    high_ms = min(day_ms + DAY_MS, hour_start(max(high for _, high in told)) + HOUR_MS)
    return low_ms, high_ms


def summed(
    rows: IntervalColumns, period_ms: Int64, length_ms: int, grid_ms: int
) -> IntervalColumns:
    """Sum rows sorted by (series, start) into periods of ``length_ms`` that begin at ``period_ms``.

    What no row tells of a period is missing, and so are the slots it was expected to fill.
    """
    if len(rows) == 0:
        return rows
    group, first = runs(rows.series.astype(np.int64), period_ms)
    integers = np.stack([getattr(rows, name) for name in SUMMED])
    floats = np.stack([getattr(rows, name) for name in MEASURE_FIELDS])
    sums, measures = rollup(group, len(first), integers, floats)
    by_name = dict(zip(SUMMED, sums, strict=True))
    return IntervalColumns(
        series=rows.series[first],
        start_ms=period_ms[first],
        missing_ms=length_ms - by_name["measured_ms"] - by_name["estimated_ms"],
        expected=np.full(len(first), length_ms // grid_ms, np.int64),
        flags=np.bitwise_or.reduceat(rows.flags, first),
        **by_name,
        **dict(zip(MEASURE_FIELDS, measures, strict=True)),
    )
