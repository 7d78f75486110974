"""What a register that was not read up to a month's end will have counted until then: an estimate.

It goes on as it did: each quarter of an hour at the mean of the same quarters of weekdays, or of
weekend days, in the four weeks before its last reading; where none of those was measured, of the
other days, else at the mean of all. The ledger knows nothing of it: it stands in what is reported
of a closed month, and is withdrawn when the register is read again. Months of silence follow each
other so, until a quarter has gone: then somebody must look, and the month says that it is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aggregator.api.reader import LedgerReader
from aggregator.batch import Int64, IntervalColumns
from aggregator.ledger.profile_fit import mean_rates
from contract.interval import BEIJING_OFFSET_MS, DAY_MS, floor_to
from contract.stored import MEASURE_FIELDS, Level

_BASIS_MS = 28 * DAY_MS
_QUARTER_MS = 900_000
SILENT_DAYS = 92
"""A register that was last read longer before a month is not estimated in it."""


@dataclass(frozen=True, slots=True)
class OpenTail:
    """The time from a register's last reading to the month's end, by intervals."""

    start_ms: Int64
    amount: Int64
    """[micro-units], each rounded once."""
    length_ms: Int64
    per_micro: Mapping[str, float]
    """By measure, of what it is estimated from: NaN where that has none."""

    def within(self, from_ms: int, to_ms: int) -> tuple[int, int]:
        """Return amount and length of the intervals that start in [from_ms, to_ms)."""
        inside = (self.start_ms >= from_ms) & (self.start_ms < to_ms)
        return int(self.amount[inside].sum()), int(self.length_ms[inside].sum())


def open_tails(
    reader: LedgerReader, series: list[int], month_ms: int, end_ms: int
) -> dict[int, OpenTail]:
    """Return the open tails of registers that were not read up to the end of a month that is over.

    A register of which nothing was measured in the four weeks before its last reading has none, nor
    one that was silent for more than SILENT_DAYS before the month.
    """
    if reader.now_ms() < end_ms or not series:
        return {}
    last_ms = dict(zip(series, reader.last_times(series).tolist(), strict=True))
    since_ms = month_ms - SILENT_DAYS * DAY_MS
    silent = [index for index in series if since_ms <= last_ms[index] < end_ms]
    if not silent:
        return {}
    since = min(last_ms[index] for index in silent) - _BASIS_MS
    figures = reader.figures(Level.INTERVAL, silent, floor_to(since, reader.grid_ms), end_ms)
    found = {}
    for index in silent:
        rows = figures.take(figures.series == index)
        tail = _tail(rows, last_ms[index], month_ms, end_ms, reader.grid_ms)
        if tail is not None:
            found[index] = tail
    return found


def _tail(
    rows: IntervalColumns, last_ms: int, month_ms: int, end_ms: int, grid_ms: int
) -> OpenTail | None:
    """Return the tail as far as it lies in the month."""
    sure = (rows.measured_ms == grid_ms) & (rows.flags == 0)
    known = rows.take(sure & (rows.start_ms >= last_ms - _BASIS_MS))
    if len(known) == 0:
        return None
    rates = mean_rates(known.start_ms, known.amount, grid_ms)
    rates = np.where(np.isnan(rates), rates[::-1], rates)
    rates = np.where(np.isnan(rates), known.amount.sum() / (len(known) * grid_ms), rates)
    first_ms = max(last_ms, month_ms)
    start = np.arange(floor_to(first_ms, grid_ms), end_ms, grid_ms, dtype=np.int64)
    length = np.full(len(start), grid_ms, np.int64)
    length[0] -= first_ms - start[0]
    local = start + BEIJING_OFFSET_MS
    kind = ((local // DAY_MS + 3) % 7 > 4).astype(np.int64)
    amount = np.rint(rates[kind, local % DAY_MS // _QUARTER_MS] * length).astype(np.int64)
    total = int(known.amount.sum())
    per_micro = {
        name: float(getattr(known, name).sum()) / total if total else 0.0 for name in MEASURE_FIELDS
    }
    return OpenTail(start, amount, length, per_micro)
