"""How the energy of a gap is spread by a weekly profile: exact integers, one rounding per border.

A profile is a table of cumulative weights over the 672 quarters of an hour of a Beijing week that
begins on Monday. Inside a quarter the weight grows evenly. Rules: docs/formats/ledger.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.kernels.jit import kernel

Int64 = NDArray[np.int64]

QUARTERS = 672
QUARTER_MS = 900_000
MAX_WEIGHT = 10_000
"""Of one quarter: weights of 34 years, times ms, stay below 2^61."""

_WEEK_MS = QUARTERS * QUARTER_MS
_MONDAY_MS = 345_600_000 - 8 * 3_600_000
"""1970-01-05T00:00 at +08:00 was a Monday."""


@dataclass(frozen=True, slots=True)
class Spreads:
    """Which profile holds for each group of readings from when on.

    Group g has the rows ``offsets[g]:offsets[g + 1]``: ``since_ms`` ascending, and ``profile``, a
    row of ``weights`` or -1 where none holds. ``weights`` is [profiles, 673], cumulative.
    """

    offsets: Int64
    since_ms: Int64
    profile: Int64
    weights: Int64


def no_spreads() -> Spreads:
    """Every gap is spread evenly."""
    none = np.zeros(0, np.int64)
    return Spreads(none, none, none, np.zeros((0, QUARTERS + 1), np.int64))


def weekly(weekday: Sequence[int], weekend: Sequence[int]) -> Int64:
    """Return the cumulative weights of a week from the 96 quarters of a day of either kind."""
    week = [*list(weekday) * 5, *list(weekend) * 2]
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(week, np.int64))])


@kernel
def weight_until(cumulative: Int64, time_ms: int) -> int:
    """Weight x ms of all time from a Monday long ago until a time."""
    since = time_ms - _MONDAY_MS
    weeks = since // _WEEK_MS
    rest = since - weeks * _WEEK_MS
    quarter = rest // QUARTER_MS
    own = cumulative[quarter + 1] - cumulative[quarter]
    whole = (weeks * cumulative[QUARTERS] + cumulative[quarter]) * QUARTER_MS
    return whole + own * (rest - quarter * QUARTER_MS)


@kernel
def wide_part(amount: int, elapsed: int, span: int) -> int:
    """amount x elapsed / span as `register.part`, for a span of up to 2^61: slower."""
    size = abs(amount)
    whole = size // span
    rest = size - whole * span
    share, left = 0, 0
    for bit in range(
        61, -1, -1
    ):  # rest x elapsed / span, one binary digit of elapsed after another
        left = 2 * left + (rest if (elapsed >> bit) & 1 else 0)
        digit = left // span
        left -= digit * span
        share = 2 * share + digit
    if 2 * left >= span:
        share += 1
    share += whole * elapsed
    return share if amount >= 0 else -share
