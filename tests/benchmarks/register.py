"""The register kernel: 10 000 channels of 1-minute readings, 15-minute grid, coverage and flags."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregator.kernels.jit import warm_up
from aggregator.kernels.register import IntervalRows, advance, new_heads
from tests.benchmarks.measure import rate, seconds

GRID_MS = 900_000
CHANNELS = 10_000
MINUTES = 1_440
PANDAS_CHANNELS = 1_000
LIMIT = 100_000_000  # 100 kW
GAP_MS = 1_800_000
Int64 = NDArray[np.int64]


def main() -> Iterator[str]:
    warm_up()
    yield f"{CHANNELS} channels x {MINUTES} readings of 1 minute, a day; rated, one core"
    for label, jitter in (("read on the minute", 0), ("read up to 5 s late", 5_000)):
        times, values = readings(CHANNELS, jitter)
        took = seconds(partial(whole, CHANNELS, times, values))
        few = times[: PANDAS_CHANNELS * MINUTES], values[: PANDAS_CHANNELS * MINUTES]
        slow = seconds(partial(in_pandas, PANDAS_CHANNELS, *few), repeat=1)
        same = check(*few)
        ratio = (slow / len(few[0])) / (took / len(times))
        yield (
            f"{label}: {rate(len(times), took)} readings; pandas {rate(len(few[0]), slow)} "
            f"on {PANDAS_CHANNELS} channels: kernel x {ratio:.0f}, {same}"
        )
    times, values = readings(CHANNELS, 0)
    heads = heads_for(CHANNELS)
    slots, offsets = np.arange(CHANNELS), np.arange(CHANNELS + 1)
    t, v = times.reshape(CHANNELS, MINUTES), values.reshape(CHANNELS, MINUTES)

    def live() -> None:
        for minute in range(60):
            advance(heads, slots, offsets, t[:, minute].copy(), v[:, minute].copy(), GRID_MS)

    took = seconds(live, repeat=1)
    yield f"live, one reading per channel and call: {rate(60 * CHANNELS, took)} readings"
    spiky = spiked(values)
    took = seconds(lambda: whole(CHANNELS, times, spiky))
    yield f"every 20th reading a dip to zero: {rate(len(times), took)} readings"
    yield f"head: {heads.nbytes // CHANNELS} bytes per channel"


def readings(channels: int, jitter_ms: int) -> tuple[Int64, Int64]:
    rng = np.random.default_rng(7)
    steps = rng.integers(0, 1_500_000, (channels, MINUTES))
    values = rng.integers(0, 10**12, (channels, 1)) + np.cumsum(steps, axis=1)
    start = 1_767_196_800_000
    times = start + 60_000 * np.arange(MINUTES) + np.zeros((channels, 1), np.int64)
    if jitter_ms:
        times = times + rng.integers(0, jitter_ms, (channels, MINUTES))
    return times.ravel(), values.ravel()


def spiked(values: Int64) -> Int64:
    out = values.copy()
    out[10::20] = 0
    return out


def heads_for(channels: int) -> Int64:
    return new_heads(*(np.full(channels, x, np.int64) for x in (0, LIMIT, GAP_MS, 0)))


def whole(channels: int, times: Int64, values: Int64) -> IntervalRows:
    offsets = np.arange(channels + 1) * MINUTES
    rows, status = advance(
        heads_for(channels), np.arange(channels), offsets, times, values, GRID_MS
    )
    assert not status.any()
    return rows


def in_pandas(channels: int, times: Int64, values: Int64) -> pd.DataFrame:
    """The plain case only: exact borders and coverage, but no spikes left out, no rollover."""
    slots, each = np.arange(channels), len(times) // channels
    ticks = np.arange(times.min() // GRID_MS, times.max() // GRID_MS + 1) * GRID_MS
    borders = pd.MultiIndex.from_product([slots, ticks], names=["slot", "t"]).to_frame(index=False)
    read = pd.DataFrame({"slot": np.repeat(slots, each), "t": times, "v": values, "n": 1})
    frame = pd.concat([read, borders.assign(n=0)]).sort_values(["slot", "t", "n"])
    frame = frame.drop_duplicates(["slot", "t"], keep="last")
    frame["known"] = frame.t.where(frame.n == 1)
    by = frame.groupby("slot")
    frame["t0"], frame["v0"] = by.known.ffill(), by.v.ffill()
    frame["next_t"], frame["next_v"] = by.known.shift(-1), by.v.shift(-1)
    by = frame.groupby("slot")
    frame["t1"], frame["v1"] = by.next_t.bfill(), by.next_v.bfill()
    span, rise = frame.t1 - frame.t0, frame.v1 - frame.v0
    frame["register"] = frame.v0 + (rise * (frame.t - frame.t0) / span).round().fillna(0)
    by = frame.groupby("slot")
    energy, covered = by.register.shift(-1) - frame.register, by.t.shift(-1) - frame.t
    plausible = rise.between(0, LIMIT * (span + 60_000) / 3_600_000)
    frame["amount"] = energy.where(plausible, 0)
    frame["held"] = energy.where(~plausible & span.notna(), 0)
    frame["measured"] = covered.where(plausible & (span <= GAP_MS), 0)
    frame["estimated"] = covered.where(plausible & (span > GAP_MS), 0)
    frame["start"] = frame.t // GRID_MS * GRID_MS
    return frame.groupby(["slot", "start"])[["amount", "held", "measured", "estimated", "n"]].sum()


def check(times: Int64, values: Int64) -> str:
    """The comparison is worth its ratio only when both compute the same."""
    rows, frame = whole(PANDAS_CHANNELS, times, values), in_pandas(PANDAS_CHANNELS, times, values)
    index = pd.MultiIndex.from_arrays([rows.slot, rows.start_ms])
    theirs = frame.reindex(index)
    for name, mine in (("measured", rows.measured_ms), ("n", rows.received)):
        if not np.array_equal(theirs[name].to_numpy(), mine):
            return f"{name} DIFFERS"
    if np.abs(theirs["amount"].to_numpy() - rows.amount).max() > 1:
        return "amount DIFFERS"
    return "same figures"
