"""Readings that meters really produce and that they should never produce, for the kernel tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from hypothesis import strategies as st

from aggregator.kernels.register import TAKEN, advance, new_heads
from aggregator.kernels.spread import Spreads, weekly
from tests.oracle.register import Channel, Profile, Reading

GRID_MS = 900_000
MINUTE = 60_000
MIDNIGHT_MONTH_END = 1_769_875_200_000  # 2026-02-01T00:00 at +08:00
Figures = dict[int, tuple[int, ...]]


def heads_of(*channels: Channel) -> np.ndarray:
    return new_heads(
        *(
            np.array([getattr(channel, name) for channel in channels], np.int64)
            for name in ("modulus", "limit", "gap_ms", "slack")
        )
    )


def take(
    heads: np.ndarray,
    readings: Sequence[Reading],
    slot: int = 0,
    frozen: AbstractSet[int] = frozenset(),
    profiles: Mapping[int, Profile] | None = None,
) -> Figures:
    """Advance one channel; the rows by start."""
    times = np.array([time for time, _ in readings], np.int64)
    values = np.array([value for _, value in readings], np.int64)
    rows, status = advance(
        heads, np.array([slot]), np.array([0, len(readings)]), times, values, GRID_MS,
        frozen=np.isin(times, sorted(frozen)).astype(np.uint8) if frozen else None,
        spreads=spreads_of(profiles) if profiles else None,
    )  # fmt: skip
    assert status.tolist() == [TAKEN]
    return {row[1]: tuple(row[2:]) for row in rows.block.T.tolist()}


def spreads_of(profiles: Mapping[int, Profile]) -> Spreads:
    since = sorted(profiles)
    return Spreads(
        np.array([0, len(since)]),
        np.array(since, np.int64),
        np.arange(len(since)),
        np.stack([weekly(*map(list, profiles[at])) for at in since]),
    )


@st.composite
def channels(draw: st.DrawFn) -> Channel:
    unit = draw(st.sampled_from([1, 1_000, 10**9, 10**12]))
    return Channel(
        modulus=draw(st.sampled_from([0, 1_000])) * unit,
        limit=draw(st.sampled_from([0, 0, 600, 6_000])) * unit,
        slack=draw(st.sampled_from([0, 1, 20])) * unit,
        gap_ms=draw(st.sampled_from([1, MINUTE, 1_800_000])),
    )


@st.composite
def series(draw: st.DrawFn, channel: Channel, longest: int = 24) -> list[Reading]:
    """Mostly a running register, with jumps to odd levels that sometimes stay."""
    unit = max(1, (channel.modulus or channel.limit or 1) // 1_000)
    time = draw(st.sampled_from([0, -7, MIDNIGHT_MONTH_END - 20 * MINUTE, 1_767_225_600_000]))
    level = draw(st.integers(-50, 1_000)) * unit
    readings = []
    for _ in range(draw(st.integers(1, longest))):
        time += draw(
            st.sampled_from(
                [
                    MINUTE,
                    MINUTE,
                    MINUTE,
                    1,
                    15 * MINUTE,
                    15 * MINUTE + 1,
                    20 * MINUTE,
                    6 * 3_600_000,
                ]
            )
        )
        shown = level
        match draw(st.sampled_from("rrrrrrodsbx")):
            case "r":
                level += draw(st.integers(0, 40)) * unit
                shown = level
            case "o":
                level = shown = draw(st.sampled_from([0, 1, 5, 95, 100, 500, 990, 999])) * unit
            case "d":
                shown = level - draw(st.integers(1, 30)) * unit
            case "s":
                shown = draw(st.sampled_from([0, -1, 1, 999, 5_000])) * unit
            case "b":
                level -= draw(st.integers(1, 1_000)) * unit
                shown = level
            case "x":
                shown = level + draw(st.integers(1, 2**40))
        if channel.modulus and draw(st.integers(0, 9)):
            level, shown = level % channel.modulus, shown % channel.modulus
        readings.append((time, shown))
    return readings


@st.composite
def channel_and_readings(draw: st.DrawFn, longest: int = 24) -> tuple[Channel, list[Reading]]:
    channel = draw(channels())
    return channel, draw(series(channel, longest))
