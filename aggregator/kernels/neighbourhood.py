"""Late readings: what to read again, and which intervals may then be rewritten.

A reading's verdict looks two readings around it, and at most `LONGEST_SUSPECT` readings in a row
are left out (found by search over all patterns of values, tests/aggregator). So within
`NEIGHBOURS` readings on either side of a late one there is a reading that counts, whose verdict
the late one cannot change, and whose own context is complete. For late readings of one channel
between t_first and t_last, all of them already in the store:

1. ``lo, hi`` = the times of the NEIGHBOURS-th reading before t_first and after t_last (of the
   first or last reading of the series where there are fewer).
2. ``start, end = affected_span(lo, hi, grid)``.
3. Read NEIGHBOURS readings before ``start``, all in [start, end), NEIGHBOURS from ``end`` on.
4. ``rows, head = recompute(...)`` gives the rows of [start, end) to write.
5. The channel's head is outdated when ``end`` lies beyond the start of the interval that holds its
   last settled reading, for it carries what that interval has so far. Then rebuild it: see below.

A head after a restart is the same thing with t_first = t_last = the last reading.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.kernels.register import (
    GAP,
    LIMIT,
    MODULUS,
    SLACK,
    TAKEN,
    IntervalRows,
    advance,
)

Int64 = NDArray[np.int64]

LONGEST_SUSPECT = 6
"""Most readings in a row that are ever left out."""
NEIGHBOURS = 12
"""Readings to read on either side: 2 changed verdicts + 6 left out + 1 that counts + 2 context."""


def affected_span(lo_ms: int, hi_ms: int, grid_ms: int) -> tuple[int, int]:
    """Intervals [start, end) from the one that holds ``lo_ms`` to the one that holds ``hi_ms``."""
    return lo_ms // grid_ms * grid_ms, hi_ms // grid_ms * grid_ms + grid_ms


def recompute(
    head: Int64, time_ms: Int64, value: Int64, start_ms: int, end_ms: int, grid_ms: int
) -> tuple[IntervalRows, Int64]:
    """Run sorted readings of one channel through an empty head with the parameters of ``head``.

    Returns the rows with start in [start_ms, end_ms), slot 0, and the head [24] after the last
    reading given.

    Raises:
        ValueError: readings are not strictly ascending or out of range.
    """
    fresh = np.zeros((1, len(head)), np.int64)
    for column in (MODULUS, LIMIT, SLACK, GAP):
        fresh[0, column] = head[column]
    rows, status = advance(
        fresh, np.zeros(1, np.int64), np.array([0, len(time_ms)]), time_ms, value, grid_ms
    )
    if status[0] != TAKEN:
        raise ValueError(f"readings cannot be recomputed: status {status[0]}")
    inside = (rows.start_ms >= start_ms) & (rows.start_ms < end_ms)
    return IntervalRows(np.ascontiguousarray(rows.block[:, inside])), fresh[0]


def sort_readings(slot: Int64, time_ms: Int64, value: Int64) -> tuple[Int64, Int64, Int64, Int64]:
    """Group readings given in any order: (slots, offsets, times, values), ready for `advance`.

    Of several with the same (slot, time) the first given counts: order them by precedence.
    """
    order = np.lexsort((time_ms, slot))  # stable: the first given stays first
    slot, time_ms = slot[order], time_ms[order]
    new = np.ones(len(slot), np.bool_)
    new[1:] = (slot[1:] != slot[:-1]) | (time_ms[1:] != time_ms[:-1])
    slot, time_ms, value = slot[new], time_ms[new], value[order][new]
    borders = np.flatnonzero(slot[1:] != slot[:-1]) + 1 if len(slot) else np.zeros(0, np.int64)
    first = np.concatenate((np.zeros(min(1, len(slot)), np.int64), borders))
    return slot[first], np.append(first, len(slot)), time_ms, value
