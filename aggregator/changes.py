"""What differs between two versions of whole days' figures, by channel, day and figure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Float64, Int64, IntervalColumns, found_in
from aggregator.directory import Directory, SeriesKey
from aggregator.kernels.rollup import fixed_starts, runs
from aggregator.restatements import Restatement, is_settled, known_or_none
from aggregator.rollups import summed
from contract.interval import DAY_MS, HOUR_MS
from contract.stored import AMOUNT_FIELDS, MEASURE_FIELDS
from contract.units import MICRO

FIGURES = (*AMOUNT_FIELDS, "measured_ms", *MEASURE_FIELDS)
"""What of a settled day does not change without a record: the other durations and the counts of
readings follow from these and from what came late, which is counted."""


@dataclass(frozen=True, slots=True)
class Change:
    """One channel's day of which at least one interval gets another figure."""

    region: str
    site: str
    meter: str
    channel: str
    day_ms: int
    measure: str
    """Stored field, one of FIGURES; amounts are given in the channel's unit."""
    intervals: int
    """How many of the day's intervals change."""
    from_value: float | None
    """The day's figure before; None: not determined, or nothing known of the day."""
    to_value: float | None
    settled: bool

    @property
    def key(self) -> SeriesKey:
        """The channel."""
        return SeriesKey(self.region, self.site, self.meter, self.channel)

    def restatement(self, cause: str, why: str, now_ms: int, details: str = "") -> Restatement:
        """Return the record of the change."""
        return Restatement(
            region=self.region,
            site=self.site,
            meter=self.meter,
            channel=self.channel,
            day_ms=self.day_ms,
            measure=self.measure,
            from_value=self.from_value,
            to_value=self.to_value,
            cause=cause,
            why=why,
            found_ms=now_ms,
            details=details,
        )


def changes_between(
    directory: Directory,
    grid_ms: int,
    old: IntervalColumns,
    new: IntervalColumns,
    now_ms: int,
    names: Sequence[str] = FIGURES,
) -> Iterator[Change]:
    """Yield what differs, by figure, channel and day.

    Both are whole days of the same channels, sorted by (series, start); ``new`` has all intervals
    of ``old`` and perhaps more.
    """
    if len(new) == 0:
        return
    at = found_in(old, new)
    there = np.zeros(len(new), np.bool_)
    there[at] = True
    day = fixed_starts(new.start_ms.copy(), DAY_MS)
    group, first = runs(new.series.astype(np.int64), day)
    known = np.bincount(group[there], minlength=len(first)) > 0
    before, after = days_of(old, grid_ms), days_of(new, grid_ms)
    keys = [directory.series.key(index) for index in new.series[first].tolist()]
    of_old = np.cumsum(known) - 1
    for name in names:
        was, now = getattr(old, name), getattr(new, name)
        differs = ~there
        differs[at] = _differs(was, now[at])
        counts = np.bincount(group[differs], minlength=len(first))
        for i in np.flatnonzero(counts).tolist():
            day_ms = int(day[first[i]])
            yield Change(
                region=keys[i].region,
                site=keys[i].site,
                meter=keys[i].meter,
                channel=keys[i].channel,
                day_ms=day_ms,
                measure=name,
                intervals=int(counts[i]),
                from_value=_shown(name, getattr(before, name)[of_old[i]]) if known[i] else None,
                to_value=_shown(name, getattr(after, name)[i]),
                settled=is_settled(day_ms, now_ms),
            )


def days_of(rows: IntervalColumns, grid_ms: int) -> IntervalColumns:
    """Sum to days by way of hours, as the roll-ups do: floats equal to the last digit."""
    hours = summed(rows, fixed_starts(rows.start_ms.copy(), HOUR_MS), HOUR_MS, grid_ms)
    return summed(hours, fixed_starts(hours.start_ms.copy(), DAY_MS), DAY_MS, grid_ms)


def _shown(name: str, value: float) -> float | None:
    return int(value) / MICRO if name in AMOUNT_FIELDS else known_or_none(float(value))


def _differs(a: Float64 | Int64, b: Float64 | Int64) -> NDArray[np.bool_]:
    """Tell which figures differ; two that are not determined do not."""
    differs: NDArray[np.bool_] = (a != b) & ~((a != a) & (b != b))  # noqa: PLR0124 - NaN
    return differs
