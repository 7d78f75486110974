"""The book: heads of all registers in memory; new readings in, changed intervals out.

Live readings are newer than their channel's head and go through the incremental kernel. Anything
else is recomputed: the neighbourhood of the late readings is read again from the store, joined
with what is about to be committed, and run through fresh heads. Both end in the same figures
(docs/formats/ledger.md), so the order in which readings come does not matter.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.admission import MORE, admitted, lacking, needed
from aggregator.batch import (
    Int32,
    Int64,
    IntervalColumns,
    ReadingColumns,
    Redone,
    differing,
    overlaid,
)
from aggregator.directory import Directory
from aggregator.heads import Heads
from aggregator.integration import Integration
from aggregator.kernels.neighbourhood import NEIGHBOURS, affected_span
from aggregator.kernels.register import (
    COUNT,
    GAP,
    GOOD_T,
    LIMIT,
    MAX_VALUE_MICRO,
    MODULUS,
    RAW_T,
    SLACK,
    SLOT,
    TAKEN,
    IntervalRows,
    advance,
    follow,
    last_times,
)
from aggregator.ledger.registers import (
    FOR_EVER_MS,
    SINCE_EVER_MS,
    Piece,
    pieces,
)
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.store.base import NO_TIME, Store, counts, settle
from aggregator.vee import Vee
from aggregator.verdict import Verdict
from contract.channels import catalogue
from contract.interval import DAY_MS, HOUR_MS, day_start
from contract.reading import COUNTING_CODES, Quality
from contract.stored import Level

_TOGETHER_MS = 300_000
"""Channels whose last readings follow each other this closely are loaded together."""
_CLUSTER_MS = 6 * HOUR_MS
"""Late readings further apart than this are recomputed apart."""
_REDO_MS = 31 * DAY_MS
"""So much is rewritten at once when a fact changes."""
_FAR_MS = DAY_MS
"""Channels whose neighbours lie further away are read one by one, not all by the widest."""


class _Span(NamedTuple):
    """Intervals [start_ms, end_ms) of some channels that have readings."""

    series: Int32
    start_ms: int
    end_ms: int
    near: ReadingColumns | None
    """All readings that a rewriting of them takes, when they have been read."""


class Book:
    """Not thread-safe: the pipeline's thread owns it."""

    def __init__(self, store: Store, parameters: Parameters, measures: Measures) -> None:
        self._store = store
        self._directory: Directory = store.directory
        self._parameters = parameters
        self._measures = measures
        self._vee = Vee(store, parameters)
        self.integration = Integration(store, parameters, measures, self.refresh)
        self._heads = Heads()
        self._multiplier = np.empty(0, np.int64)
        """Of the register that each head counts."""
        self._until_ms = np.empty(0, np.int64)
        """Where another register or multiplier begins, after each head's last reading."""
        self._unsure = np.empty(0, np.bool_)
        """Whether a head's last readings hold a freeze: what comes next may make it needless."""
        self._unloaded: dict[tuple[str, str], list[int]] = {}
        """Cumulative series with readings in the store and no head yet, by (region, site)."""
        channels = catalogue()
        for index, key in enumerate(self._directory.series.keys()):
            if channels[key.channel].cumulative:
                self._unloaded.setdefault((key.region, key.site), []).append(index)

    def refresh(self) -> None:
        """Take what was told to the parameters since the last call."""
        self._grow()

    def counted(self, readings: ReadingColumns) -> ReadingColumns:
        """Return the readings that enter the ledger, one per (series, time), sorted so."""
        self._grow()
        counted = self._admitted(readings)
        registered = self._parameters.metered[readings.series]
        if np.count_nonzero(registered) != len(counted):
            self._vee.note_uncounted(readings.take(registered), counted)
        return counted

    def verdicts(self, fresh: ReadingColumns) -> Sequence[Verdict]:
        """Return the verdicts that change with what was counted or made anew since the last call.

        fresh: all readings that are about to be committed with them.
        """
        return self._vee.derive(fresh)

    def _admitted(self, readings: ReadingColumns) -> ReadingColumns:
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

    def unregistered(self, readings: ReadingColumns) -> Int32:
        """Return the series of each reading of a meter that the register does not know."""
        self._grow()
        return readings.series[~self._parameters.registered[readings.series]]

    def is_late(self, readings: ReadingColumns) -> bool:
        """Tell whether readings must be seen beside others of their channels.

        They are not newer than the head or of another register; or there are freezes, or were last.
        """
        if (readings.quality == Quality.FREEZE).any():
            return True
        known = readings.series < len(self._heads)  # the others were never read before
        series, time_ms = readings.series[known], readings.time_ms[known]
        late = (self._heads[series, COUNT] > 0) & (time_ms <= self._heads[series, RAW_T + 3])
        # Where a register's end is declared already, what it will have shown last is a reading too.
        late |= (self._until_ms[series] < FOR_EVER_MS) | self._unsure[series]
        return bool(late.any())

    def load_site(self, region: str, site: str) -> IntervalColumns:
        """Load the heads of a site from the store, once; return figures that the store lacks.

        It lacks those of a meter that was registered since the last start, and, when a commit is
        not atomic, may lack some of the days that carry a dirty mark.
        """
        found = self._unloaded.get((region, site))
        if found is None:
            return IntervalColumns.empty()
        self._grow()
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
        self._grow()
        figures = self._figures(self._run(self._heads.rows, readings))
        self._vee.note_figures(figures)
        return figures

    def recompute(self, readings: ReadingColumns) -> IntervalColumns:
        """Take counted readings of any age, not yet in the store; return changed intervals."""
        self._grow()
        return _joined([self._window(window, readings) for window in _clusters(readings)])

    # ------------------------------------------------------------------ recomputing

    def redo(self, series: int, from_ms: int, to_ms: int) -> Iterator[Redone]:
        """Rewrite what facts in [from_ms, to_ms] touch; yield what differs, some days at a time.

        Take all that is yielded: then the channel's head is made again.
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
            spans = [*self._spans(own, low, low, none), *self._spans(own, high, high, none)]
            if not spans:  # no reading counts any more, so neither do declarations
                low, high = min([low, *cuts]), max([high, *cuts])
            low = min([low, *(span.start_ms for span in spans)])
            high = max([high, *(span.end_ms for span in spans)])
        for day_ms in range(day_start(low), high, _REDO_MS) if low < high else ():
            redone = self._redone(own, day_ms, min(day_ms + _REDO_MS, day_start(high) + DAY_MS))
            if redone is not None:
                yield redone
        registers = self._parameters.registers(series)
        self._heads[own] = self._blank(own)
        self._multiplier[own] = registers.multiplier(SINCE_EVER_MS)
        self._until_ms[own] = registers.next_change(SINCE_EVER_MS)
        self._reload(own, none)

    def registered(self, series: Int32) -> Int32:
        """Return which of some series are in the ledger: cumulative, of meters in the register."""
        self._grow()
        channels = catalogue()
        chosen = [
            index
            for index in series[self._parameters.registered[series]].tolist()
            if channels[self._directory.series.key(index).channel].cumulative
        ]
        return np.array(chosen, np.int32)

    def remade(self, series: Int32, start_ms: int, end_ms: int) -> Redone | None:
        """Make whole days of some registered channels anew; None when they are stored so already.

        Heads are not touched, and need not be loaded.
        """
        self._grow()
        return self._redone(series, start_ms, end_ms)

    def _redone(self, series: Int32, start_ms: int, end_ms: int) -> Redone | None:
        """Compare whole days as stored with what readings and facts say now."""
        metered = series[~self._parameters.integrated[series]]
        self._vee.note(metered.tolist(), start_ms, end_ms)
        old = self._store.intervals(Level.INTERVAL, series, start_ms, end_ms)
        none = ReadingColumns.empty(cumulative=True)
        new = overlaid(
            self._rewrite(metered, start_ms, end_ms, none),
            self.integration.made(series, start_ms, end_ms, old),
            self._measures.of_nothing(old, self._store.grid_ms),
        )
        differs = differing(old, new)
        return Redone(old, new, new.take(differs)) if differs.any() else None

    def _window(self, late: ReadingColumns, fresh: ReadingColumns) -> IntervalColumns:
        """Rewrite the neighbourhood of ``late``; all of ``fresh`` is about to be committed."""
        series = np.unique(late.series)
        from_ms, to_ms = int(late.time_ms.min()), int(late.time_ms.max())
        parts = []
        for span in self._spans(series, from_ms, to_ms, fresh):
            parts.append(self._rewrite(span.series, span.start_ms, span.end_ms, fresh, span.near))
            self._reload(span.series[self._outdated(span.series, span.end_ms)], fresh)
            self._vee.note_figures(parts[-1])
            self._vee.note_standing(span.series, span.start_ms, span.end_ms)
        return IntervalColumns.concatenate(parts)

    def _spans(
        self, series: Int32, from_ms: int, to_ms: int, fresh: ReadingColumns
    ) -> Iterator[_Span]:
        """Yield channels that have readings, and the intervals that readings in between touch.

        An interval more is read on either side than was asked about: where readings are dense, all
        that the rewriting of those intervals needs is then there.
        """
        grid_ms, widened = self._store.grid_ms, False
        while True:
            start_ms = from_ms // grid_ms * grid_ms - grid_ms
            end_ms = to_ms // grid_ms * grid_ms + 2 * grid_ms
            near, frozen = self._read(series, start_ms, end_ms - 1, fresh)
            if widened or not frozen:
                break
            # A freeze this far away may be needed no more, or again.
            gap_ms, widened = int(self._heads[series, GAP].max()), True
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
                yield _Span(group, *span, readings)

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
        readings = self._read(series, start_ms, end_ms - 1, fresh)[0] if near is None else near
        rows, _ = self._run_all(self._blank(series), readings, series)
        inside = (rows.start_ms >= start_ms) & (rows.start_ms < end_ms)
        made = self._figures(IntervalRows(rows.block[:, inside]))
        declared = series[~self._parameters.plain[series]]
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
                for span in self._spans(np.sort(series[rows]), from_ms, to_ms, fresh):
                    heads, readings = self._blank(span.series), span.near
                    if readings is None:
                        readings, _ = self._read(span.series, span.start_ms, span.end_ms - 1, fresh)
                    _, last_pieces = self._run_all(heads, readings, span.series)
                    self._heads[span.series] = heads
                    self._unsure[span.series] = np.isin(span.series, _frozen_last(readings))
                    for index, piece in last_pieces.items():
                        self._multiplier[index] = piece.multiplier
                        self._until_ms[index] = piece.until_ms

    def _read(
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
        kept = self._admitted(found)
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
            rest, also = self._read(more, from_ms, to_ms, own, MORE * asked)
            kept, frozen = ReadingColumns.concatenate([others, rest]), frozen or also
            kept = kept.take(np.lexsort((kept.time_ms, kept.series)))
        if len(own) or wider or frozen or len(more) or asked > NEIGHBOURS:
            kept = _nearest(kept, from_ms, to_ms)
        return kept, frozen

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

    # ------------------------------------------------------------------ kernels

    def _run_all(
        self, heads: Int64, readings: ReadingColumns, listed: Int32
    ) -> tuple[IntervalRows, dict[int, Piece]]:
        """Run readings from the first on through blank heads, register after register.

        Row i of ``heads`` is of series ``listed[i]``. Returns also the last piece of each series
        that is not plain.
        """
        plain = self._parameters.plain[readings.series]
        blocks = [self._run(heads, readings.take(plain), listed).block]
        last: dict[int, Piece] = {}
        for index in np.unique(readings.series[~plain]).tolist():
            own = readings.take(readings.series == index)
            head = heads[np.searchsorted(listed, index)]
            before = None
            registers = self._parameters.registers(index)
            frozen = own.time_ms[own.quality == Quality.FREEZE]
            for piece in pieces(registers, own.time_ms, own.value.astype(np.int64)):
                rows = self._run_piece(head, index, piece, before, frozen)
                if before is not None and rows.start_ms[0] == before.start_ms[-1]:
                    blocks[-1] = blocks[-1][:, :-1]  # the new row says that one's figures too
                blocks.append(rows.block)
                before, last[index] = rows, piece
        return IntervalRows(np.concatenate(blocks, axis=1)), last

    def _run_piece(
        self,
        head: Int64,
        series: int,
        piece: Piece,
        before: IntervalRows | None,
        frozen_ms: Int64,
    ) -> IntervalRows:
        """Run one register's readings through a head; `before` are the last register's rows."""
        limits = self._parameters.limits(series, piece.multiplier)
        if piece.trusted:
            limits = limits._replace(modulus_micro=0, limit_micro_per_h=0)
        if before is not None:
            follow(head, before)
        head[[MODULUS, LIMIT, SLACK, GAP]] = limits
        return self._advance(
            head[np.newaxis], np.zeros(1, np.int64), np.array([0, len(piece.time_ms)]),
            piece.time_ms, piece.value, np.isin(piece.time_ms, frozen_ms), np.array([series]),
        )  # fmt: skip

    def _run(
        self, heads: Int64, readings: ReadingColumns, listed: Int32 | None = None
    ) -> IntervalRows:
        """Run settled readings through heads; sorted by (series, time) as they are.

        Row i of ``heads`` is of series ``listed[i]`` (ascending), or they are the book's own.
        """
        first = np.flatnonzero(np.diff(readings.series, prepend=-1))
        series = readings.series[first]
        slots = self._heads.row_of[series] if listed is None else np.searchsorted(listed, series)
        value = readings.value * self._multiplier[readings.series]
        return self._advance(
            heads,
            slots.astype(np.int64),
            np.append(first, len(readings)),
            readings.time_ms.copy(),  # writable, as the kernel was compiled for
            value.astype(np.int64),
            readings.quality == Quality.FREEZE,
            series,
        )

    def _advance(
        self, heads: Int64, slots: Int64, offsets: Int64, time_ms: Int64, value: Int64,
        frozen: NDArray[np.bool_], series: NDArray[np.integer[Any]],
    ) -> IntervalRows:  # fmt: skip
        """Run the kernel; group i is of ``series[i]``, and so are its rows."""
        rows, status = advance(
            heads, slots, offsets, time_ms, value, self._store.grid_ms,
            frozen=frozen.view(np.uint8) if frozen.any() else None,
            spreads=self._parameters.spreads(series.tolist()),
        )  # fmt: skip
        if (status != TAKEN).any():
            bad = int(np.flatnonzero(status != TAKEN)[0])
            key = self._directory.series.key(int(series[bad]))
            raise RuntimeError(f"{'/'.join(key)}: the register kernel says {status[bad]}")
        if len(series):
            order = np.argsort(slots)
            rows.block[SLOT] = series[order][np.searchsorted(slots[order], rows.slot)]
        return rows

    def _blank(self, series: Int32) -> Int64:
        """Return heads of these series without readings."""
        blank: Int64 = self._heads[series]
        blank[:, COUNT:] = 0
        return blank

    def _figures(self, rows: IntervalRows) -> IntervalColumns:
        """Turn kernel rows into stored figures with their measures."""
        series = rows.slot.astype(np.int32)
        measures = self._measures.of(series, rows.start_ms, rows.amount)
        count = len(rows)
        return IntervalColumns(
            series=series,
            start_ms=rows.start_ms.copy(),
            amount=rows.amount.copy(),
            amount_estimated=rows.amount_estimated.copy(),
            amount_held=rows.amount_held.copy(),
            measured_ms=rows.measured_ms.copy(),
            estimated_ms=rows.estimated_ms.copy(),
            missing_ms=self._store.grid_ms - rows.measured_ms - rows.estimated_ms,
            received=np.minimum(rows.received, 1),
            expected=np.ones(count, np.int64),
            flags=rows.flags.copy(),
            **measures,
        )

    def _grow(self) -> None:
        """Give every listed series a head, and every head its present parameters."""
        parameters = self._parameters
        changed = parameters.refresh()
        if len(changed) == 0:
            return
        added = len(parameters.registered) - len(self._heads)
        if added:
            channels, keys = catalogue(), self._directory.series.keys(len(self._heads))
            self._heads.grow([channels[key.channel].cumulative for key in keys[:added]])
            self._multiplier = np.append(self._multiplier, np.ones(added, np.int64))
            self._until_ms = np.append(self._until_ms, np.full(added, FOR_EVER_MS))
            self._unsure = np.append(self._unsure, np.zeros(added, np.bool_))
        changed = changed[self._heads.row_of[changed] >= 0]
        if len(changed) == 0:
            return
        plain = parameters.plain[changed]
        self._multiplier[changed[plain]] = parameters.multiplier[changed[plain]]
        self._until_ms[changed[plain]] = FOR_EVER_MS
        for index in changed[~plain].tolist():
            head, registers = self._heads[index], parameters.registers(index)
            # A head with readings goes on in its own register, up to the next one's first reading.
            since = int(head[RAW_T + 3]) - 1 if head[COUNT] else SINCE_EVER_MS
            self._multiplier[index] = registers.multiplier(since)
            self._until_ms[index] = registers.next_change(since)
        columns = np.array([MODULUS, LIMIT, SLACK, GAP])
        multipliers = self._multiplier[changed].tolist()
        self._heads[np.ix_(changed, columns)] = [
            parameters.limits(index, multiplier)
            for index, multiplier in zip(changed.tolist(), multipliers, strict=True)
        ]


def _joined(parts: list[IntervalColumns]) -> IntervalColumns:
    """Put rewritten spans together; where they meet in an interval their figures are the same."""
    return overlaid(*parts) if parts else IntervalColumns.empty()


def _clusters(readings: ReadingColumns) -> Iterator[ReadingColumns]:
    """Split readings where nothing lies within six hours."""
    if len(readings) == 0:
        return
    order = np.argsort(readings.time_ms, kind="stable")
    times = readings.time_ms[order]
    borders = np.flatnonzero(np.diff(times) > _CLUSTER_MS) + 1
    for rows in np.split(order, borders):
        yield readings.take(rows)


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


def _around(readings: ReadingColumns, from_ms: int, to_ms: int) -> tuple[Int64, ...]:
    """Return per series its first row, its rows, and those before and after a span."""
    _, first, count = np.unique(readings.series, return_index=True, return_counts=True)
    if len(first) == 0:
        return first, count, first, first
    before = np.add.reduceat(readings.time_ms < from_ms, first, dtype=np.int64)
    after = np.add.reduceat(readings.time_ms > to_ms, first, dtype=np.int64)
    return first, count, before, after
