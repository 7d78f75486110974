"""Grouped sums of rows: one kernel for hour, day, month and every node of the tree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.kernels.jit import kernel

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

BEIJING_OFFSET_MS = 8 * 3_600_000
"""Hours, days and months are cut at fixed +08:00."""


@kernel
def _fixed_starts(start_ms: Int64, length_ms: int) -> Int64:
    starts = np.empty_like(start_ms)
    for j in range(len(start_ms)):
        local = start_ms[j] + BEIJING_OFFSET_MS
        starts[j] = start_ms[j] - local % length_ms
    return starts


def fixed_starts(start_ms: Int64, length_ms: int) -> Int64:
    """Start of the hour or day (any fixed length [ms]) at +08:00 that holds each time [ms UTC]."""
    return _fixed_starts(start_ms, length_ms)


@kernel
def _runs(series: Int64, period_ms: Int64) -> tuple[Int64, Int64]:
    groups = np.empty(len(series), np.int64)
    first = np.empty(len(series), np.int64)
    n = 0
    for j in range(len(series)):
        same = j > 0 and series[j] == series[j - 1] and period_ms[j] == period_ms[j - 1]
        if not same:
            first[n] = j
            n += 1
        groups[j] = n - 1
    return groups, first[:n].copy()


def runs(series: Int64, period_ms: Int64) -> tuple[Int64, Int64]:
    """Group rows sorted by (series, period): group of each row, and first row of each group."""
    return _runs(series, period_ms)


@kernel
def _rollup(
    group: Int64, n_groups: int, columns: Int64, measures: Float64
) -> tuple[Int64, Float64]:
    sums = np.zeros((columns.shape[0], n_groups), np.int64)
    totals = np.zeros((measures.shape[0], n_groups), np.float64)
    for c in range(columns.shape[0]):
        for j in range(len(group)):
            sums[c, group[j]] += columns[c, j]
    for c in range(measures.shape[0]):
        for j in range(len(group)):
            totals[c, group[j]] += measures[c, j]
    return sums, totals


def rollup(group: Int64, n_groups: int, columns: Int64, measures: Float64) -> tuple[Int64, Float64]:
    """Sum rows by group.

    group     int64 [n], 0..n_groups - 1, in any order
    columns   int64 [k, n]: amounts [micro-units], durations [ms], counts
    measures  float64 [m, n]; NaN (not determined) makes its group's sum NaN

    Returns int64 [k, n_groups] and float64 [m, n_groups]; a group without rows is 0. Integer sums
    are exact; float sums depend in the last digits on the order of rows: give them sorted.

    Raises:
        ValueError: lengths differ, or a group is out of range.
    """
    n = len(group)
    if columns.ndim != 2 or measures.ndim != 2:
        raise ValueError("columns and measures: [number, rows] expected")
    if columns.shape[1] != n or measures.shape[1] != n:
        raise ValueError(f"columns and measures: {n} rows expected")
    if n and not 0 <= group.min() <= group.max() < n_groups:
        raise ValueError(f"group: 0 to {n_groups - 1} expected")
    return _rollup(group, n_groups, columns, measures)


def warm_up() -> None:
    """Compile for the product's argument types."""
    one = np.zeros(1, np.int64)
    fixed_starts(one, 3_600_000)
    runs(one, one)
    rollup(one, 1, np.zeros((1, 1), np.int64), np.zeros((1, 1)))
