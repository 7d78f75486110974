"""Finds the weights of a profile in measured intervals. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aggregator.batch import Int64
from contract.interval import BEIJING_OFFSET_MS, DAY_MS

_QUARTER_MS = 900_000
_QUARTERS = 96
MOST = 10_000
"""Weight of the quarter in which most flows; the others are in proportion, rounded."""
_KINDS = ("weekday", "weekend")


class FitError(ValueError):
    """There is too little to find weights in."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights of 96 quarters, and what they were found in."""

    weekday: tuple[int, ...]
    weekend: tuple[int, ...]
    intervals: int
    days: int


def mean_rates(start_ms: Int64, amount: Int64, grid_ms: int) -> np.ndarray:
    """Return the mean amount per ms of each quarter: [2, 96], weekdays first; NaN where none is."""
    sums, spans = np.zeros((2, _QUARTERS)), np.zeros((2, _QUARTERS))
    local = start_ms + BEIJING_OFFSET_MS
    kind = ((local // DAY_MS + 3) % 7 > 4).astype(np.int64)  # 1970-01-01 was a Thursday
    for offset_ms in range(0, grid_ms, _QUARTER_MS):  # an hour is four quarters of the same rate
        quarter = (local + offset_ms) % DAY_MS // _QUARTER_MS
        np.add.at(sums, (kind, quarter), amount)
        np.add.at(spans, (kind, quarter), grid_ms)
    return np.divide(sums, spans, out=np.full_like(sums, np.nan), where=spans > 0)


def fit(start_ms: Int64, amount: Int64, grid_ms: int) -> Fitted:
    """Return weights in proportion to what flowed on average; FitError where nothing is known.

    start_ms, amount [micro-units]: intervals of settled days, measured from end to end.
    """
    rates = mean_rates(start_ms, amount, grid_ms)
    for kind, of_kind in zip(_KINDS, rates, strict=True):
        unknown = np.flatnonzero(np.isnan(of_kind))
        if len(unknown):
            minute = int(unknown[0]) * 15
            raise FitError(
                f"no measured interval of a {kind} at {minute // 60:02}:{minute % 60:02} "
                f"({len(unknown)} of {_QUARTERS} quarters are unknown)"
            )
    rates = np.maximum(rates, 0)
    if rates.max() <= 0:
        raise FitError(f"nothing flowed in {len(start_ms)} intervals")
    weights = np.rint(rates / rates.max() * MOST).astype(int)
    days = np.unique((start_ms + BEIJING_OFFSET_MS) // DAY_MS)
    weekday, weekend = (tuple(of_kind.tolist()) for of_kind in weights)
    return Fitted(weekday, weekend, len(start_ms), len(days))


def text(weights: Sequence[int]) -> str:
    """Write weights as a cell of profiles.csv; by hours where quarters do not differ."""
    hours = [weights[i : i + 4] for i in range(0, _QUARTERS, 4)]
    if all(len(set(hour)) == 1 for hour in hours):
        weights = [hour[0] for hour in hours]
    return " ".join(map(str, weights))
