"""Hour, day and month figures: sums of base intervals, redone for days that were touched.

A day is marked in the store in the same commit as its intervals, and the mark goes when the
roll-ups are written, so that a crash between the two only means doing them again.
"""

from collections.abc import Iterable

import numpy as np

from aggregator.batch import Int32, Int64, IntervalColumns
from aggregator.events import Counter, Events
from aggregator.kernels.rollup import fixed_starts, rollup, runs
from aggregator.store.base import DirtyDay, Store
from contract.channels import catalogue
from contract.interval import DAY_MS, HOUR_MS, month_start, next_month
from contract.stored import Level

_SUMMED = (
    "amount",
    "amount_estimated",
    "amount_held",
    "measured_ms",
    "estimated_ms",
    "received",
)
_MEASURES = ("kgce_calorific", "kgce_equivalent", "co2_kg", "cost_cny")


class Rollups:
    """Keeps the higher levels equal to the sums of the base level."""

    def __init__(self, store: Store, events: Events) -> None:
        self._store = store
        self._events = events
        self._marked: set[DirtyDay] = set(store.dirty_days())

    def mark(self, days: Iterable[DirtyDay]) -> None:
        """Note days whose intervals were written."""
        self._marked.update(days)

    def flush(self) -> None:
        """Redo all marked days. StoreRetriable: call again; nothing is forgotten."""
        for day in sorted(self._marked):
            self._redo(day)
            self._marked.discard(day)
            self._events.count(Counter.ROLLUP_DAYS)

    def _redo(self, day: DirtyDay) -> None:
        store, grid_ms = self._store, self._store.grid_ms
        series = self._cumulative(day)
        base = store.intervals(Level.INTERVAL, series, day.day_ms, day.day_ms + DAY_MS)
        hours = summed(base, fixed_starts(base.start_ms, HOUR_MS), HOUR_MS, grid_ms)
        store.write_intervals(Level.HOUR, hours)
        days = summed(base, fixed_starts(base.start_ms, DAY_MS), DAY_MS, grid_ms)
        store.write_intervals(Level.DAY, days)
        month_ms, end_ms = month_start(day.day_ms), next_month(day.day_ms)
        of_month = store.intervals(Level.DAY, series, month_ms, end_ms)
        starts = np.full(len(of_month), month_ms, np.int64)
        month = summed(of_month, starts, end_ms - month_ms, grid_ms)
        store.write_intervals(Level.MONTH, month, clear=[day])

    def _cumulative(self, day: DirtyDay) -> Int32:
        directory, channels = self._store.directory, catalogue()
        series = directory.series_of_site(day.region, day.site).tolist()
        return np.array(
            [i for i in series if channels[directory.series.key(i).channel].cumulative],
            np.int32,
        )


def summed(
    rows: IntervalColumns, period_ms: Int64, length_ms: int, grid_ms: int
) -> IntervalColumns:
    """Sum rows sorted by (series, start) into periods of ``length_ms`` that begin at ``period_ms``.

    What no row tells of a period is missing, and so are the slots it was expected to fill.
    """
    if len(rows) == 0:
        return rows
    group, first = runs(rows.series.astype(np.int64), period_ms)
    integers = np.stack([getattr(rows, name) for name in _SUMMED])
    floats = np.stack([getattr(rows, name) for name in _MEASURES])
    sums, measures = rollup(group, len(first), integers, floats)
    by_name = dict(zip(_SUMMED, sums, strict=True))
    return IntervalColumns(
        series=rows.series[first],
        start_ms=period_ms[first],
        missing_ms=length_ms - by_name["measured_ms"] - by_name["estimated_ms"],
        expected=np.full(len(first), length_ms // grid_ms, np.int64),
        flags=np.bitwise_or.reduceat(rows.flags, first),
        **by_name,
        **dict(zip(_MEASURES, measures, strict=True)),
    )
