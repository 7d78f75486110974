"""Late readings: reading a bounded neighbourhood again ends where one sorted batch ends."""

from __future__ import annotations

import itertools
from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.kernels.neighbourhood import LONGEST_SUSPECT, NEIGHBOURS, affected_span
from aggregator.kernels.register import GOOD_T, SETTLED
from tests.aggregator.kernel_cases import GRID_MS, MINUTE, channel_and_readings, heads_of, take
from tests.oracle.register import Channel, Reading, ledger, verdicts


class StoreLike:
    """Sorted readings and rows of one channel, kept up to date the way the aggregator does."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.readings: list[Reading] = []
        self.rows: dict[int, tuple[int, ...]] = {}
        self.head = heads_of(channel)
        self.read = 0

    def live(self, readings: list[Reading]) -> None:
        self.readings += readings
        self.rows |= take(self.head, readings)

    def late(self, readings: list[Reading]) -> None:
        self.readings = sorted({*self.readings, *readings})
        self.repair(min(readings)[0], max(readings)[0])

    def repair(self, first_ms: int, last_ms: int) -> None:
        times = [time for time, _ in self.readings]
        lo = max(0, bisect_left(times, first_ms) - NEIGHBOURS)
        hi = min(len(times) - 1, bisect_left(times, last_ms) + NEIGHBOURS)
        start, end = affected_span(times[lo], times[hi], GRID_MS)
        begin = max(0, bisect_left(times, start) - NEIGHBOURS)
        finish = bisect_left(times, end) + NEIGHBOURS
        chosen = self.readings[begin:finish]
        rows = take(heads_of(self.channel), chosen)
        self.rows |= {at: row for at, row in rows.items() if start <= at < end}
        if self.head[0, GOOD_T] // GRID_MS * GRID_MS < end:
            self.head = self.rebuilt()
        self.read += len(chosen)

    def rebuilt(self) -> np.ndarray:
        times = [time for time, _ in self.readings]
        start, _ = affected_span(times[max(0, len(times) - 1 - NEIGHBOURS)], times[-1], GRID_MS)
        head = heads_of(self.channel)
        take(head, self.readings[max(0, bisect_left(times, start) - NEIGHBOURS) :])
        return head


def oracle_rows(channel: Channel, readings: list[Reading]) -> dict[int, tuple[int, ...]]:
    return {s: row.values() for s, row in ledger(channel, readings, GRID_MS).rows.items()}


@given(given_=channel_and_readings(longest=90), data=st.data())
@settings(max_examples=250, deadline=None)
def test_late_readings_in_any_order(given_, data):
    channel, readings = given_
    late = data.draw(st.sets(st.integers(0, len(readings) - 1), max_size=12))
    late -= {0} if len(late) == len(readings) else set()
    store = StoreLike(channel)
    kept = [r for i, r in enumerate(readings) if i not in late]
    half = len(kept) // 2
    for part_ in (kept[:half], kept[half:]):
        if part_:
            store.live(part_)
    batches = data.draw(st.permutations(sorted(late)))
    size = data.draw(st.integers(1, 4))
    for k in range(0, len(batches), size):
        store.late([readings[i] for i in batches[k : k + size]])
        assert store.rows == oracle_rows(channel, store.readings)
    after = [(readings[-1][0] + (i + 1) * 7 * MINUTE, v) for i, v in enumerate((3, 900, 5, 6))]
    store.live(after)
    assert store.rows == oracle_rows(channel, [*readings, *after])


@given(given_=channel_and_readings(longest=60))
@settings(max_examples=150, deadline=None)
def test_a_head_rebuilt_after_a_restart_is_the_head_that_was_lost(given_):
    channel, readings = given_
    store = StoreLike(channel)
    store.live(readings)
    lost = store.head.copy()
    assert (store.rebuilt() == lost).all(), SETTLED


def test_a_late_reading_costs_a_neighbourhood():
    store = StoreLike(Channel())
    store.live([(i * MINUTE, i) for i in range(10_000) if i != 5_000])
    store.late([(5_000 * MINUTE, 5_000)])
    assert store.rows == oracle_rows(Channel(), store.readings)
    assert store.read <= 4 * NEIGHBOURS + 2 * GRID_MS // MINUTE


@pytest.mark.parametrize(("channel", "levels"), [
    (Channel(), (0, 1, 2, 3, 4, 5)),
    (Channel(limit=600), (0, 5, 20, 100, 110, 120)),
    (Channel(limit=600, modulus=1_000), (0, 10, 15, 980, 990)),
    (Channel(limit=6_000, modulus=1_000), (0, 150, 300, 700, 850)),
    (Channel(modulus=1_000), (10, 50, 940, 970, 500)),
])  # fmt: skip
def test_no_more_readings_in_a_row_are_left_out_than_the_neighbourhood_allows(channel, levels):
    """Over all endless series of these levels, a minute apart: longest path of left-out windows."""
    out = {
        window for window in itertools.product(levels, repeat=5)
        if not verdicts(channel, [(i * MINUTE, v) for i, v in enumerate(window)])[2]
    }  # fmt: skip
    longest: dict[tuple[int, ...], int] = {}

    def length(window: tuple[int, ...]) -> int:
        if window not in longest:
            longest[window] = 1_000_000  # met again before it is known: a cycle, no bound
            following = [(*window[1:], level) for level in levels]
            longest[window] = 1 + max((length(w) for w in following if w in out), default=0)
        return longest[window]

    assert 1 <= max(length(window) for window in out) <= LONGEST_SUSPECT
