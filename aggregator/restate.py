"""Makes the measures of stored intervals anew from their stored amounts, under other factors.

Amounts, durations and flags are not touched, and raw readings are not read. Settled days leave a
restatement record per (meter, day, measure). Works on a site's month at a time; whatever is
interrupted is found again by the next run, so it is simply repeated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Float64, Int32, IntervalColumns, ReadingColumns
from aggregator.kernels.rollup import fixed_starts, runs
from aggregator.measures import Measures
from aggregator.restatements import Restatement, Restatements, is_settled, known_or_none
from aggregator.rollups import Rollups, summed
from aggregator.store.base import Commit, DirtyDay, Store, StoreRefused
from contract.channels import catalogue
from contract.interval import DAY_MS, HOUR_MS, day_start, next_month
from contract.stored import MEASURE_FIELDS, Level

_PARTS = 500
"""Sites' months that are changed before their roll-ups are: many sites at once cost less."""


@dataclass(frozen=True, slots=True)
class Change:
    """One channel's day of which at least one interval gets another figure of a measure."""

    region: str
    site: str
    meter: str
    channel: str
    day_ms: int
    measure: str
    intervals: int
    """How many of the day's intervals change."""
    from_value: float | None
    """The day's figure before; None: not determined."""
    to_value: float | None
    settled: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """What changes in one site's month."""

    changes: tuple[Change, ...]
    intervals: IntervalColumns
    dirty: frozenset[DirtyDay]


class Restater:
    """Recomputes measures in a store that this thread may write to."""

    def __init__(self, store: Store, measures: Measures) -> None:
        self._store = store
        self._measures = measures

    def sites(self) -> Sequence[tuple[str, str]]:
        """Return the (region, site) pairs that the store knows, ascending."""
        keys = self._store.directory.series.keys()
        return sorted({(key.region, key.site) for key in keys})

    def plan(
        self, sites: Sequence[tuple[str, str]], from_ms: int, to_ms: int, now_ms: int
    ) -> Iterator[Change]:
        """Say what would change in the Beijing days that touch [from_ms, to_ms). Writes nothing."""
        for part in self._parts(sites, from_ms, to_ms, now_ms):
            yield from part.changes

    def apply(
        self,
        sites: Sequence[tuple[str, str]],
        from_ms: int,
        to_ms: int,
        now_ms: int,
        *,
        restatements: Restatements,
        rollups: Rollups,
        cause: str,
        why: str,
    ) -> Iterator[Change]:
        """Change what `plan` says, a site's month at a time; yields changes as they are durable.

        Records of settled days come first, then the intervals with the marks of their days, then
        the roll-ups. Take all that is yielded: the last roll-ups come after it.

        Raises:
            StoreRetriable: the store is away; repeat the run.
            StoreRefused: it refused a figure, which keeps its old value though a record names it.
        """
        waiting = 0
        nothing = ReadingColumns.empty(cumulative=True)
        none = ReadingColumns.empty(cumulative=False)
        for part in self._parts(sites, from_ms, to_ms, now_ms):
            restatements.add(
                Restatement(
                    region=change.region,
                    site=change.site,
                    meter=change.meter,
                    channel=change.channel,
                    day_ms=change.day_ms,
                    measure=change.measure,
                    from_value=change.from_value,
                    to_value=change.to_value,
                    cause=cause,
                    why=why,
                    found_ms=now_ms,
                )
                for change in part.changes
                if change.settled
            )
            result = self._store.commit(Commit(nothing, none, part.intervals, {}, part.dirty))
            for refused in result.refused:
                raise StoreRefused(f"the store refused {refused.line}: {refused.reason}")
            starts = part.intervals.start_ms
            rollups.mark(part.dirty, int(starts.min()), int(starts.max()))
            waiting += 1
            if waiting == _PARTS:
                rollups.flush()
                waiting = 0
            yield from part.changes
        rollups.flush()

    def _parts(
        self, sites: Sequence[tuple[str, str]], from_ms: int, to_ms: int, now_ms: int
    ) -> Iterator[_Part]:
        from_ms, to_ms = day_start(from_ms), day_start(to_ms - 1) + DAY_MS
        series = {pair: self._cumulative(*pair) for pair in sites}
        while from_ms < to_ms:
            end_ms = min(next_month(from_ms), to_ms)
            for pair in sites:
                part = self._part(*pair, series[pair], from_ms, end_ms, now_ms)
                if part is not None:
                    yield part
            from_ms = end_ms

    def _part(
        self, region: str, site: str, series: Int32, from_ms: int, to_ms: int, now_ms: int
    ) -> _Part | None:
        old = self._store.intervals(Level.INTERVAL, series, from_ms, to_ms)
        if len(old) == 0:
            return None
        made = self._measures.of(old.series, old.start_ms, old.amount)
        new = replace(
            old,
            kgce_calorific=made["kgce_calorific"],
            kgce_equivalent=made["kgce_equivalent"],
            co2_kg=made["co2_kg"],
            cost_cny=made["cost_cny"],
        )
        differs = {
            name: _differs(getattr(old, name), getattr(new, name)) for name in MEASURE_FIELDS
        }
        touched = np.logical_or.reduce(list(differs.values()))
        if not touched.any():
            return None
        day = fixed_starts(old.start_ms.copy(), DAY_MS)
        group, first = runs(old.series.astype(np.int64), day)
        before, after = (self._days(rows) for rows in (old, new))
        keys = [self._store.directory.series.key(i) for i in old.series[first].tolist()]
        days = day[first].tolist()
        changes: list[Change] = []
        for name, rows in differs.items():
            counts = np.bincount(group[rows], minlength=len(first))
            changes += [
                Change(
                    region=region,
                    site=site,
                    meter=keys[i].meter,
                    channel=keys[i].channel,
                    day_ms=days[i],
                    measure=name,
                    intervals=int(counts[i]),
                    from_value=known_or_none(float(getattr(before, name)[i])),
                    to_value=known_or_none(float(getattr(after, name)[i])),
                    settled=is_settled(days[i], now_ms),
                )
                for i in np.flatnonzero(counts).tolist()
            ]
        dirty = frozenset(
            DirtyDay(region, site, day_ms) for day_ms in np.unique(day[touched]).tolist()
        )
        return _Part(tuple(changes), new.take(touched), dirty)

    def _days(self, rows: IntervalColumns) -> IntervalColumns:
        """Sum to days by way of hours, as the roll-ups do: floats equal to the last digit.

        One row per (series, day), in the order of the rows given.
        """
        grid_ms = self._store.grid_ms
        hours = summed(rows, fixed_starts(rows.start_ms.copy(), HOUR_MS), HOUR_MS, grid_ms)
        return summed(hours, fixed_starts(hours.start_ms.copy(), DAY_MS), DAY_MS, grid_ms)

    def _cumulative(self, region: str, site: str) -> Int32:
        directory, channels = self._store.directory, catalogue()
        series = directory.series_of_site(region, site).tolist()
        return np.array(
            [i for i in series if channels[directory.series.key(i).channel].cumulative], np.int32
        )


def _differs(a: Float64, b: Float64) -> NDArray[np.bool_]:
    """Tell which figures differ; two that are not determined do not."""
    differs: NDArray[np.bool_] = (a != b) & ~(np.isnan(a) & np.isnan(b))
    return differs
