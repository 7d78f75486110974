"""Roll-up to days and four measures: 10 000 channels of 15-minute intervals, one core.

Measured on three days; a rate, which thirty days are taken to keep.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from aggregator.kernels.account import account
from aggregator.kernels.jit import warm_up
from aggregator.kernels.rollup import fixed_starts, rollup, runs
from tests.benchmarks.measure import rate, seconds

CHANNELS = 10_000
DAYS = 3
SLOTS = 96 * DAYS
DAY_MS = 86_400_000
MEASURES = 4


def main() -> Iterator[str]:
    warm_up()
    n = CHANNELS * SLOTS
    rng = np.random.default_rng(3)
    series = np.repeat(np.arange(CHANNELS), SLOTS)
    start = np.tile(1_767_196_800_000 + 900_000 * np.arange(SLOTS), CHANNELS)
    columns = rng.integers(0, 10**9, (8, n))
    valid_from = np.array([0, 1_767_283_200_000])
    factor = np.array([0.6, 0.5])

    def kernels() -> tuple[np.ndarray, np.ndarray]:
        measures = np.empty((MEASURES, n))
        for m in range(MEASURES):
            measures[m] = account(columns[0], start, valid_from, factor)
        groups, first = runs(series, fixed_starts(start, DAY_MS))
        return rollup(groups, len(first), columns, measures)

    def in_pandas() -> pd.DataFrame:
        frame = pd.DataFrame({f"c{k}": columns[k] for k in range(len(columns))})
        rows = factor[np.searchsorted(valid_from, start, side="right") - 1]
        for m in range(MEASURES):
            frame[f"m{m}"] = columns[0] / 1_000_000 * rows
        frame["series"], frame["day"] = series, (start + 28_800_000) // DAY_MS
        return frame.groupby(["series", "day"]).sum()

    took, slow = seconds(kernels), seconds(in_pandas, repeat=1)
    sums, totals = kernels()
    frame = in_pandas()
    same = np.array_equal(frame["c0"].to_numpy(), sums[0]) and np.allclose(frame["m0"], totals[0])
    yield (
        f"{n} intervals to days with {MEASURES} measures, measured on {CHANNELS} channels x "
        f"{DAYS} days: {rate(n / 4, took)} meter-hours; "
        f"pandas {rate(n / 4, slow)}: kernels x {slow / took:.0f}, "
        f"{'same figures' if same else 'figures DIFFER'}"
    )
