"""The proof's own arithmetic, and that it sees each thing that can be wrong."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.interval import MINUTE_MS
from simulators.chaos.proof import (
    Figure,
    Lost,
    check_figures,
    check_levels,
    check_outboxes,
    check_readings,
    check_truth,
    intervals_of,
)
from simulators.chaos.records import Answer, Kept, Stored
from tests.oracle.register import Channel, ledger

T0 = 1_790_000_040_000 // MINUTE_MS * MINUTE_MS
NAME = ("works", "em-main", "energy_import")
EDGE_OF = {("works", "em-main"): "gw1"}
GAP_MS = 1_800_000


@given(
    st.lists(
        st.tuples(st.integers(1, 3_000_000) | st.integers(1, 2_000), st.integers(0, 10**9)),
        max_size=40,
    ),
    st.integers(1, 60),
    st.sampled_from([1, 5, 15]),
)
def test_intervals_are_those_of_the_oracle(steps, multiplier, grid_min):
    kept, time_ms, value = [], T0 + 12_345, 5_000_000
    for wait_ms, gain in steps:
        kept.append(Kept(time_ms, value, counts=True))
        time_ms, value = time_ms + wait_ms, value + gain
    grid_ms = grid_min * MINUTE_MS
    expected = ledger(
        Channel(gap_ms=GAP_MS), [(k.time_ms, k.value_micro * multiplier) for k in kept], grid_ms
    ).rows
    found = intervals_of(kept, multiplier, GAP_MS, grid_ms)
    assert found == {
        start_ms: Figure(
            row.amount,
            row.amount_estimated,
            0,
            row.measured_ms,
            row.estimated_ms,
            min(1, row.received),
        )
        for start_ms, row in expected.items()
        if row.values() != (0,) * 8
    }


@pytest.fixture
def answers() -> list[Answer]:
    return [Answer(T0 + i * 1000, 1_000_000 + i * 10, i * 10) for i in range(400)]


def stored_of(answers: list[Answer]) -> Stored:
    stored = Stored()
    for number, answer in enumerate(answers):
        stored.add(
            {
                "site": NAME[0],
                "meter": NAME[1],
                "channel": NAME[2],
                "edge": "gw1",
                "outbox": "aa",
                "seq": 1 + number // 10,
                "time_ms": answer.time_ms + 300,
                "value": answer.shown_micro,
                "quality": 0,
            }
        )
    return stored


def wrong(answers: list[Answer], stored: Stored, *lost: Lost) -> tuple[list[str], int]:
    return check_readings({NAME: answers}, stored, EDGE_OF, lost, T0 + 10**9)


def test_all_answers_are_stored_and_all_stored_were_answered(answers):
    assert wrong(answers, stored_of(answers)) == ([], 0)


def test_a_display_off_the_truth_is_seen(answers):
    assert check_truth({NAME: answers}, {NAME: (1, 1)}) == []
    answers[300] = replace(answers[300], true_micro=3000 - 21)
    assert check_truth({NAME: answers}, {NAME: (1, 15)}) == []
    found = check_truth({NAME: answers}, {NAME: (1, 10)})
    assert found == [f"works/em-main/energy_import: 21 off the truth at {T0 + 300_000}"]
    assert len(check_truth({NAME: answers}, {NAME: (40, 40)})) == 399


def test_a_lost_answer_is_seen_unless_it_is_excused(answers):
    stored = stored_of(answers[:200] + answers[203:])
    problems, excused = wrong(answers, stored)
    assert (len(problems), excused) == (3, 0)
    assert f"1002000 was answered at {T0 + 200_000} and is not stored" in problems[0]
    window = Lost("gw1", T0 + 200_000, T0 + 202_000)
    assert wrong(answers, stored, window) == ([], 3)
    assert len(wrong(answers, stored, replace(window, edge="gw2"))[0]) == 3
    assert len(wrong(answers, stored, replace(window, to_ms=T0 + 201_000))[0]) == 1


def test_a_reading_that_no_meter_gave_is_seen(answers):
    bad = [*answers[:50], replace(answers[50], shown_micro=1_000_501), *answers[51:]]
    problems, _ = wrong(answers, stored_of(bad))
    assert len(problems) == 2
    assert "when the meter did not show it" in problems[0]


def test_a_reading_at_a_wrong_time_is_seen(answers):
    moved = [*answers[:99], replace(answers[99], time_ms=answers[99].time_ms + 7_000)]
    problems, _ = wrong(answers[:100], stored_of(moved))
    assert len(problems) == 2


def test_a_channel_that_no_meter_has_is_seen(answers):
    problems, _ = check_readings({}, stored_of(answers), EDGE_OF, [], T0 + 10**9)
    assert problems == ["works/em-main/energy_import: stored, and no meter answered it"]


def test_readings_of_a_meter_that_stands_still_are_what_it_showed_then(answers):
    stored = stored_of([*answers, replace(answers[-1], time_ms=T0 + 900_000)])
    assert wrong(answers, stored)[0]
    held_ms = answers[-1].time_ms + 500
    assert check_readings({NAME: answers}, stored, EDGE_OF, [], held_ms) == ([], 0)


HELD = {"id": "aa", "floor": 1, "held_readings": 400, "unacked_batches": 0} | {
    "dropped_readings": 0,
    "lost_batches": 0,
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"held_readings": 399}, "its outbox holds 399 readings, 400 of them are stored"),
        ({"floor": 2, "held_readings": 390}, ""),
        ({"floor": 2}, "its outbox holds 400 readings, 390 of them are stored"),
        ({"id": "bb"}, "its outbox holds 400 readings, 0 of them"),
        ({"unacked_batches": 3}, "3 batches are not acknowledged"),
        ({"lost_batches": 1}, "lost_batches = 1"),
    ],
)
def test_outboxes_against_the_store(answers, change, problem):
    problems = check_outboxes(stored_of(answers), {"gw1": HELD | change}, doubles=False)
    assert [problem in one for one in problems] == [True] * bool(problem), problems


def test_doubled_rows_are_seen_where_they_may_not_be(answers):
    stored = stored_of([*answers, answers[7]])
    stored.by_edge["gw1"][-1] = stored.by_edge["gw1"][7]
    problems = check_outboxes(stored, {"gw1": HELD}, doubles=False)
    assert problems == ["gw1: 1 readings are stored twice"]
    assert check_outboxes(stored, {"gw1": HELD}, doubles=True) == []


@pytest.mark.parametrize(
    "change",
    [{"amount": 1}, {"estimated": 1}, {"held": 1}, {"measured_ms": 1}, {"received": -1}],
)
def test_one_wrong_field_of_one_interval_is_seen(answers, change):
    stored = stored_of(answers)
    good = intervals_of(stored.counters[NAME], 40, GAP_MS, MINUTE_MS)
    multipliers = {NAME[:2]: 40}
    assert check_figures(stored, multipliers, {NAME: good}, MINUTE_MS) == []
    start_ms = T0 + 2 * MINUTE_MS
    bad = good | {start_ms: good[start_ms] + Figure(**change)}
    (problem,) = check_figures(stored, multipliers, {NAME: bad}, MINUTE_MS)
    assert f"{start_ms}" in problem
    missing = {time: figure for time, figure in good.items() if time != start_ms}
    assert len(check_figures(stored, multipliers, {NAME: missing}, MINUTE_MS)) == 1


def test_levels_are_sums(answers):
    intervals = {T0 + i * MINUTE_MS: Figure(amount=i, received=1) for i in range(3000)}
    levels = {}
    for name, length_ms in (("hour", 3_600_000), ("day", 86_400_000)):
        sums: dict[int, Figure] = {}
        shift_ms = 8 * 3_600_000 if name == "day" else 0
        for time_ms, figure in intervals.items():
            start_ms = (time_ms + shift_ms) // length_ms * length_ms - shift_ms
            sums[start_ms] = sums.get(start_ms, Figure()) + figure
        levels[name] = {NAME: sums}
    found = check_levels({NAME: intervals}, levels | {"month": {}})
    assert {problem.split()[1] for problem in found} == {"month"}
    levels["hour"][NAME][max(levels["hour"][NAME])] += Figure(amount=1)
    assert "hour" in {
        problem.split()[1] for problem in check_levels({NAME: intervals}, levels | {"month": {}})
    }
