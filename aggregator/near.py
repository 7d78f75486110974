"""What lies around late readings: as it counts, and as it will be once they are committed.

A figure depends on the readings of its interval and on NEIGHBOURS good ones on either side, so
that is what is read, however far away; and the intervals that a change there can touch.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from aggregator.admission import MORE, admitted, gap_limit_ms, lacking, needed
from aggregator.batch import Int32, Int64, ReadingColumns
from aggregator.kernels.neighbourhood import NEIGHBOURS, affected_span
from aggregator.kernels.register import MAX_VALUE_MICRO
from aggregator.parameters import Parameters
from aggregator.store.base import Store, counts, settle
from aggregator.vee import Vee
from contract.interval import DAY_MS
from contract.reading import COUNTING_CODES, Quality

_FAR_MS = DAY_MS
"""Channels whose neighbours lie further away are read one by one, not all by the widest."""


class Span(NamedTuple):
    """Intervals [start_ms, end_ms) of some channels that have readings."""

    series: Int32
    start_ms: int
    end_ms: int
    near: ReadingColumns | None
    """All readings that a rewriting of them takes, when they have been read."""


class Near:
    """Reads from the store around a span, together with what is about to be committed."""

    def __init__(self, store: Store, parameters: Parameters, vee: Vee) -> None:
        self._store = store
        self._directory = store.directory
        self._parameters = parameters
        self._vee = vee

    def admitted(self, readings: ReadingColumns) -> ReadingColumns:
        """Leave out what does not enter the ledger; sorted by (series, time) and one per key."""
        readings = readings.take(self._parameters.metered[readings.series])
        rank, edited = self._directory.outbox_rank(), self._parameters.edited[readings.series]
        plain = readings.take(counts(readings) & ~edited)
        largest = MAX_VALUE_MICRO // self._parameters.multiplier[plain.series]
        early = plain.time_ms < self._parameters.commissioned[plain.series]
        parts = [plain.take((np.abs(plain.value) <= largest) & ~early)]
        for index in np.unique(readings.series[edited]).tolist():
            own = readings.take(readings.series == index)
            parts.append(admitted(own, self._parameters.registers(index), self._directory))
        return settle(ReadingColumns.concatenate(parts), rank)

    def spans(
        self, series: Int32, from_ms: int, to_ms: int, fresh: ReadingColumns
    ) -> Iterator[Span]:
        """Yield channels that have readings, and the intervals that readings in between touch.

        An interval more is read on either side than was asked about: where readings are dense, all
        that the rewriting of those intervals needs is then there.
        """
        grid_ms, widened = self._store.grid_ms, False
        while True:
            start_ms = from_ms // grid_ms * grid_ms - grid_ms
            end_ms = to_ms // grid_ms * grid_ms + 2 * grid_ms
            near, frozen = self.read(series, start_ms, end_ms - 1, fresh)
            if widened or not frozen:
                break
            # A freeze this far away may be needed no more, or again.
            gap_ms = max(gap_limit_ms(self._directory, index) for index in series.tolist())
            widened = True
            from_ms, to_ms = from_ms - gap_ms, to_ms + gap_ms
        series = np.unique(near.series)
        low, high = _extent(near, from_ms, to_ms)
        self._reach_declared(series, near, (from_ms, to_ms), low, high)
        far = (low < from_ms - _FAR_MS) | (high > to_ms + _FAR_MS)
        for group in (series[~far], *(series[i : i + 1] for i in np.flatnonzero(far))):
            if len(group):
                rows = np.isin(series, group)
                span = affected_span(int(low[rows].min()), int(high[rows].max()), grid_ms)
                all_there = start_ms <= span[0] and span[1] <= end_ms
                readings = near.take(np.isin(near.series, group)) if all_there else None
                yield Span(group, *span, readings)

    def read(
        self,
        series: Int32,
        from_ms: int,
        to_ms: int,
        fresh: ReadingColumns,
        asked: int = NEIGHBOURS,
    ) -> tuple[ReadingColumns, bool]:
        """Read a span with its neighbours, as it will be once ``fresh`` is committed.

        Of ``fresh`` only what lies in the span or is as near as the neighbours: further ones would
        leave unread readings between. Tells also whether a freeze was among what was looked at.
        """
        series = series[self._parameters.metered[series]]
        own = fresh.take(np.isin(fresh.series, series))
        found, wider = self._stored(series, from_ms, to_ms, asked)
        kept = self.admitted(found)
        if len(own):
            joined = ReadingColumns.concatenate([kept, own])
            joined = settle(joined, self._directory.outbox_rank())
            if len(joined) < len(kept) + len(own):  # a time that came twice
                twice = np.isin(own.time_ms, kept.time_ms)
                self._vee.note_times(own.series[twice], own.time_ms[twice])
            kept = joined
        frozen = bool((kept.quality == Quality.FREEZE).any())
        kept = needed(kept, self._directory)
        more = lacking(found, kept, self._directory, (from_ms, to_ms), asked)
        if len(more):
            others = kept.take(~np.isin(kept.series, more))
            rest, also = self.read(more, from_ms, to_ms, own, MORE * asked)
            kept, frozen = ReadingColumns.concatenate([others, rest]), frozen or also
            kept = kept.take(np.lexsort((kept.time_ms, kept.series)))
        if len(own) or wider or frozen or len(more) or asked > NEIGHBOURS:
            kept = _nearest(kept, from_ms, to_ms)
        return kept, frozen

    def _reach_declared(
        self,
        series: Int32,
        near: ReadingColumns,
        span: tuple[int, int],
        low: Int64,
        high: Int64,
    ) -> None:
        """Widen extents [low, high] that end with a channel's readings.

        Registers that are declared before the first or after the last reading count beside them.
        """
        declared = np.flatnonzero(~self._parameters.plain[series])
        if len(declared) == 0:
            return
        _, _, before, after = _around(near, *span)
        for i in declared.tolist():
            cuts = [cut.at_ms for cut in self._parameters.registers(int(series[i])).cuts]
            if cuts and before[i] < NEIGHBOURS:
                low[i] = min(int(low[i]), *cuts)
            if cuts and after[i] < NEIGHBOURS:
                high[i] = max(int(high[i]), *cuts)

    def _stored(
        self, series: Int32, from_ms: int, to_ms: int, asked: int
    ) -> tuple[ReadingColumns, bool]:
        """Read stored readings, and tell whether more was read than asked for.

        Where a person has moved or rejected readings near, the whole of it is read.
        """
        moved = {
            index: list(self._parameters.registers(index).moved())
            for index in series[self._parameters.edited[series]].tolist()
        }
        low, high = from_ms, to_ms
        while True:
            found = self._store.readings(
                series, low, high, before=asked, after=asked, counting=COUNTING_CODES
            )
            since, until = low, high
            for index, spans in moved.items():
                times = found.time_ms[found.series == index].tolist()
                near = min([low, *times]), max([high, *times])
                for first, last in spans:
                    if first <= near[1] and last >= near[0]:
                        since, until = min(since, first), max(until, last)
            if (since, until) == (low, high):
                return self._unsettled(found, moved), (low, high) != (from_ms, to_ms)
            low, high = since, until

    def _unsettled(self, found: ReadingColumns, edited: Iterable[int]) -> ReadingColumns:
        """Return all readings of one time where a clock event may move one of them away."""
        for index in edited:
            own = found.series == index
            if self._parameters.registers(index).shifts and own.any():
                times, series = found.time_ms[own], np.array([index], np.int32)
                every = self._store.versions(series, int(times.min()), int(times.max()))
                found = ReadingColumns.concatenate([found.take(~own), every])
        return found


def _extent(readings: ReadingColumns, from_ms: int, to_ms: int) -> tuple[Int64, Int64]:
    """Return per series the times of the NEIGHBOURS-th readings before and after a span.

    The first or last reading's where there are fewer.
    """
    first, count, before, after = _around(readings, from_ms, to_ms)
    low = first + np.maximum(before - NEIGHBOURS, 0)
    high = first + count - 1 - np.maximum(after - NEIGHBOURS, 0)
    return readings.time_ms[low], readings.time_ms[high]


def _nearest(readings: ReadingColumns, from_ms: int, to_ms: int) -> ReadingColumns:
    """Keep, per series, what lies in the span and NEIGHBOURS readings on either side."""
    first, count, before, after = _around(readings, from_ms, to_ms)
    low = np.repeat(first + before - NEIGHBOURS, count)
    high = np.repeat(first + count - after + NEIGHBOURS, count)
    row = np.arange(len(readings))
    return readings.take((low <= row) & (row < high))


def _around(readings: ReadingColumns, from_ms: int, to_ms: int) -> tuple[Int64, ...]:
    """Return per series its first row, its rows, and those before and after a span."""
    _, first, count = np.unique(readings.series, return_index=True, return_counts=True)
    if len(first) == 0:
        return first, count, first, first
    before = np.add.reduceat(readings.time_ms < from_ms, first, dtype=np.int64)
    after = np.add.reduceat(readings.time_ms > to_ms, first, dtype=np.int64)
    return first, count, before, after
