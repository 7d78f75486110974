"""The register kernel equals its oracle in any split, and loses and doubles nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aggregator.kernels.register import (
    ESTIMATED,
    HELD,
    NOT_ASCENDING,
    NOT_NEWER,
    OUT_OF_RANGE,
    PROFILED,
    ROLLOVER,
    SUSPECT,
    advance,
    last_times,
    part,
)
from aggregator.kernels.spread import wide_part
from aggregator.kernels.verdict import allowed, verdicts
from tests.aggregator.kernel_cases import (
    GRID_MS,
    MIDNIGHT_MONTH_END,
    MINUTE,
    Figures,
    channel_and_readings,
    heads_of,
    take,
)
from tests.oracle.register import Channel, Profile, Reading, border_register, ledger, share
from tests.oracle.register import allowed as oracle_allowed

RATED = Channel(limit=600)  # 10 a minute
WRAPS = Channel(modulus=1_000)
WRAPS_RATED = Channel(modulus=1_000, limit=600)


def minutes(*values: int) -> list[Reading]:
    return [(i * MINUTE, value) for i, value in enumerate(values)]


# (name, channel, readings, booked, held, flags of all rows, good readings)
CASES = [
    ("first reading of a new meter", Channel(), minutes(5), 0, 0, 0, 1),
    ("runs", RATED, minutes(0, 5, 10), 10, 0, 0, 3),
    ("runs backward from the first reading", Channel(), minutes(9, 5, 6), 1, -4, HELD, 3),
    ("dip to zero", Channel(), minutes(90, 0, 91), 1, 0, SUSPECT, 2),
    ("dip to zero for two readings", Channel(), minutes(90, 0, 0, 91), 1, 0, SUSPECT, 2),
    ("the same, rated", RATED, minutes(90, 0, 0, 91), 1, 0, SUSPECT, 2),
    ("three zeros are a level", RATED, minutes(90, 0, 0, 0, 91), 0, 1, HELD, 5),
    ("spike", Channel(), minutes(90, 900, 91), 1, 0, SUSPECT, 2),
    ("spike, rated", RATED, minutes(80, 90, 900, 91, 92), 12, 0, SUSPECT, 4),
    ("bad spike inside limits", RATED, minutes(80, 88, 83, 85), 5, 0, SUSPECT, 3),
    ("back by one for a minute", RATED, minutes(99, 100, 99, 101), 2, 0, SUSPECT, 3),
    ("spike at the end stays held until a reading follows", RATED, minutes(1, 2, 900), 1, 898,
     HELD, 3),
    ("spike at the start cannot be told from a drop", RATED, minutes(900, 2, 3), 1, -898, HELD, 3),
    ("reset: counting goes on from the new level", RATED, minutes(90, 0, 1, 2, 3), 3, -90, HELD, 5),
    ("faster than the rating", RATED, minutes(0, 1, 500, 501), 2, 499, HELD, 4),
    ("two levels up and back are held", RATED, minutes(90, 900, 900, 91), 0, 1, HELD, 4),
    ("rollover, rated", WRAPS_RATED, minutes(990, 996, 3, 9), 19, 0, ROLLOVER, 4),
    ("rollover, not rated", WRAPS, minutes(990, 996, 3, 9), 19, 0, ROLLOVER, 4),
    ("fall from the middle is no rollover", WRAPS, minutes(400, 500, 3, 9), 106, -497, HELD, 4),
    ("a dip near the top is no rollover", WRAPS, minutes(990, 0, 991), 1, 0, SUSPECT, 2),
    ("the same, rated", WRAPS_RATED, minutes(990, 0, 991), 1, 0, SUSPECT, 2),
    ("two zeros near the top, rated", WRAPS_RATED, minutes(990, 0, 0, 991), 1, 0, SUSPECT, 2),
    ("rollover during a gap", WRAPS_RATED, [(0, 990), (40 * MINUTE, 20)], 30, 0,
     ROLLOVER | ESTIMATED, 2),
    ("a gap so long that a fall may be anything", WRAPS_RATED, [(0, 700), (600 * MINUTE, 690)],
     0, -10, HELD, 2),
    ("display step above the rating", Channel(limit=1, slack=1), minutes(0, 0, 1, 1), 1, 0, 0, 4),
]  # fmt: skip


@pytest.mark.parametrize(
    ("channel", "readings", "booked", "held", "flags", "good"),
    [case[1:] for case in CASES], ids=[case[0] for case in CASES],
)  # fmt: skip
def test_case(channel, readings, booked, held, flags, good):
    rows = list(take(heads_of(channel), readings).values())
    assert sum(row[0] for row in rows) == booked
    assert sum(row[2] for row in rows) == held
    assert int(np.bitwise_or.reduce([row[7] for row in rows])) == flags
    assert sum(row[6] for row in rows) == good


def test_gap_over_midnight_and_month_end_is_spread_exactly():
    start = MIDNIGHT_MONTH_END - 20 * MINUTE
    readings = [(start - MINUTE, 0), (start, 10), (start + 40 * MINUTE, 107)]
    rows = take(heads_of(Channel()), readings)
    # 97 over 40 minutes: 5 (rest of its quarter), 15, 15, 5 minutes; each border rounded once
    assert [rows[s][1] for s in sorted(rows)] == [12, 37, 36, 12]
    assert [rows[s][4] // MINUTE for s in sorted(rows)] == [5, 15, 15, 5]
    assert sum(row[0] for row in rows.values()) == 107
    assert MIDNIGHT_MONTH_END in rows


def test_reading_on_a_border_belongs_to_the_interval_that_begins():
    rows = take(heads_of(Channel()), [(0, 0), (GRID_MS, 8)])
    assert rows == {0: (8, 0, 0, GRID_MS, 0, 0, 1, 0), GRID_MS: (0, 0, 0, 0, 0, 0, 1, 0)}


def oracle_rows(channel: Channel, readings: list[Reading]) -> Figures:
    found = ledger(channel, readings, GRID_MS)
    return {start: row.values() for start, row in found.rows.items()}


@given(data=st.data(), given_=channel_and_readings())
@settings(max_examples=400, deadline=None)
def test_any_split_equals_the_oracle_after_every_call(data, given_):
    channel, readings = given_
    cuts = data.draw(st.sets(st.integers(1, len(readings))))
    heads, done = heads_of(channel), 0
    stored: Figures = {}
    for cut in [*sorted(cuts), len(readings)]:
        stored |= take(heads, readings[done:cut])
        done = cut
        assert stored == oracle_rows(channel, readings[:cut])


@st.composite
def profiles(draw: st.DrawFn) -> dict[int, Profile]:
    """Weights that change within the readings; many of them 0, as of a closed works."""
    days = st.lists(st.sampled_from([0, 0, 1, 7, 10_000]), min_size=96, max_size=96)
    since = st.sampled_from([-(1 << 62), 3_600_000, MIDNIGHT_MONTH_END, 1_767_225_600_000])
    return draw(st.dictionaries(since, st.tuples(days, days), min_size=1, max_size=2))


@given(data=st.data(), given_=channel_and_readings(), of=profiles())
@settings(max_examples=200, deadline=None)
def test_gaps_with_profiles_and_freezes_are_those_of_the_oracle(data, given_, of):
    """In any split that leaves polls at a head's end."""
    channel, readings = given_
    times = [time for time, _ in readings]
    frozen = data.draw(st.sets(st.sampled_from(times)))
    cuts = [
        cut
        for cut in sorted(data.draw(st.sets(st.integers(1, len(readings)))))
        if not frozen & set(times[max(0, cut - 2) : cut])
    ]
    heads, done = heads_of(channel), 0
    stored: Figures = {}
    for cut in [*cuts, len(readings)]:
        if cut > done:
            stored |= take(heads, readings[done:cut], 0, frozen, of)
        done = cut
        found = ledger(channel, readings[:cut], GRID_MS, frozen, of)
        assert stored == {start: row.values() for start, row in found.rows.items()}


@given(
    amount=st.integers(-(2**60), 2**60),
    span=st.integers(1, 2**61),
    where=st.floats(0, 1),
)
def test_wide_part_is_exact(amount, span, where):
    elapsed = min(span, int(where * span))
    assert wide_part(amount, elapsed, span) == share(amount, elapsed, span)


def test_a_gap_over_a_weekend_follows_the_profile():
    """Works that run from 8 to 17 on weekdays: nothing is put into the night or the weekend."""
    on, off = [0] * 32 + [1] * 36 + [0] * 28, [0] * 96
    friday_noon = 1_769_097_600_000 + 12 * 3_600_000  # 2026-01-23T12:00 at +08:00
    monday_ten = friday_noon + 70 * 3_600_000
    rows = take(
        heads_of(Channel()), [(friday_noon, 0), (monday_ten, 7_000_000)], profiles={0: (on, off)}
    )
    amounts = {start: row[0] for start, row in rows.items() if row[0]}
    hours = {(start + 8 * 3_600_000) // 3_600_000 % 24 for start in amounts}
    assert sum(amounts.values()) == 7_000_000
    assert hours == {12, 13, 14, 15, 16, 8, 9}  # five hours of Friday, two of Monday
    assert set(amounts.values()) == {250_000}
    assert {row[7] for start, row in rows.items() if start < monday_ten} == {ESTIMATED | PROFILED}


@given(given_=channel_and_readings())
@settings(max_examples=300, deadline=None)
def test_register_difference_plus_events_is_booked_plus_held(given_):
    channel, readings = given_
    found = ledger(channel, readings, GRID_MS)
    rows = take(heads_of(channel), readings)
    registers = {readings[0][0] // GRID_MS * GRID_MS: (readings[0][1], 0)}
    for border in range(min(rows) + GRID_MS, max(rows) + GRID_MS, GRID_MS):
        at = border_register(found, readings, border)
        if at is not None:
            registers[border] = at
    registers[max(rows) + GRID_MS] = (
        readings[-1][1], sum(step.event for step in found.steps)
    )  # fmt: skip
    borders = sorted(registers)
    for left, right in pairwise(borders):
        inside = [row for start, row in rows.items() if left <= start < right]
        (start, before), (end, after) = registers[left], registers[right]
        booked, held = sum(row[0] for row in inside), sum(row[2] for row in inside)
        assert end - start + after - before == booked + held
    assert all(row[3] + row[4] + row[5] <= GRID_MS for row in rows.values())
    covered = sum(row[3] + row[4] + row[5] for row in rows.values())
    assert covered == readings[-1][0] - readings[0][0]


@given(many=st.lists(channel_and_readings(longest=8), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_channels_do_not_touch_each_other(many):
    heads = heads_of(*(channel for channel, _ in many))
    slots = np.arange(len(many))[::-1].copy()
    flat = [reading for slot in slots for reading in many[slot][1]]
    offsets = np.cumsum([0, *(len(many[slot][1]) for slot in slots)])
    rows, _ = advance(
        heads, slots, offsets,
        np.array([r[0] for r in flat]), np.array([r[1] for r in flat]), GRID_MS,
    )  # fmt: skip
    for slot, (channel, readings) in enumerate(many):
        mine = {row[1]: tuple(row[2:]) for row in rows.block.T.tolist() if row[0] == slot}
        assert mine == oracle_rows(channel, readings)


@given(given_=channel_and_readings())
@settings(max_examples=100, deadline=None)
def test_verdicts_are_those_of_the_oracle(given_):
    channel, readings = given_
    good, kinds = verdicts(
        np.array([r[0] for r in readings]), np.array([r[1] for r in readings]),
        channel.modulus, channel.limit, channel.slack,
    )  # fmt: skip
    found = ledger(channel, readings, GRID_MS)
    assert good.astype(bool).tolist() == found.good
    steps = [2 if step.held else 1 if step.event else 0 for step in found.steps]
    assert kinds[good == 1].tolist()[1:] == steps


@given(
    amount=st.integers(-(2**61), 2**61),
    span=st.one_of(st.integers(1, 2**40 - 1), st.integers(1, 10)), where=st.floats(0, 1),
)  # fmt: skip
@example(amount=2**61, span=2**40 - 1, where=0.999999)
@example(amount=-5, span=2, where=0.5)
@example(amount=2**39 - 1, span=2**39, where=0.25 + 2**-39)
@settings(max_examples=500, deadline=None)
def test_part_is_exact(amount, span, where):
    elapsed = min(span, int(span * where))
    assert part(amount, elapsed, span) == share(amount, elapsed, span)


@given(limit=st.integers(1, 2**60), slack=st.integers(0, 2**60), elapsed=st.integers(1, 2**40 - 1))
@settings(max_examples=300, deadline=None)
def test_allowed_is_exact_or_more_than_any_difference(limit, slack, elapsed):
    exact = oracle_allowed(Channel(limit=limit, slack=slack), elapsed)
    found = allowed(limit, slack, elapsed)
    assert found == exact or min(found, exact) >= 2**61


def test_rows_come_again_only_when_they_can_have_changed():
    heads = heads_of(Channel())
    take(heads, [(i * GRID_MS, i) for i in range(5)])
    assert sorted(take(heads, [(5 * GRID_MS, 5)])) == [4 * GRID_MS, 5 * GRID_MS]
    assert sorted(take(heads, [(5 * GRID_MS + 1, 5)])) == [5 * GRID_MS]
    # 6 was believed until a return to 5 makes it a spike: its intervals come again
    take(heads, [(6 * GRID_MS, 9)])
    assert 5 * GRID_MS in take(heads, [(7 * GRID_MS, 6)])


@pytest.mark.parametrize(("readings", "status"), [
    ([(60, 1)], NOT_NEWER),
    ([(59, 1), (70, 2)], NOT_NEWER),
    ([(70, 1), (70, 2)], NOT_ASCENDING),
    ([(80, 1), (79, 2)], NOT_ASCENDING),
    ([(80, 2**60 + 1)], OUT_OF_RANGE),
    ([(80, -(2**63))], OUT_OF_RANGE),
    ([(2**40 + 60, 1)], OUT_OF_RANGE),
])  # fmt: skip
def test_a_refused_group_leaves_its_head_and_the_others_alone(readings, status):
    heads = heads_of(Channel(), Channel())
    take(heads, [(60, 1)])
    before = heads.copy()
    times = np.array([*(t for t, _ in readings), 5, 6])
    values = np.array([*(v for _, v in readings), 1, 3])
    offsets = np.array([0, len(readings), len(readings) + 2])
    rows, found = advance(heads, np.array([0, 1]), offsets, times, values, GRID_MS)
    assert found.tolist() == [status, 0]
    assert (heads[0] == before[0]).all()
    assert rows.slot.tolist() == [1]
    assert rows.amount.tolist() == [2]
    assert last_times(heads).tolist() == [60, 6]


def test_arguments_that_do_not_fit_are_refused():
    heads, one = heads_of(Channel()), np.ones(1, np.int64)
    zero = 0 * one
    for slots, offsets, times, values, grid, name in (
        (zero, np.array([0, 2]), one, one, GRID_MS, "offsets"),
        (zero, np.array([0, 1]), one, np.ones(2, np.int64), GRID_MS, "offsets"),
        (one, np.array([0, 1]), one, one, GRID_MS, "slots"),
        (zero, np.array([0, 1]), one, one, 0, "grid_ms"),
    ):
        with pytest.raises(ValueError, match=name):
            advance(heads, slots, offsets, times, values, grid)


def test_a_head_is_small():
    assert heads_of(Channel()).nbytes <= 200
