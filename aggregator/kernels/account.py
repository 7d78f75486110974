"""Amount x dated factor = measure: one kernel for standard coal, CO2 and cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.kernels.jit import kernel

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

MICRO = 1_000_000


@kernel
def _account(
    amount_micro: Int64, start_ms: Int64, valid_from_ms: Int64, factor: Float64
) -> Float64:
    measure = np.empty(len(amount_micro), np.float64)
    rows = len(valid_from_ms)
    row = -1  # the factor row of the reading before: rows of one series come in time order
    for j in range(len(amount_micro)):
        start = start_ms[j]
        since = row < 0 or valid_from_ms[row] <= start
        until = row + 1 >= rows or start < valid_from_ms[row + 1]
        if not (since and until):
            row = np.searchsorted(valid_from_ms, start, side="right") - 1
        measure[j] = amount_micro[j] / MICRO * factor[row] if row >= 0 else np.nan
    return measure


def account(amount_micro: Int64, start_ms: Int64, valid_from_ms: Int64, factor: Float64) -> Float64:
    """Measure of each interval [unit of the factor x unit of the amount].

    amount_micro   int64 [n], micro-units
    start_ms       int64 [n], start of the interval, UTC, in any order
    valid_from_ms  int64 [k], strictly ascending; row i holds until row i + 1 begins
    factor         float64 [k]; NaN where no verified row is valid

    Returns float64 [n]: NaN before the first row and where the factor is NaN, never 0 for them.

    Raises:
        ValueError: lengths differ, or valid_from_ms does not ascend.
    """
    if len(amount_micro) != len(start_ms) or len(valid_from_ms) != len(factor):
        raise ValueError("amounts and starts, validity and factors must be as many")
    if (valid_from_ms[1:] <= valid_from_ms[:-1]).any():  # a difference could overflow
        raise ValueError("valid_from_ms: strictly ascending expected")
    return _account(amount_micro, start_ms, valid_from_ms, factor)


def warm_up() -> None:
    """Compile for the product's argument types."""
    one = np.zeros(1, np.int64)
    account(one, one, one, np.zeros(1))
