"""What sites bought by period of their tariff (尖峰平谷深谷), from the stored figures of channels.

Nothing is priced here: the cost of an interval was made with its figure (`aggregator.measures`);
this only sums it by the period in which it starts, so that the periods add up to the day's cost.
Hours are enough unless a tariff's period, or a meter's role, begins inside one.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aggregator.batch import Int32, Int64, IntervalColumns
from aggregator.kernels.rollup import fixed_starts
from aggregator.ledger.tariffs import NO_PERIOD, PERIODS, Tariff
from aggregator.nodes import Nodes, Place
from aggregator.periods import level_with_borders
from aggregator.points import Points, Tags
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Store
from contract.interval import DAY_MS, MINUTE_MS, day_start
from contract.stored import AMOUNT_FIELDS, TARIFF_DAY, Level

_COST = "cost_cny"
Thing = tuple[str, str]
"""Carrier and unit."""


class TariffDays:
    """Makes the points of `tariff_day`. Reads the store; writes nothing."""

    def __init__(self, store: Store, nodes: Nodes, tariffs: SiteTariffs) -> None:
        self._store = store
        self._nodes = nodes
        self._tariffs = tariffs

    def points(
        self, places: Sequence[Place], hours: IntervalColumns, from_ms: int, to_ms: int
    ) -> Points:
        """Return the days in [from_ms, to_ms), two Beijing midnights.

        hours: all hour figures of the sites' cumulative channels that start there, by series.
        """
        rows = [row for place in places for row in self._rows(place, hours, from_ms, to_ms)]
        return Points.of_rows(TARIFF_DAY, rows)

    def _rows(
        self, place: Place, hours: IntervalColumns, from_ms: int, to_ms: int
    ) -> Iterator[tuple[Tags, int, Mapping[str, Any]]]:
        region, site = place
        plan = self._nodes.plan(place)
        spans = plan.between(from_ms, to_ms)
        bought = [
            (max(span.start_ms, from_ms), min(span.end_ms, to_ms), thing, series)
            for span in spans
            for thing, series in span.made.bought.items()
        ]
        if not bought:
            return
        things = dict.fromkeys(thing for _, _, thing, _ in bought)
        tariffs = {thing: self._tariffs.find(site, *thing) for thing in things}
        borders = [span.start_ms for span in spans if from_ms < span.start_ms < to_ms]
        for tariff in tariffs.values():
            borders += [] if tariff is None else [m * MINUTE_MS for m in tariff.borders_min()]
        if level_with_borders(Level.HOUR, self._store.grid_ms, borders) is not Level.HOUR:
            own = np.unique(np.concatenate([series for *_, series in bought]))
            hours = self._store.intervals(Level.INTERVAL, own, from_ms, to_ms)
        parts: dict[Thing, list[IntervalColumns]] = defaultdict(list)
        for start_ms, end_ms, thing, series in bought:
            rows = _of_series(hours, series)
            inside = (rows.start_ms >= start_ms) & (rows.start_ms < end_ms)
            parts[thing].append(rows.take(inside))
        for thing, some in parts.items():
            rows = IntervalColumns.concatenate(some)
            for period, day_ms, fields in _sums(rows, tariffs[thing], from_ms, to_ms):
                yield (region, site, *thing, period), day_ms, fields


def _of_series(rows: IntervalColumns, series: Int32) -> IntervalColumns:
    """Return the rows of some series; both ascend."""
    first = np.searchsorted(rows.series, series, "left")
    count = np.searchsorted(rows.series, series, "right") - first
    skipped = np.cumsum(count) - count
    return rows.take(np.arange(int(count.sum())) + np.repeat(first - skipped, count))


def _sums(
    rows: IntervalColumns, tariff: Tariff | None, from_ms: int, to_ms: int
) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Yield period, day and sums."""
    period: Int64 = np.full(len(rows), NO_PERIOD, np.int64)
    if tariff is not None:
        period = tariff.steps(from_ms, to_ms).period_of(rows.start_ms).astype(np.int64)
    day = fixed_starts(rows.start_ms.copy(), DAY_MS)
    # One number for both: a day is a multiple of far more than there are periods.
    keys, group = np.unique(day + period - NO_PERIOD, return_inverse=True)
    cost = np.bincount(group, rows.cost_cny, len(keys))
    amounts = {name: np.zeros(len(keys), np.int64) for name in AMOUNT_FIELDS}
    for name, column in amounts.items():
        np.add.at(column, group, getattr(rows, name))
    for i, key in enumerate(keys.tolist()):
        day_ms = day_start(key)
        index = key - day_ms + NO_PERIOD
        fields = {name: int(column[i]) for name, column in amounts.items()}
        name = "" if index == NO_PERIOD else str(PERIODS[index])
        yield name, day_ms, fields | {_COST: float(cost[i])}
