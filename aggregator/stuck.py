"""Finds registers that stand still while the meter itself measures that energy flows.

An alarm only: no figure is moved. Judged per window of whole hours from Beijing midnight, as the
rule's row of that day says, when hour figures are made: a window that was measured from end to end
and in which the register did not move is looked at, all others cost nothing.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from aggregator.batch import Int32, IntervalColumns
from aggregator.ledger.rules import Rules, rule_at, rules
from aggregator.parameters import UNKNOWN, Parameters
from aggregator.register.rates import rates
from aggregator.store.base import Store
from aggregator.verdict import Outcome, RuleId, Verdict, changes
from contract.interval import DAY_MS, HOUR_MS, day_start
from contract.reading import COUNTING_CODES
from contract.units import MICRO

_TOGETHER = 500
"""Channels whose rates are read at once: six hours of them, read each minute, are 180 000."""


class _Window(NamedTuple):
    from_ms: int
    to_ms: int
    percent: int
    """Of the rating."""


class Stuck:
    """Owned by the thread that makes the hour figures."""

    def __init__(self, store: Store, parameters: Parameters, table: Rules | None = None) -> None:
        self._store = store
        self._parameters = parameters
        self._table = table or rules()

    def changes(
        self, hours: IntervalColumns, series: Int32, from_ms: int, to_ms: int
    ) -> Sequence[Verdict]:
        """Return what changes in the verdicts of windows that touch [from_ms, to_ms).

        hours: all figures of those windows and these series, sorted by (series, start).
        """
        told: list[Verdict] = []
        windows = list(self._windows(from_ms, to_ms))
        for window in windows:
            still = _still(hours, window)
            for first in range(0, len(still), _TOGETHER):
                told += self._flowing(still[first : first + _TOGETHER], window)
        if not windows:
            return ()
        stands = self._store.verdicts(series, windows[0].from_ms, windows[-1].to_ms)
        return changes((v for v in stands if v.rule is RuleId.STUCK_REGISTER), told)

    def _windows(self, from_ms: int, to_ms: int) -> Iterator[_Window]:
        for day_ms in range(day_start(from_ms), to_ms, DAY_MS):
            said = rule_at(self._table, RuleId.STUCK_REGISTER, day_ms).parameters
            length_ms = int(said["hours"]) * HOUR_MS
            for start_ms in range(day_ms, day_ms + DAY_MS, length_ms):
                if start_ms < to_ms and start_ms + length_ms > from_ms:
                    yield _Window(start_ms, start_ms + length_ms, int(said["percent"]))

    def _flowing(self, series: Int32, window: _Window) -> Iterator[Verdict]:
        """Yield a verdict on each register whose meter measured a flow in the window."""
        directory = self._store.directory
        measured_by: dict[int, tuple[int, int]] = {}
        for index in series.tolist():
            key = directory.series.key(index)
            rate = rates().get(key.channel)
            if rate is None:
                continue
            other = directory.series.find(key._replace(channel=rate.channel))
            if other >= 0 and self._parameters.limits(index, 1).limit_micro_per_h != UNKNOWN:
                measured_by[index] = other, rate.direction
        if not measured_by:
            return
        flows = np.unique(np.array([other for other, _ in measured_by.values()], np.int32))
        found = self._store.instant(flows, window.from_ms, window.to_ms - 1)
        good = np.isin(found.quality, sorted(COUNTING_CODES))
        for index, (other, sign) in measured_by.items():
            values = found.value[good & (found.series == other)]
            if len(values) == 0:
                continue
            mean = round(float(np.maximum(values * sign, 0).mean()) * MICRO)
            limit = self._parameters.limits(index, 1).limit_micro_per_h
            if mean * 100 > limit * window.percent:
                yield Verdict(index, window.from_ms, RuleId.STUCK_REGISTER, mean, Outcome.FLAGGED)


def _still(hours: IntervalColumns, window: _Window) -> Int32:
    """Return the series whose register stood still in all of a window, measured throughout."""
    inside = (hours.start_ms >= window.from_ms) & (hours.start_ms < window.to_ms)
    rows = hours.take(inside)
    if len(rows) == 0:
        return rows.series
    series, first = np.unique(rows.series, return_index=True)
    moved = np.add.reduceat((rows.amount != 0) | (rows.amount_held != 0), first, dtype=np.int64)
    measured = np.add.reduceat(rows.measured_ms, first)
    chosen: Int32 = series[(moved == 0) & (measured == window.to_ms - window.from_ms)]
    return chosen
