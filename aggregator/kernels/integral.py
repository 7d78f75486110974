"""Amounts per interval as the integral of a measured rate: trapezoids, cut at interval borders.

All integers. At a border between two readings the rate is interpolated linearly and rounded to one
micro-unit per hour; an interval's amount is the exact integral of what then stands in it, rounded
once. So an interval depends on its own readings and one neighbour on each side, and on nothing
else. Where two readings are further apart than the gap limit nothing is booked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.kernels.jit import kernel

Int64 = NDArray[np.int64]

INTEGRATED = 32
"""Flag of an amount that no register counted; the lower bits are those of kernels/register.py."""
MAX_RATE_MICRO_PER_H = 1 << 40
"""Rates beyond this are left out, so that an interval's integral fits 64 bits."""
MAX_GAP_MS = 1 << 20

GROUP, START, AMOUNT, MEASURED, RECEIVED = range(5)
"""Rows of the block that `integrate` returns."""
_HOUR_MS = 3_600_000


@kernel
def _integrate(
    offsets: Int64, time_ms: Int64, rate: Int64, gap_ms: Int64, grid: int, out: Int64
) -> int:
    n = 0
    for g in range(len(gap_ms)):
        last = -1
        for j in range(offsets[g], offsets[g + 1]):
            ta, ra = time_ms[j], rate[j]
            start = ta - ta % grid
            if start != last:
                out[GROUP, n], out[START, n], last = g, start, start
                n += 1
            out[RECEIVED, n - 1] += 1
            if j + 1 == offsets[g + 1] or time_ms[j + 1] - ta > gap_ms[g]:
                continue
            tb, rb = time_ms[j + 1], rate[j + 1]
            span = tb - ta
            t, r = ta, ra
            while t < tb:
                if last + grid <= t:
                    last += grid
                    out[GROUP, n], out[START, n] = g, last
                    n += 1
                end, q = tb, rb
                if last + grid < tb:
                    end = last + grid
                    q = (2 * (ra * (tb - end) + rb * (end - ta)) + span) // (2 * span)
                out[AMOUNT, n - 1] += (r + q) * (end - t)
                out[MEASURED, n - 1] += end - t
                t, r = end, q
    for i in range(n):
        out[AMOUNT, i] = (out[AMOUNT, i] + _HOUR_MS) // (2 * _HOUR_MS)
    return n


def integrate(offsets: Int64, time_ms: Int64, rate: Int64, gap_ms: Int64, grid_ms: int) -> Int64:
    """Integrate groups of readings; return int64 [5, rows], by group and start.

    offsets  int64 [groups + 1]: group g is rows offsets[g] to offsets[g + 1]
    time_ms  int64, strictly ascending within a group
    rate     int64 [micro-units per hour], 0 to MAX_RATE_MICRO_PER_H
    gap_ms   int64 [groups]: longest distance of two readings that is integrated, to MAX_GAP_MS

    There is a row for each interval with a reading or a part that was integrated. MEASURED is how
    much of it was [ms], RECEIVED how many readings lie in it.

    Raises:
        ValueError: a rate or a gap limit out of range, or times that do not ascend.
    """
    if len(rate) and not 0 <= rate.min() <= rate.max() <= MAX_RATE_MICRO_PER_H:
        raise ValueError(f"rates: 0 to {MAX_RATE_MICRO_PER_H} expected")
    if len(gap_ms) and not 0 <= gap_ms.min() <= gap_ms.max() <= MAX_GAP_MS:
        raise ValueError(f"gap limits: 0 to {MAX_GAP_MS} ms expected")
    inner = np.ones(max(len(time_ms) - 1, 0), np.bool_)
    borders = offsets[1:-1]
    inner[borders[(borders > 0) & (borders < len(time_ms))] - 1] = False
    steps = np.diff(time_ms)
    if (steps[inner] <= 0).any():
        raise ValueError("times of a group must ascend")
    crossed = (time_ms[1:] // grid_ms - time_ms[:-1] // grid_ms)[inner & (steps <= MAX_GAP_MS)]
    out = np.zeros((5, len(time_ms) + int(crossed.sum())), np.int64)
    count = _integrate(offsets, time_ms, rate, gap_ms, grid_ms, out)
    return out[:, :count].copy()


def warm_up() -> None:
    """Compile for the product's argument types."""
    one = np.zeros(1, np.int64)
    integrate(np.array([0, 1]), one, one, one, 900_000)
