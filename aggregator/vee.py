"""Keeps the stored verdicts equal to what the rules say of the readings as they are now.

Judging reads the raw readings again, so it is done only where something is odd: around intervals
whose flags say so, readings that do not count, times that came twice, and verdicts that stand
where figures were made anew. What stands there is compared with what is judged now; only what
differs is written, so a verdict that holds no longer goes. Owned by the pipeline's thread.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.admission import placed
from aggregator.batch import Int32, Int64, IntervalColumns, ReadingColumns
from aggregator.judging import judged
from aggregator.kernels.neighbourhood import NEIGHBOURS
from aggregator.kernels.register import HELD, ROLLOVER, SUSPECT
from aggregator.parameters import Parameters
from aggregator.store.base import Store, counts
from aggregator.verdict import RuleId, Verdict, changes
from contract.interval import HOUR_MS
from contract.reading import COUNTING_CODES

_TOGETHER_MS = HOUR_MS
"""Odd spots of a channel that lie this close are judged together."""


class Vee:
    """Collects odd spots, and judges them when the readings of a commit are known."""

    def __init__(self, store: Store, parameters: Parameters) -> None:
        self._store = store
        self._directory = store.directory
        self._parameters = parameters
        self._spots: dict[int, list[tuple[int, int]]] = {}
        """Per series the spans [from_ms, to_ms) to be judged."""

    def note(self, series: Iterable[int], from_ms: int, to_ms: int) -> None:
        """Let all of a span be judged again."""
        for index in series:
            self._spots.setdefault(index, []).append((from_ms, to_ms))

    def note_figures(self, figures: IntervalColumns) -> None:
        """Note intervals whose flags say that a rule has spoken: nearly always none has."""
        odd = np.flatnonzero(figures.flags & (ROLLOVER | HELD | SUSPECT))
        length_ms = self._store.grid_ms + 1  # a reading at the end ends a step of this interval
        for index, start in zip(
            figures.series[odd].tolist(), figures.start_ms[odd].tolist(), strict=True
        ):
            self.note([index], start, start + length_ms)

    def note_standing(self, series: Int32, from_ms: int, to_ms: int) -> None:
        """Note the verdicts that stand where figures are made anew: they may hold no longer."""
        for verdict in self._store.verdicts(series, from_ms, to_ms):
            self.note([verdict.series], verdict.time_ms, verdict.time_ms + 1)

    def note_times(self, series: Int32, time_ms: Int64) -> None:
        """Note single readings."""
        for index, at in set(zip(series.tolist(), time_ms.tolist(), strict=True)):
            self.note([index], at, at + 1)

    def note_uncounted(self, readings: ReadingColumns, counted: ReadingColumns) -> None:
        """Note the readings of registered meters of which only `counted` enters the ledger."""
        edited = self._parameters.edited[readings.series]
        for index in np.unique(readings.series[edited]).tolist():  # they may have been moved
            own = readings.take(readings.series == index)
            there = placed(own, self._parameters.registers(index), self._directory).readings
            times = np.concatenate([own.time_ms, there.time_ms])
            self.note([index], int(times.min()), int(times.max()) + 1)
        plain = readings.take(~edited)
        odd = ~counts(plain) | ~np.isin(_keys(plain), _keys(counted))
        self.note_times(plain.series[odd], plain.time_ms[odd])

    def derive(self, fresh: ReadingColumns) -> Sequence[Verdict]:
        """Judge all that was noted; return what must be written with `fresh`, and forget the notes.

        StoreRetriable: nothing is forgotten, call again.
        """
        if not self._spots:
            return ()
        told: list[Verdict] = []
        for index, spots in self._spots.items():
            if self._parameters.registered[index]:
                own = fresh.take(fresh.series == index)
                for from_ms, to_ms in _merged(spots):
                    told += self._judge(index, from_ms, to_ms, own)
        self._spots.clear()
        return told

    def _judge(
        self, index: int, from_ms: int, to_ms: int, fresh: ReadingColumns
    ) -> Sequence[Verdict]:
        chosen = np.array([index], np.int32)
        parameters = self._parameters
        now = (
            verdict
            for verdict in judged(
                index,
                self._near(index, from_ms, to_ms - 1, fresh),
                parameters.registers(index),
                lambda multiplier: parameters.limits(index, multiplier),
                self._directory,
            )
            if from_ms <= verdict.time_ms < to_ms
        )
        stands = self._store.verdicts(chosen, from_ms, to_ms)
        return changes((v for v in stands if v.rule is not RuleId.STUCK_REGISTER), now)

    def _near(self, index: int, from_ms: int, to_ms: int, fresh: ReadingColumns) -> ReadingColumns:
        """Return all that came of a span and of its neighbourhood, `fresh` included.

        Where people have moved or rejected readings near, the whole of that is read.
        """
        registers, chosen = self._parameters.registers(index), np.array([index], np.int32)
        moved = list(registers.moved())
        low, high = from_ms, to_ms
        while True:
            before = self._store.readings(
                chosen, low, low, before=NEIGHBOURS, counting=COUNTING_CODES
            )
            after = self._store.readings(
                chosen, high, high, after=NEIGHBOURS, counting=COUNTING_CODES
            )
            first = min([low, *before.time_ms[:1].tolist()])
            last = max([high, *after.time_ms[-1:].tolist()])
            since, until = low, high
            for start, end in moved:
                if start <= last and end >= first:
                    since, until = min(since, start), max(until, end)
            if (since, until) == (low, high):
                break
            low, high = since, until
        # Of `fresh` what is further away than the neighbours has unread readings between.
        own = np.ones(len(fresh), np.bool_)
        if np.count_nonzero(counts(before) & (before.time_ms < low)) >= NEIGHBOURS:
            own &= fresh.time_ms >= first
        if np.count_nonzero(counts(after) & (after.time_ms > high)) >= NEIGHBOURS:
            own &= fresh.time_ms <= last
        stored = self._store.versions(chosen, first, last)
        return ReadingColumns.concatenate([stored, fresh.take(own)])


def _keys(readings: ReadingColumns) -> NDArray[np.void]:
    """Return series, time and value as one column that can be looked up."""
    fields = [("series", np.int64), ("time", np.int64), ("value", np.int64)]
    keys = np.empty(len(readings), fields)
    keys["series"], keys["time"] = readings.series, readings.time_ms
    keys["value"] = readings.value
    return keys


def _merged(spots: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield spans that hold all spots, ascending; those that lie close are one."""
    low, high = None, 0
    for from_ms, to_ms in sorted(spots):
        if low is None:
            low, high = from_ms, to_ms
        elif from_ms <= high + _TOGETHER_MS:
            high = max(high, to_ms)
        else:
            yield low, high
            low, high = from_ms, to_ms
    if low is not None:
        yield low, high
