"""Energy of meters that have no register: the integral of the rate they measure, marked as such.

Which channels are made so is declared (integrated_channels.csv), never guessed. Figures are a pure
function of the stored readings, the register's rows and people's decisions: intervals that a commit
touches are marked with it and integrated anew before they are summed up, so it does not matter when
and in which order readings come. Owned by the pipeline's thread.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Int32, Int64, IntervalColumns, ReadingColumns, overlaid
from aggregator.directory import Directory
from aggregator.kernels.integral import (
    AMOUNT,
    GROUP,
    INTEGRATED,
    MAX_RATE_MICRO_PER_H,
    MEASURED,
    RECEIVED,
    START,
    integrate,
)
from aggregator.ledger.registers import FOR_EVER_MS, Registers, edit
from aggregator.ledger.rows import day_ms
from aggregator.ledger.rules import FIRST_DAY
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.register.rates import Rate, rates
from aggregator.store.base import DirtyDay, Store, counts
from contract.channels import catalogue
from contract.interval import DAY_MS, SECOND_MS, day_start, next_month
from contract.reading import COUNTING_CODES, MAX_TIME_MS
from contract.stored import Level
from contract.units import MICRO

Span = tuple[int, int]
Part = tuple[Int32, int, int]
"""Channels, from, to: borders of intervals, at most a day apart."""

_SINCE_MS = day_ms(FIRST_DAY)
"""The door lets in nothing older."""
_TOGETHER = 200
"""Channels that are integrated at once: a day of them, read every 15 s, is a million readings."""
_CHUNK_MS = 31 * DAY_MS


class Integration:
    """Makes the figures of integrated channels, and knows which of them are outdated."""

    def __init__(
        self,
        store: Store,
        parameters: Parameters,
        measures: Measures,
        refresh: Callable[[], None],
    ) -> None:
        """refresh: takes new series of the store's directory into the parameters."""
        self._store = store
        self._directory = store.directory
        self._parameters = parameters
        self._measures = measures
        self._take = refresh
        self._known = 0
        """Series below this index have been looked at."""
        self._made_of: dict[int, list[int]] = {}
        """Rate -> the channels that are made of it."""
        self._days = set(store.dirty_days())
        """Marks of which nobody knows what they are for: all of them when the process starts."""
        self._touched: dict[int, list[Span]] = {}
        """Channel -> spans of intervals whose figures may be outdated [ms]."""
        self._marked: set[DirtyDay] = set()
        """Days that carry a mark because of these."""

    def touch(self, fresh: ReadingColumns) -> tuple[frozenset[DirtyDay], int]:
        """Note instantaneous readings that are about to be committed.

        Returns the days to be marked with them, and how many show a flow in a direction that
        nothing counts.
        """
        self._refresh()
        if not self._made_of:
            return frozenset(), 0
        own = fresh.take(np.isin(fresh.series, list(self._made_of)) & counts(fresh))
        days: set[DirtyDay] = set()
        reverse = 0
        for rate in np.unique(own.series).tolist():
            rows, made = own.series == rate, self._made_of[rate]
            key, gap_ms = self._directory.series.key(rate), _gap_ms(rate, self._directory)
            spans = _merged(own.time_ms[rows], gap_ms, self._store.grid_ms)
            for index in made:
                self._touched.setdefault(index, []).extend(spans)
            for low, high in spans:
                starts = range(day_start(low), high, DAY_MS)
                days |= {DirtyDay(key.region, key.site, start) for start in starts}
            counted = {self._rate(index).direction for index in made}
            values = own.value[rows]
            reverse += sum(int((values * way > 0).sum()) for way in {1, -1} - counted)
        self._marked |= days
        return frozenset(days), reverse

    def touched(self) -> Sequence[Part]:
        """Return what has to be made anew, until `done` says that it is."""
        self._refresh()
        for day in self._days:
            for index in self._of_site(day.region, day.site).tolist():
                self._touched.setdefault(index, []).append((day.day_ms, day.day_ms + DAY_MS))
        self._days.clear()
        if not self._touched:
            return ()
        by_span: dict[Span, list[int]] = {}
        for index, spans in self._touched.items():
            for span in _joined(spans):
                by_span.setdefault(span, []).append(index)
        return [
            (np.array(own[first : first + _TOGETHER], np.int32), low, min(low + DAY_MS, end_ms))
            for (start_ms, end_ms), own in sorted(by_span.items())
            for low in range(start_ms, end_ms, DAY_MS)
            for first in range(0, len(own), _TOGETHER)
        ]

    def done(self) -> frozenset[DirtyDay]:
        """Forget what was touched; return the days that were marked for it."""
        marked = frozenset(self._marked)
        self._marked.clear()
        self._touched.clear()
        return marked

    def lacking(self, region: str, site: str, now_ms: int) -> IntervalColumns:
        """Return all figures of a site's channels that have none: they were declared since."""
        self._refresh()
        series = self._of_site(region, site)
        new = np.array([i for i in series.tolist() if self.extent(i) == (0, 0)], np.int32)
        if len(new) == 0:
            return IntervalColumns.empty()
        declared = [self._parameters.registers(index) for index in new.tolist()]
        since_ms = min(_since(registers) for registers in declared)
        parts = [
            self.made(new, low, low + _CHUNK_MS, IntervalColumns.empty())
            for low in range(day_start(since_ms), now_ms + DAY_MS, _CHUNK_MS)
        ]
        return overlaid(*parts) if parts else IntervalColumns.empty()

    def extent(
        self, series: int, from_ms: int = _SINCE_MS, to_ms: int = FOR_EVER_MS
    ) -> tuple[int, int]:
        """Return the part of a span in which a channel has figures, or would have with other facts.

        (0, 0): it has no figures at all.
        """
        own = np.array([series], np.int32)
        months = self._store.intervals(Level.MONTH, own, 0, MAX_TIME_MS).start_ms
        if len(months) == 0:
            return 0, 0
        low = int(months[0]) if from_ms == _SINCE_MS else max(from_ms - DAY_MS, _SINCE_MS)
        return low, min(to_ms + DAY_MS, next_month(int(months[-1])))

    def extents(self, series: Int32) -> Sequence[Span]:
        """Return in which whole months those of some channels that are integrated have figures."""
        own = series[self._parameters.integrated[series]].tolist()
        return [span for index in own if (span := self.extent(index)) != (0, 0)]

    # ------------------------------------------------------------------ figures

    def made(
        self, series: Int32, start_ms: int, end_ms: int, old: IntervalColumns
    ) -> IntervalColumns:
        """Make the figures of integrated channels in [start_ms, end_ms), two borders of intervals.

        Of `old`, the stored ones, those are kept whose rates the store no longer has: what was
        covered once is covered for ever, unless somebody declares otherwise.
        """
        own = series[self._parameters.integrated[series]]
        if len(own) == 0:
            return IntervalColumns.empty()
        found = self._integrated(own, start_ms, end_ms)
        return overlaid(old.take(self._expired(old, found)), found)

    def _integrated(self, series: Int32, start_ms: int, end_ms: int) -> IntervalColumns:
        rate_of = [self._rate_series(index) for index in series.tolist()]
        gap_ms = np.array([_gap_ms(rate, self._directory) for rate in rate_of], np.int64)
        reach_ms = int(gap_ms.max())
        chosen = np.unique(np.array(rate_of, np.int32))
        read = self._store.instant(chosen, start_ms - reach_ms, end_ms + reach_ms)
        good = np.isin(read.quality, sorted(COUNTING_CODES))
        times: list[Int64] = []
        values: list[Int64] = []
        for index, rate in zip(series.tolist(), rate_of, strict=True):
            rows = good & (read.series == rate)
            time_ms, value = self._counting(index, read.time_ms[rows], read.value[rows])
            times.append(time_ms)
            values.append(value)
        offsets = np.cumsum([0, *map(len, times)], dtype=np.int64)
        grid_ms = self._store.grid_ms
        block = integrate(offsets, np.concatenate(times), np.concatenate(values), gap_ms, grid_ms)
        block = block[:, (block[START] >= start_ms) & (block[START] < end_ms)]
        return self._figures(series[block[GROUP]], block)

    def _counting(
        self, series: int, time_ms: Int64, value: NDArray[np.float64]
    ) -> tuple[Int64, Int64]:
        """Return what counts of one channel's rates, behind the multiplier [micro-units per hour].

        What flows against the channel's direction is 0.
        """
        registers = self._parameters.registers(series)
        direction = self._rate(series).direction
        largest = MAX_RATE_MICRO_PER_H // registers.largest_multiplier()
        micro = value * (direction * MICRO)
        keep = (np.abs(micro) <= largest) & (time_ms >= _since(registers))
        time_ms, rate = time_ms[keep], np.rint(micro[keep]).astype(np.int64)
        if registers.edited:
            edited = edit(registers, [""] * len(rate), time_ms, rate)
            keep = edited.keep & (np.abs(edited.value) <= largest)
            time_ms, rate = time_ms[keep], edited.value[keep]
        since = np.array([since_ms for since_ms, _ in registers.multipliers], np.int64)
        step = np.maximum(np.searchsorted(since, time_ms, side="right") - 1, 0)
        multiplier = np.array([one for _, one in registers.multipliers], np.int64)[step]
        return time_ms, np.maximum(rate, 0) * multiplier

    def _figures(self, series: Int32, block: Int64) -> IntervalColumns:
        start_ms, amount = block[START].copy(), block[AMOUNT].copy()
        none, one = np.zeros(len(amount), np.int64), np.ones(len(amount), np.int64)
        return IntervalColumns(
            series=series,
            start_ms=start_ms,
            amount=amount,
            amount_estimated=none,
            amount_held=none,
            measured_ms=block[MEASURED].copy(),
            estimated_ms=none,
            missing_ms=self._store.grid_ms - block[MEASURED],
            received=np.minimum(block[RECEIVED], 1),
            expected=one,
            flags=np.full(len(amount), INTEGRATED, np.int64),
            **self._measures.of(series, start_ms, amount),
        )

    def _expired(self, old: IntervalColumns, new: IntervalColumns) -> NDArray[np.bool_]:
        """Tell which stored figures cover more than can be made, though nobody declared less."""
        keys = zip(new.series.tolist(), new.start_ms.tolist(), strict=True)
        covered = dict(zip(keys, new.measured_ms.tolist(), strict=True))
        expired = np.zeros(len(old), np.bool_)
        marked = np.flatnonzero(old.flags & INTEGRATED)
        rows = (old.series[marked].tolist(), old.start_ms[marked].tolist())
        for row, index, start in zip(marked.tolist(), *rows, strict=True):
            if old.measured_ms[row] > covered.get((index, start), 0):
                registers = self._parameters.registers(index)
                end = start + self._store.grid_ms
                reach_ms = _gap_ms(self._rate_series(index), self._directory)
                expired[row] = start >= _since(registers) + reach_ms and not any(
                    first < end + reach_ms and last > start - reach_ms
                    for first, last in registers.rejected
                )
        return expired

    # ------------------------------------------------------------------ which channels

    def _refresh(self) -> None:
        """List what is declared of meters of which something has come."""
        keys = self._directory.series.keys(self._known)
        for key in keys:
            for channel in self._parameters.declared_integrated(key):
                if key.channel in {channel, rates()[channel].channel}:
                    made = self._directory.series.add(key._replace(channel=channel))
                    self._made_of.setdefault(self._rate_series(made), [])
                    if made not in self._made_of[self._rate_series(made)]:
                        self._made_of[self._rate_series(made)].append(made)
        self._known += len(keys)
        if keys:
            self._take()

    def _of_site(self, region: str, site: str) -> Int32:
        series = self._directory.series_of_site(region, site)
        return series[self._parameters.integrated[series]]

    def _rate(self, series: int) -> Rate:
        return rates()[self._directory.series.key(series).channel]

    def _rate_series(self, series: int) -> int:
        key = self._directory.series.key(series)
        return self._directory.series.add(key._replace(channel=self._rate(series).channel))


def _since(registers: Registers) -> int:
    """Return since when rates count [ms]."""
    return max(_SINCE_MS, registers.commissioned_ms, registers.integrated_from_ms or 0)


def _gap_ms(rate: int, directory: Directory) -> int:
    return catalogue()[directory.series.key(rate).channel].gap_limit_s * SECOND_MS


def _merged(time_ms: Int64, reach_ms: int, grid_ms: int) -> list[Span]:
    """Return the intervals within reach of some times, as spans that do not touch."""
    starts = np.unique(time_ms // grid_ms) * grid_ms
    before, after = -(-reach_ms // grid_ms) * grid_ms, (-(-reach_ms // grid_ms) + 1) * grid_ms
    return _joined([(at - before, at + after) for at in starts.tolist()])


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Return the union of some spans, ascending."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return found
