"""What lies around late readings: as it counts, and as it will be once they are committed.

A figure depends on the readings of its interval and on NEIGHBOURS good ones on either side, so
that is what is read, however far away; and the intervals that a change there can touch.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from aggregator.admission import (
    MORE,
    Bools,
    admitted,
    filling,
    gap_limit_ms,
    lacking,
    marked,
    needed,
    others,
)
from aggregator.batch import SPARE, Int32, Int64, ReadingColumns
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
        plain = plain.take((np.abs(plain.value) <= largest) & ~early)
        parts = [marked(plain, self.spare(plain))]
        for index in np.unique(readings.series[edited]).tolist():
            own = readings.take(readings.series == index)
            parts.append(admitted(own, self._parameters.registers(index), self._directory))
        return settle(ReadingColumns.concatenate(parts), rank)

    def spare(self, readings: ReadingColumns) -> Bools:
        """Tell which readings another gateway made than the primary one, by its clock."""
        found = np.zeros(len(readings), np.bool_)
        known = readings.series < len(self._parameters.shared)
        rows = np.flatnonzero(known)[self._parameters.shared[readings.series[known]]]
        if len(rows) == 0:  # nearly always
            return found
        rows = rows[np.argsort(readings.series[rows], kind="stable")]
        for own in np.split(rows, np.flatnonzero(np.diff(readings.series[rows])) + 1):
            registers = self._parameters.registers(int(readings.series[own[0]]))
            found[own] = others(readings.take(own), registers, self._directory)
        return found

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
            near, filled = self.read(series, start_ms, end_ms - 1, fresh)
            if widened or len(filled) == 0:
                break
            # What only fills gaps may be needed no more, or again, this far away.
            since_ms = _waiting_since(filled, from_ms)
            alone: Int32 = np.unique(filled.series)[since_ms < from_ms - _FAR_MS]
            if len(alone) and len(series) > 1:
                for index in alone.tolist():
                    yield from self.spans(np.array([index], np.int32), from_ms, to_ms, fresh)
                series = series[~np.isin(series, alone)]
                continue
            gap_ms = max(gap_limit_ms(self._directory, index) for index in series.tolist())
            widened = True
            from_ms, to_ms = int(since_ms.min()) - gap_ms, to_ms + gap_ms
        series = np.unique(near.series)
        low, high = _extent(near, from_ms, to_ms)
        self._reach_declared(series, near, (from_ms, to_ms), low, high)
        # What counts no longer, of another gateway after the primary one's last, had figures.
        late = filled.take(filled.time_ms <= to_ms)
        at = np.searchsorted(series, late.series)
        np.maximum.at(high, at, late.time_ms)
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
    ) -> tuple[ReadingColumns, ReadingColumns]:
        """Read a span with its neighbours, as it will be once ``fresh`` is committed.

        Of ``fresh`` only what lies in the span or is as near as the neighbours: further ones would
        leave unread readings between. Returns also all that was looked at of channels with
        readings that only fill gaps, needed or not.
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
        filled = kept.take(np.isin(kept.series, filling(kept)))
        entering, kept = kept, needed(kept, self._directory)
        more = lacking(found, entering, kept, self._directory, (from_ms, to_ms), asked)
        if len(more):
            rest = self.read(more, from_ms, to_ms, own, MORE * asked)
            kept, filled = (
                _replaced(had, more, read) for had, read in zip((kept, filled), rest, strict=True)
            )
        if len(own) or wider or len(filled) or len(more) or asked > NEIGHBOURS:
            kept = _nearest(kept, from_ms, to_ms)
        return kept, filled

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
                return self._unsettled(found, (low, high)), (low, high) != (from_ms, to_ms)
            low, high = since, until

    def _unsettled(self, found: ReadingColumns, span: tuple[int, int]) -> ReadingColumns:
        """Return all readings of one time where one that the store puts behind may be what counts.

        A clock event may move the other away, or the other is not the primary gateway's.
        """
        series: Int32 = np.unique(found.series)
        shared = series[self._parameters.shared[series]]
        near = []
        for index in series[self._parameters.edited[series] | self._parameters.shared[series]]:
            own = found.series == index
            registers, times = self._parameters.registers(int(index)), found.time_ms[own]
            first, last = int(times.min()), int(times.max())
            if index in shared and span[0] - _FAR_MS <= first and last <= span[1] + _FAR_MS:
                near.append((index, first, last))
            elif registers.shifts or registers.edges:
                every = self._store.versions(np.array([index], np.int32), first, last)
                found = ReadingColumns.concatenate([found.take(~own), every])
        if near:
            chosen = np.array([index for index, _, _ in near], np.int32)
            first, last = min(first for _, first, _ in near), max(last for _, _, last in near)
            every = self._store.versions(chosen, first, last)
            found = ReadingColumns.concatenate([found.take(~np.isin(found.series, chosen)), every])
        return found


def _replaced(had: ReadingColumns, series: Int32, read: ReadingColumns) -> ReadingColumns:
    """Put what was read of some series in place of what they had; sorted as both are."""
    joined = ReadingColumns.concatenate([had.take(~np.isin(had.series, series)), read])
    return joined.take(np.lexsort((joined.time_ms, joined.series)))


def _extent(readings: ReadingColumns, from_ms: int, to_ms: int) -> tuple[Int64, Int64]:
    """Return per series the times of the NEIGHBOURS-th readings before and after a span.

    The first or last reading's where there are fewer.
    """
    first, count, before, after = _around(readings, from_ms, to_ms)
    low = first + np.maximum(before - NEIGHBOURS, 0)
    high = first + count - 1 - np.maximum(after - NEIGHBOURS, 0)
    return readings.time_ms[low], readings.time_ms[high]


def _waiting_since(filled: ReadingColumns, from_ms: int) -> Int64:
    """Return per series since when another gateway's readings may have waited, or ``from_ms``.

    They count, or count no longer, when it is seen or unseen that the primary one was silent, which
    what was read first after them tells, however much later. So the last of them is asked for.
    """
    found = []
    for index in np.unique(filled.series).tolist():
        own = (filled.series == index) & (filled.time_ms < from_ms)
        polls = np.flatnonzero(own & (filled.quality != Quality.FREEZE))
        waits = len(polls) > 0 and filled.quality[polls[-1]] == SPARE
        found.append(int(filled.time_ms[polls[-1]]) if waits else from_ms)
    return np.array(found, np.int64)


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
