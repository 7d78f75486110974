"""The book: heads of all registers in memory; new readings in, changed intervals out.

Live readings are newer than their channel's head and go through the incremental kernel. Anything
else is recomputed: the neighbourhood of the late readings is read again from the store, joined
with what is about to be committed, and run through fresh heads. Both end in the same figures
(docs/formats/ledger.md), so the order in which readings come does not matter.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.admission import gap_limit_ms
from aggregator.batch import (
    SPARE,
    Int32,
    Int64,
    IntervalColumns,
    ReadingColumns,
    Redone,
    differing,
    overlaid,
    with_measures_kept,
)
from aggregator.directory import Directory
from aggregator.heads import Heads
from aggregator.integration import Integration
from aggregator.kernels.register import (
    COUNT,
    GOOD_T,
    IntervalRows,
    last_times,
)
from aggregator.ledger.registers import FOR_EVER_MS
from aggregator.measures import Measures
from aggregator.near import Near
from aggregator.parameters import Parameters
from aggregator.runs import Runs
from aggregator.store.base import NO_TIME, Store
from aggregator.vee import Vee
from aggregator.verdict import Verdict
from contract.channels import catalogue
from contract.interval import DAY_MS, HOUR_MS, day_start
from contract.reading import Quality
from contract.stored import Level

_TOGETHER_MS = 300_000
"""Channels whose last readings follow each other this closely are loaded together."""
_CLUSTER_MS = 6 * HOUR_MS
"""Late readings further apart than this are recomputed apart."""
_REDO_MS = 31 * DAY_MS
"""So much is rewritten at once when a fact changes."""
_FAR_MS = DAY_MS
"""Channels whose neighbours lie further away are read one by one, not all by the widest."""


class Book:
    """Not thread-safe: the pipeline's thread owns it."""

    def __init__(self, store: Store, parameters: Parameters, measures: Measures) -> None:
        self._store = store
        self._directory: Directory = store.directory
        self._parameters = parameters
        self._measures = measures
        self._vee = Vee(store, parameters)
        self.integration = Integration(store, parameters, measures, self.refresh)
        self._near = Near(store, parameters, self._vee)
        self._heads = Heads(store.directory, parameters)
        self._runs = Runs(store, parameters, measures, self._heads)
        self._unloaded: dict[tuple[str, str], list[int]] = {}
        """Cumulative series with readings in the store and no head yet, by (region, site)."""
        channels = catalogue()
        for index, key in enumerate(self._directory.series.keys()):
            if channels[key.channel].cumulative:
                self._unloaded.setdefault((key.region, key.site), []).append(index)

    def refresh(self) -> None:
        """Take what was told to the parameters since the last call."""
        self._heads.grow()

    def counted(self, readings: ReadingColumns) -> ReadingColumns:
        """Return the readings that enter the ledger, one per (series, time), sorted so."""
        self._heads.grow()
        counted = self._near.admitted(readings)
        registered = self._parameters.metered[readings.series]
        if np.count_nonzero(registered) != len(counted):
            self._vee.note_uncounted(readings.take(registered), counted)
        return counted

    def verdicts(self, fresh: ReadingColumns) -> Sequence[Verdict]:
        """Return the verdicts that change with what was counted or made anew since the last call.

        fresh: all readings that are about to be committed with them.
        """
        return self._vee.derive(fresh)

    def unregistered(self, readings: ReadingColumns) -> Int32:
        """Return the series of each reading of a meter that the register does not know."""
        self._heads.grow()
        return readings.series[~self._parameters.registered[readings.series]]

    def late(self, readings: ReadingColumns) -> NDArray[np.bool_]:
        """Tell which readings must be seen beside others of their channels, or only fill gaps."""
        fills = (readings.quality == Quality.FREEZE) | (readings.quality == SPARE)
        fills |= self._near.spare(readings)
        late: NDArray[np.bool_] = fills | self._heads.overtaken(readings.series, readings.time_ms)
        return late

    def is_late(self, readings: ReadingColumns) -> bool:
        """Tell whether any of the readings is late."""
        return bool(self.late(readings).any())

    def refused(self) -> Mapping[int, str]:
        """Return series whose figures could not be made since the last call, and why.

        Their stored figures and their heads are as they were.
        """
        refused, self._runs.refused = self._runs.refused, {}
        return refused

    def load_site(self, region: str, site: str) -> IntervalColumns:
        """Load the heads of a site from the store, once; return figures that the store lacks.

        It lacks those of a meter that was registered since the last start, and, when a commit is
        not atomic, may lack some of the days that carry a dirty mark.
        """
        found = self._unloaded.get((region, site))
        if found is None:
            return IntervalColumns.empty()
        self._heads.grow()
        series, none = np.array(found, np.int32), ReadingColumns.empty(cumulative=True)
        series = series[~self._parameters.integrated[series]]
        self._reload(series, none)
        spans = list(self._lacking(series))
        if not self._store.atomic:
            days = [d.day_ms for d in self._store.dirty_days() if d[:2] == (region, site)]
            spans += [(series, day, day + DAY_MS) for day in sorted(days)]
        parts = [self._rewrite(own, start, end, none) for own, start, end in spans]
        for own, start, end in spans:
            self._vee.note(own.tolist(), start, end)
        del self._unloaded[(region, site)]  # not before: the store may have been away
        return _joined(parts)

    def _lacking(self, series: Int32) -> Iterator[tuple[Int32, int, int]]:
        """Yield channels whose last reading has no figure, with the span to be written."""
        grid_ms = self._store.grid_ms
        loaded = series[self._heads[series, COUNT] > 0]
        last = last_times(self._heads[loaded]) // grid_ms * grid_ms
        if len(loaded) == 0:
            return
        order = np.argsort(last, kind="stable")
        # Together only what ended together: a meter may have gone a year before the others.
        for rows in np.split(order, np.flatnonzero(np.diff(last[order]) > _FAR_MS) + 1):
            there = self._store.intervals(
                Level.INTERVAL,
                np.sort(loaded[rows]),
                int(last[rows[0]]),
                int(last[rows[-1]]) + grid_ms,
            )
            known = set(zip(there.series.tolist(), there.start_ms.tolist(), strict=True))
            for index, last_ms in zip(loaded[rows].tolist(), last[rows].tolist(), strict=True):
                if (index, last_ms) not in known:
                    yield np.array([index], np.int32), 0, last_ms + grid_ms

    def advance(self, readings: ReadingColumns) -> IntervalColumns:
        """Take counted readings that are newer than their heads; return changed intervals."""
        self._heads.grow()
        figures = self._runs.figures(self._runs.run(self._heads.rows, readings))
        self._vee.note_figures(figures)
        return figures

    def recompute(self, readings: ReadingColumns) -> IntervalColumns:
        """Take counted readings of any age, not yet in the store; return changed intervals."""
        self._heads.grow()
        return _joined([self._window(window, readings) for window in _clusters(readings)])

    # ------------------------------------------------------------------ recomputing

    def renew(self, series: Sequence[int]) -> None:
        """Make heads again under what is declared now: what is read from here on goes on there."""
        for index in series:
            self._heads.empty(index)
        self._reload(np.unique(np.array(series, np.int32)), ReadingColumns.empty(cumulative=True))

    def redo(self, series: int, from_ms: int, to_ms: int) -> Iterator[Redone | None]:
        """Rewrite what facts in [from_ms, to_ms] touch, some days at a time; None: nothing differs.

        Write each piece before the next is taken. Other readings may be committed between two, once
        the channel is renewed: a piece is made of all that is stored by then.
        """
        own, none = np.array([series], np.int32), ReadingColumns.empty(cumulative=True)
        first = self._store.readings(own, 0, 0, after=1).time_ms
        last = int(self._store.last_times(own)[0])
        if len(first) == 0 or self._parameters.integrated[series]:
            low, high = self.integration.extent(series, from_ms, to_ms)
        else:
            cuts = [cut.at_ms for cut in self._parameters.registers(series).cuts]
            low = max(from_ms, min([int(first[0]), *cuts]))
            high = min(to_ms, max([last, *cuts]) + DAY_MS)
            spans = [s for end in (low, high) for s in self._near.spans(own, end, end, none)]
            if not spans:  # no reading counts any more, so neither do declarations
                low, high = min([low, *cuts]), max([high, *cuts])
            low = min([low, *(span.start_ms for span in spans)])
            high = max([high, *(span.end_ms for span in spans)])
        for day_ms in range(day_start(low), high, _REDO_MS) if low < high else ():
            yield self._redone(own, day_ms, min(day_ms + _REDO_MS, day_start(high) + DAY_MS))

    def registered(self, series: Int32) -> Int32:
        """Return which of some series are in the ledger: cumulative, of meters in the register."""
        self._heads.grow()
        channels = catalogue()
        chosen = [
            index
            for index in series[self._parameters.registered[series]].tolist()
            if channels[self._directory.series.key(index).channel].cumulative
        ]
        return np.array(chosen, np.int32)

    def remade(
        self, series: Int32, start_ms: int, end_ms: int, *, measures: bool = False
    ) -> Redone | None:
        """Make whole days of some registered channels anew; None when they are stored so already.

        Heads are not touched, and need not be loaded. measures: of amounts that are right too.
        """
        self._heads.grow()
        return self._redone(series, start_ms, end_ms, measures=measures)

    def _redone(
        self, series: Int32, start_ms: int, end_ms: int, *, measures: bool = False
    ) -> Redone | None:
        """Compare whole days as stored with what readings and facts say now.

        What is declared of meters changes amounts. Measures whose amount stays are none of its
        business: other factors or prices are only ever applied because somebody asks for it.
        """
        metered = series[~self._parameters.integrated[series]]
        self._vee.note(metered.tolist(), start_ms, end_ms)
        old = self._store.intervals(Level.INTERVAL, series, start_ms, end_ms)
        none = ReadingColumns.empty(cumulative=True)
        made = self._rewrite(metered, start_ms, end_ms, none)
        new = overlaid(
            old.take(np.isin(old.series, list(self._runs.refused))),
            made,
            self.integration.made(series, start_ms, end_ms, old),
            self._measures.of_nothing(old, self._store.grid_ms),
        )
        new = new if measures else with_measures_kept(old, new)
        differs = differing(old, new)
        return Redone(old, new, new.take(differs)) if differs.any() else None

    def _window(self, late: ReadingColumns, fresh: ReadingColumns) -> IntervalColumns:
        """Rewrite the neighbourhood of ``late``; all of ``fresh`` is about to be committed."""
        series = np.unique(late.series)
        from_ms, to_ms = int(late.time_ms.min()), int(late.time_ms.max())
        parts = []
        for span in self._near.spans(series, from_ms, to_ms, fresh):
            parts.append(self._rewrite(span.series, span.start_ms, span.end_ms, fresh, span.near))
            self._reload(span.series[self._outdated(span.series, span.end_ms)], fresh)
            self._vee.note_figures(parts[-1])
            self._vee.note_standing(span.series, span.start_ms, span.end_ms)
        return IntervalColumns.concatenate(parts)

    def _outdated(self, series: Int32, end_ms: int) -> NDArray[np.bool_]:
        """Tell which heads a rewrite of intervals up to ``end_ms`` outdates.

        A head holds what its last settled reading's interval has so far, so it is not enough that
        its last readings are untouched.
        """
        heads = self._heads[series]
        grid_ms = self._store.grid_ms
        open_ms = heads[:, GOOD_T] // grid_ms * grid_ms
        outdated: NDArray[np.bool_] = (heads[:, COUNT] == 0) | (open_ms < end_ms)
        return outdated

    def _rewrite(
        self,
        series: Int32,
        start_ms: int,
        end_ms: int,
        fresh: ReadingColumns,
        near: ReadingColumns | None = None,
    ) -> IntervalColumns:
        """Make the figures of some intervals anew; ``near``: all readings that takes."""
        readings = self._near.read(series, start_ms, end_ms - 1, fresh)[0] if near is None else near
        rows, _ = self._runs.run_all(self._heads.blank(series), readings, series)
        inside = (rows.start_ms >= start_ms) & (rows.start_ms < end_ms)
        made = self._runs.figures(IntervalRows(rows.block[:, inside]))
        declared = series[~self._parameters.plain[series]]
        declared = declared[~np.isin(declared, list(self._runs.refused))]
        if len(declared) == 0:
            return made
        # Between two registers there may be intervals of which nothing is known any more.
        old = self._store.intervals(Level.INTERVAL, declared, start_ms, end_ms)
        return overlaid(made, self._measures.of_nothing(old, self._store.grid_ms))

    def _reload(self, series: Int32, fresh: ReadingColumns) -> None:
        """Rebuild heads from the last readings of each channel."""
        if len(series) == 0:
            return
        last = self._store.last_times(series)
        at = np.searchsorted(series, fresh.series).clip(max=len(series) - 1)
        own = series[at] == fresh.series
        np.maximum.at(last, at[own], fresh.time_ms[own])
        order = np.argsort(last, kind="stable")
        order = order[last[order] != NO_TIME]
        for rows in np.split(order, np.flatnonzero(np.diff(last[order]) > _TOGETHER_MS) + 1):
            if len(rows):
                from_ms, to_ms = int(last[rows[0]]), int(last[rows[-1]])
                for span in self._near.spans(np.sort(series[rows]), from_ms, to_ms, fresh):
                    heads, readings = self._heads.blank(span.series), span.near
                    if readings is None:
                        borders = span.start_ms, span.end_ms - 1
                        readings, _ = self._near.read(span.series, *borders, fresh)
                    _, last_pieces = self._runs.run_all(heads, readings, span.series)
                    taken = ~np.isin(span.series, list(self._runs.refused))
                    self._heads[span.series[taken]] = heads[taken]
                    self._heads.unsure[span.series] = np.isin(span.series, _frozen_last(readings))
                    came_ms = last[np.searchsorted(series, span.series)]
                    self._heads.silent_ms[span.series] = self._silent(readings, came_ms)
                    for index, piece in last_pieces.items():
                        self._heads.multiplier[index] = piece.multiplier
                        self._heads.until_ms[index] = piece.until_ms

    def _silent(self, readings: ReadingColumns, came_ms: Int64) -> Int64:
        """Return per series when its primary gateway is silent, if others' readings wait for that.

        readings: what counts, up to its last; came_ms: when the last came that may count.
        """
        last = np.flatnonzero(np.diff(readings.series, append=-1))
        series, at_ms = readings.series[last], readings.time_ms[last]
        waits = self._parameters.shared[series] & (came_ms > at_ms)
        gaps = [gap_limit_ms(self._directory, index) for index in series[waits].tolist()]
        silent_ms = np.full(len(series), FOR_EVER_MS)
        silent_ms[waits] = at_ms[waits] + np.array(gaps, np.int64)
        return silent_ms


def _joined(parts: list[IntervalColumns]) -> IntervalColumns:
    """Put rewritten spans together; where they meet in an interval their figures are the same."""
    return overlaid(*parts) if parts else IntervalColumns.empty()


def _clusters(readings: ReadingColumns) -> Iterator[ReadingColumns]:
    """Split readings where nothing lies within six hours.

    Only channels with readings of about the same times are taken together: else those of one site
    would fill the gaps of another's, and all of both would be made anew.
    """
    if len(readings) == 0:
        return
    series, row = np.unique(readings.series, return_inverse=True)
    first = np.full(len(series), np.iinfo(np.int64).max)
    last = np.full(len(series), np.iinfo(np.int64).min)
    np.minimum.at(first, row, readings.time_ms)
    np.maximum.at(last, row, readings.time_ms)
    times = np.stack([first // _CLUSTER_MS, last // _CLUSTER_MS])
    kinds, kind = np.unique(times, axis=1, return_inverse=True)
    for number in range(kinds.shape[1]):
        own = readings.take(kind.ravel()[row] == number)
        order = np.argsort(own.time_ms, kind="stable")
        borders = np.flatnonzero(np.diff(own.time_ms[order]) > _CLUSTER_MS) + 1
        for rows in np.split(order, borders):
            yield own.take(rows)


def _frozen_last(readings: ReadingColumns) -> Int32:
    """Return the series that end with a freeze, or with one before the last reading."""
    frozen = readings.quality == Quality.FREEZE
    if not frozen.any():
        return np.empty(0, np.int32)
    found: Int32 = np.unique(readings.series)
    last = np.searchsorted(readings.series, found, side="right") - 1
    second = np.maximum(last - 1, 0)
    ends: NDArray[np.bool_] = frozen[last] | (frozen[second] & (readings.series[second] == found))
    return found[ends]
