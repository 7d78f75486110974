"""Makes the measures of stored intervals anew from their stored amounts, under other factors.

Amounts, durations and flags are not touched, and raw readings are not read. Settled days leave a
restatement record per (meter, day, measure). Works on a site's month at a time; whatever is
interrupted is found again by the next run, so it is simply repeated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aggregator.batch import Int32, IntervalColumns, ReadingColumns, differing
from aggregator.changes import Change, changes_between
from aggregator.kernels.rollup import fixed_starts
from aggregator.measures import Measures
from aggregator.restatements import Restatements
from aggregator.rollups import Rollups
from aggregator.store.base import Commit, DirtyDay, Store
from contract.interval import DAY_MS, day_start, month_start, next_month
from contract.reading import MAX_TIME_MS
from contract.stored import MEASURE_FIELDS, Level

_PARTS = 500
"""Sites' months that are changed before their roll-ups are: many sites at once cost less."""


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

    def extent(self, sites: Sequence[tuple[str, str]]) -> tuple[int, int]:
        """Return from when to when some sites may have figures [ms]; (0, 0): they have none."""
        series = [self._store.directory.cumulative_of_site(*pair) for pair in sites]
        own: Int32 = np.sort(np.concatenate(series))
        found = np.unique(self._store.intervals(Level.MONTH, own, 0, MAX_TIME_MS).start_ms).tolist()
        chosen = set(sites)  # days that are not summed up yet carry a mark
        found += [one.day_ms for one in self._store.dirty_days() if one[:2] in chosen]
        return (min(found), next_month(month_start(max(found)))) if found else (0, 0)

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
            StoreRefused: it refused a figure, which keeps its old value though a record names it,
                and nobody keeps such lines (`Rollups.refused_to`).
        """
        waiting = 0
        nothing = ReadingColumns.empty(cumulative=True)
        none = ReadingColumns.empty(cumulative=False)
        for part in self._parts(sites, from_ms, to_ms, now_ms):
            restatements.add(
                change.restatement(cause, why, now_ms, self._rows(change))
                for change in part.changes
                if change.settled
            )
            result = self._store.commit(Commit(nothing, none, part.intervals, {}, part.dirty))
            rollups.note_refused(result)
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
        series = {pair: self._store.directory.cumulative_of_site(*pair) for pair in sites}
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
        directory, grid_ms = self._store.directory, self._store.grid_ms
        changes = tuple(changes_between(directory, grid_ms, old, new, now_ms, MEASURE_FIELDS))
        if not changes:
            return None
        touched = differing(old, new)
        day = fixed_starts(old.start_ms.copy(), DAY_MS)
        dirty = frozenset(
            DirtyDay(region, site, day_ms) for day_ms in np.unique(day[touched]).tolist()
        )
        return _Part(changes, new.take(touched), dirty)

    def _rows(self, change: Change) -> str:
        """Name the rows behind a changed figure."""
        series = self._store.directory.series.find(change.key)
        return self._measures.rows(series, change.measure, change.day_ms, change.day_ms + DAY_MS)
